"""The pages in a real browser: how they look, that they move without a reload, that every hand reaches them."""

import re
import time
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

GRAVE = {"serious", "critical"}
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]
TENANT = {"tenant_id": "acme", "user_id": "alice"}


class Fleet:
    """Agents of one workspace that speak plain HTTP."""

    def __init__(self, server, workspace, key=""):
        self.client = server.client(key or server.api_key(workspace))

    def say(self, topic, type, data, source="planner", **envelope):
        event = {"topic": topic, "type": type, "source": source, "data": data, **TENANT, **envelope}
        answer = self.client.post("/v1/events/publish", json={"event": event})
        assert answer.status_code == 200, answer.text

    def start(self, plan):
        self.say("system-events", "plan.started", {"plan_id": plan, "goal": "vehicle.maintenance.goal"}, plan_id=plan)

    def ask(self, plan, task, type="parts.check.requested"):
        self.say(
            "action-requests", type, {"task_id": task}, plan_id=plan, correlation_id=task, response_event=f"{task}.done"
        )

    def move(self, plan, task, state):
        self.say(
            "system-events", "task.state_changed", {"task_id": task, "new_state": state}, "parts-worker", plan_id=plan
        )

    def answer(self, plan, task, status="completed"):
        data = {"task_id": task, "status": status}
        self.say("action-results", f"{task}.done", data, "parts-worker", plan_id=plan, correlation_id=task)

    def long_run(self, plan, tasks):
        """A finished plan, of which each task has left six rows."""
        base = {"source": "planner", "plan_id": plan, **TENANT}
        start = {"plan_id": plan, "goal": "fleet.check.goal", "total_actions": tasks}
        events = [{**base, "topic": "system-events", "type": "plan.started", "data": start}]
        for task in (f"{plan}-{number}" for number in range(tasks)):
            said = {**base, "correlation_id": task}
            moved, done = {"task_id": task, "new_state": "running"}, {"task_id": task, "status": "completed"}
            events += [
                {**said, "topic": "action-requests", "type": "parts.check.requested", "data": {"task_id": task}},
                {**said, "topic": "system-events", "type": "task.state_changed", "data": moved},
                {**said, "topic": "action-results", "type": "parts.check.completed", "data": done},
            ]
        for start in range(0, len(events), 1000):
            answer = self.client.post("/v1/events/batch", json=events[start : start + 1000])
            assert {each["outcome"] for each in answer.json()["results"]} == {"recorded"}

    def whole_run(self, plan):
        """A plan with a finished, a failed and a waiting task."""
        self.start(plan)
        for task in ("parts", "tyres", "bay"):
            self.ask(plan, f"{plan}-{task}", f"{task}.check.requested")
            self.move(plan, f"{plan}-{task}", "running")
        self.answer(plan, f"{plan}-parts")
        self.answer(plan, f"{plan}-tyres", status="failed")
        self.move(plan, f"{plan}-bay", "awaiting_approval")


@pytest.fixture(scope="module")
def fleet(server):
    """The agents of the workspace that these tests share; each works on plans of its own."""
    fleet = Fleet(server, "pages")
    yield fleet
    fleet.client.close()


@pytest.fixture(scope="module")
def member(signed_in_as):
    return signed_in_as("viewer-of-pages", "pages", "viewer")


@pytest.fixture
def newcomer(signed_in_as, workspace):
    """The admin of a workspace in which nothing has happened."""
    return signed_in_as(f"admin-{workspace}", workspace, "admin")


@pytest.fixture
def plan():
    """The id of a plan that no other test uses."""
    return f"plan-{uuid4().hex[:12]}"


def row(page, name):
    return page.get_by_role("treegrid").get_by_role("row").filter(has_text=name)


def live(page):
    expect(page.locator("connection-badge")).to_have_text("Live")


def assert_in_shape(page):
    """Nothing sticks out sideways, and axe finds nothing grave."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    # axe adds a style of its own, which the pages' policy would not let in.
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    assert [(each["id"], node["html"]) for each in found if each["impact"] in GRAVE for node in each["nodes"]] == []


def look(page, name, shots):
    """A picture of the page in both themes, wide and narrow, and each of them in shape."""
    live(page)
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        shots(page, f"{name}-{scheme}-{width}")
        assert_in_shape(page)


def test_empty_pages_look_right(open_page, newcomer, shots):
    for name in ("plans", "agents"):
        look(open_page(f"/{name}", state=newcomer), f"{name}-empty", shots)


def test_full_pages_look_right(open_page, member, fleet, plan, shots):
    fleet.whole_run(plan)
    fleet.start(f"{plan}-2")
    look(open_page("/plans", state=member), "plans", shots)
    look(open_page(f"/plans/{plan}", state=member), "plan", shots)
    look(open_page(f"/plans/{plan}?task={plan}-tyres", state=member), "task", shots)


@pytest.mark.parametrize("path", ["/settings/keys", "/settings/members"])
def test_settings_are_in_shape(open_page, signed_in_as, shots, path):
    page = open_page(path, state=signed_in_as(), viewport={"width": 390, "height": 900})
    shots(page, f"{path.rsplit('/', 1)[1]}-light-390")
    assert_in_shape(page)


def test_the_sign_in_page_is_in_shape(browser, server, shots):
    context = browser.new_context(base_url=server.base_url)
    page = context.new_page()
    page.goto("/plans")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    shots(page, "sign-in-light-1440")
    assert_in_shape(page)
    context.close()


def test_a_new_plan_slides_in_and_its_row_moves(open_page, member, fleet, plan):
    fleet.start(f"{plan}-before")
    page = open_page("/plans", state=member)
    live(page)
    fleet.whole_run(plan)
    first = page.locator("tbody tr").first
    expect(first).to_contain_text(plan)
    expect(first).to_contain_text("1/3")
    expect(first).to_contain_text("1 failed")


def test_the_first_plan_replaces_the_empty_page(server, open_page, newcomer, workspace, plan):
    page = open_page("/plans", state=newcomer)
    expect(page.get_by_role("heading", name="Connect an agent")).to_be_visible()
    live(page)
    page.get_by_role("button", name="Make a key").click()
    key = page.locator("#new-token")
    expect(key).to_have_text(re.compile(r"^soorma_"))
    with Fleet(server, workspace, key.text_content().strip()).client as client:
        event = {"topic": "system-events", "type": "plan.started", "source": "planner", **TENANT}
        client.post("/v1/events/publish", json={"event": {**event, "data": {"plan_id": plan, "goal": "hello"}}})
    page.get_by_role("link", name="Show the plans").click()  # it does not reload over a key that is shown only once
    expect(page.locator(f"tr[data-plan={plan}]")).to_be_visible()


def test_a_filter_stays_in_the_address_and_holds_for_what_comes(open_page, member, fleet, plan):
    fleet.start(f"{plan}-1")
    page = open_page("/plans", state=member)
    live(page)
    page.get_by_role("searchbox").fill(plan)
    expect(page).to_have_url(re.compile(f"q={plan}"))
    fleet.start(f"other-{uuid4().hex}")
    fleet.start(f"{plan}-2")
    expect(page.locator(f"tr[data-plan={plan}-2]")).to_be_visible()
    rows = page.locator("tbody tr[data-plan]").evaluate_all("rows => rows.map((row) => row.dataset.plan)")
    assert rows == [f"{plan}-2", f"{plan}-1"]


def test_a_plan_happens_before_ones_eyes(open_page, member, fleet, plan):
    fleet.start(plan)
    page = open_page(f"/plans/{plan}", state=member)
    live(page)
    fleet.ask(plan, f"{plan}-t")
    expect(row(page, "parts-check")).to_contain_text("Pending")
    for state, word in (("running", "Running"), ("waiting", "Waiting"), ("running", "Running")):
        fleet.move(plan, f"{plan}-t", state)
        expect(row(page, "parts-check")).to_contain_text(word)
    fleet.answer(plan, f"{plan}-t")
    expect(row(page, "parts-check")).to_contain_text("Completed")
    expect(page.locator("[data-f=state]")).to_have_text("Completed")
    assert page.evaluate("performance.getEntriesByType('navigation').length") == 1


def test_a_message_opens_with_envelope_and_payload(open_page, member, fleet, plan):
    fleet.whole_run(plan)
    page = open_page(f"/plans/{plan}", state=member)
    page.get_by_role("grid", name="Log").get_by_text("parts.check.requested").click()
    panel = page.get_by_role("complementary", name="Details")
    expect(panel.get_by_role("group", name="Payload")).to_contain_text(f'"task_id": "{plan}-parts"')
    expect(panel.get_by_role("group", name="Envelope")).to_contain_text(f'"response_event": "{plan}-parts.done"')
    address = page.url
    assert re.search(r"#seq=\d+$", address)
    again = open_page(address, state=member)
    expect(again.get_by_role("complementary", name="Details")).to_contain_text("parts.check.requested")


def test_the_keyboard_reaches_everything(open_page, member, fleet, plan):
    fleet.whole_run(plan)
    page = open_page(f"/plans/{plan}", state=member)
    live(page)
    for key in ("j", "j", "Enter"):
        page.keyboard.press(key)
    panel = page.get_by_role("complementary", name="Details")
    expect(panel.get_by_role("heading", level=2)).to_have_text("tyres-check")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("awaiting")
    expect(page.locator(".log-note")).to_contain_text("match")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_the_theme_is_chosen_and_kept(open_page, member):
    page = open_page("/plans", state=member)
    page.locator("details.menu summary").click()
    for theme in ("light", "dark"):
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_a_long_finished_plan_opens_with_its_rows(open_page, member, fleet, plan):
    fleet.long_run(plan, 1000)
    started = time.perf_counter()
    page = open_page(f"/plans/{plan}", state=member)
    expect(row(page, "parts-check").first).to_be_visible()
    expect(page.get_by_role("grid", name="Log").get_by_role("row").last).to_be_visible()
    print(f"1,000 tasks and 6,000 rows: shown after {time.perf_counter() - started:.2f} s")  # noqa: T201 - for the reader of the run
    expect(page.get_by_role("group", name="Show only")).to_have_text("1,000 completed")
    expect(page.get_by_role("grid", name="Log")).to_have_attribute("aria-rowcount", "6004")
    expect(page.locator("[data-f=state]")).to_have_text("Completed")


BUILT = """async (plan) => {
    const { PlanStore } = await import(document.querySelector("link[href$='/plan-store.js']").href);
    const snapshot = JSON.parse(document.getElementById("snapshot").textContent);
    const log = await (await fetch(`/v1/tracker/plans/${plan}/log?limit=1000`)).json();
    const store = new PlanStore();
    const blank = Object.fromEntries(Object.keys(snapshot.plan).map((name) => [name, null]));
    store.applySnapshot({ plan: blank, tasks: [], log: [] }, 0);
    store.applyRows(log.items);
    const fields = ["task_id", "name", "state", "version", "agent", "attempt", "position", "parent_task_id"];
    const told = (task) => [...fields.map((name) => task[name]), ...task.spans.map(([state]) => state)];
    return {
        built: [store.plan.state, ...[...store.tasks.values()].map(told)],
        said: [snapshot.plan.state, ...snapshot.tasks.map(told)],
    };
}"""


def test_rows_alone_build_what_a_snapshot_says(open_page, member, fleet, plan):
    """The page's store, fed with the log from its first row, ends where the server's snapshot is."""
    fleet.whole_run(plan)
    states = open_page(f"/plans/{plan}", state=member).evaluate(BUILT, plan)
    assert states["built"] == states["said"]
    assert len(states["said"]) == 4
