"""Pages behind proxies that let no socket through, or suddenly nothing: live, or they say since when not."""

import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.services.proxy import Proxy

PATIENCE = 20_000
WORKSPACE = "fallback"


@pytest.fixture(scope="module")
def agent(server):
    """An agent that goes to the server directly."""
    with server.client(server.api_key(WORKSPACE)) as client:
        yield client


@pytest.fixture
def proxy(server):
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def open_plan(proxy, agent, browser, signed_in_as, console_errors):
    """Open a new plan's page through the proxy: gives the page and the plan's id."""
    contexts = []

    def open_plan():
        plan = f"plan-{uuid4().hex[:12]}"
        say(agent, plan, "plan.started", plan_id=plan, goal="hello")
        state = signed_in_as("viewer-of-fallback", WORKSPACE, "viewer")
        contexts.append(browser.new_context(storage_state=state, base_url=proxy.base_url))
        page = contexts[-1].new_page()
        console_errors.watch(page)
        page.goto(f"/plans/{plan}")
        return page, plan

    yield open_plan
    for context in contexts:
        context.close()
    # The browser itself complains of what the proxy does, and of that only.
    refused = re.compile(r"WebSocket connection to|Failed to load resource: net::")
    console_errors[:] = [each for each in console_errors if not refused.search(each)]


def say(agent, plan, type, **data):
    event = {"topic": "system-events", "type": type, "source": "planner", "tenant_id": "acme", "user_id": "alice"}
    answer = agent.post("/v1/events/publish", json={"event": {**event, "plan_id": plan, "data": data}})
    assert answer.status_code == 200, answer.text


def ask(agent, plan, task):
    event = {"topic": "action-requests", "type": f"{task}.requested", "source": "planner", "response_event": "done"}
    event |= {"tenant_id": "acme", "user_id": "alice", "plan_id": plan, "data": {"task_id": f"{plan}-{task}"}}
    answer = agent.post("/v1/events/publish", json={"event": event})
    assert answer.status_code == 200, answer.text


def badge(page):
    return page.locator("connection-badge")


def row(page, name):
    return page.get_by_role("treegrid").get_by_role("row").filter(has_text=name)


@pytest.mark.parametrize("sockets", ["refuse", "swallow"])
def test_a_page_without_a_socket_is_live_by_polling_and_says_so(open_plan, proxy, agent, sockets):
    proxy.sockets = sockets
    page, plan = open_plan()
    expect(badge(page)).to_have_text("Live by polling", timeout=PATIENCE)
    expect(badge(page).get_by_role("status")).to_have_attribute("aria-live", "polite")
    for number in range(5):
        ask(agent, plan, f"task{number}")
        expect(row(page, f"task{number}")).to_contain_text("Pending")
        say(agent, plan, "task.state_changed", task_id=f"{plan}-task{number}", new_state="running")
        expect(row(page, f"task{number}")).to_contain_text("Running")
    expect(badge(page)).to_have_text("Live by polling")


@pytest.mark.parametrize("path", ["/plans", "/agents"])
def test_lists_are_live_by_polling(open_plan, proxy, agent, path):
    proxy.sockets = "refuse"
    page, plan = open_plan()
    page.goto(path)
    expect(badge(page)).to_have_text("Live by polling", timeout=PATIENCE)
    if path == "/plans":
        ask(agent, plan, "first")
        expect(page.locator(f"tr[data-plan={plan}]")).to_contain_text("0/1")
        say(agent, f"{plan}-2", "plan.started", plan_id=f"{plan}-2", goal="hello")
        expect(page.locator(f"tr[data-plan={plan}-2]")).to_be_visible()
    else:
        registered = {"agent_id": plan, "name": f"{plan}:1.0.0", "description": "", "capabilities": []}
        assert agent.post("/v1/agents", json={"agent": registered}).status_code == 200
        expect(page.locator(f"tr[data-agent={plan}]")).to_be_visible()


def test_a_page_goes_back_to_a_socket_when_one_is_let_through(open_plan, proxy, agent):
    proxy.sockets = "refuse"
    page, plan = open_plan()
    expect(badge(page)).to_have_text("Live by polling", timeout=PATIENCE)
    proxy.sockets = "pass"
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(badge(page)).to_have_text("Live", timeout=PATIENCE)
    ask(agent, plan, "after")
    expect(row(page, "after")).to_be_visible()


def test_nothing_is_missed_when_the_socket_is_cut_for_good(open_plan, proxy, agent):
    page, plan = open_plan()
    expect(badge(page)).to_have_text("Live")
    proxy.sockets = "refuse"
    proxy.cut()
    for number in range(10):
        ask(agent, plan, f"task{number}")
    expect(badge(page)).to_have_text("Live by polling", timeout=PATIENCE)
    for number in range(10):
        expect(row(page, f"task{number}")).to_be_visible()
    last = agent.get(f"/v1/tracker/plans/{plan}").json()["seq"]
    expect(page.locator(f"log-view [data-seq='{last}']:not([hidden])")).to_be_visible()


@pytest.mark.parametrize("sockets", ["pass", "refuse"])
def test_silence_is_noticed_and_dated(open_plan, proxy, agent, sockets):
    """A connection that is up but carries nothing: the page must not go on saying that it is live."""
    proxy.sockets = sockets
    page, plan = open_plan()
    alive = "Live" if sockets == "pass" else "Live by polling"
    expect(badge(page)).to_have_text(alive, timeout=PATIENCE)
    proxy.passing.clear()
    ask(agent, plan, "unseen")
    expect(badge(page)).to_have_text(re.compile(r"^Offline since \d\d:\d\d:\d\d$"), timeout=PATIENCE)
    proxy.passing.set()
    expect(badge(page)).to_have_text(re.compile("^Live"), timeout=PATIENCE)
    expect(row(page, "unseen")).to_be_visible()


REMEMBERED = """async () => {
    const { PlanStore } = await import(document.querySelector("link[href$='/plan-store.js']").href);
    const store = new PlanStore();
    store.applySnapshot({ plan: {}, tasks: [], log: [] }, 0);
    const row = (seq) => ({ seq, kind: "note", type: "note.taken", task_id: null, data: {} });
    const sizes = [];
    for (let seq = 1; seq <= 40000; seq += 20) {
        store.applyRows(Array.from({ length: 20 }, (_, at) => row(seq + at)));
        store.forget(101, 130);
        sizes.push(store.rows.size);
    }
    const held = [1, 100, 101, 130, 131, 36000, 36001, 40000].filter((seq) => store.rows.has(seq));
    return { most: Math.max(...sizes), held, seq: store.seq };
}"""


def test_a_page_that_is_open_for_long_forgets_old_rows_but_those_in_view(open_plan):
    page, _ = open_plan()
    told = page.evaluate(REMEMBERED)
    assert told["seq"] == 40_000
    assert told["most"] < 5_100
    assert [seq for seq in told["held"] if seq <= 131] == [101, 130]
    assert 40_000 in told["held"]
