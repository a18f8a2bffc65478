"""The inbox in a real browser: what a person sees of a request, and how it is decided."""

import json
import re
import time
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.plain import FACTS, Tenant
from tests.e2e.test_pages import LOOKS, assert_in_shape, live

FEW = [("light", 1440), ("dark", 390)]
ARGS = {"supplier": "north-parts", "lines": [{"sku": "BRK-1", "quantity": 4}], "total": 1840.5, "express": False}
TEXT = "Brake pads of **TRK-1042** are below 2 mm.\n\n- four pads\n- [the offer](https://north-parts.example/o/17)\n"
ANSWER = {
    "type": "object",
    "required": ["depot", "slots"],
    "properties": {
        "depot": {"enum": ["north", "east"], "title": "Which depot?"},
        "slots": {"type": "integer", "minimum": 1, "maximum": 4, "description": "Bays side by side"},
        "night": {"type": "boolean", "title": "Also at night"},
        "mails": {"type": "array", "items": {"type": "string"}, "title": "Who hears of it"},
        "contact": {"type": "object", "properties": {"name": {"type": "string", "minLength": 2}}, "title": "Contact"},
    },
}


class Asker:
    """The agents of the workspace that these tests share, which ask people."""

    def __init__(self, server):
        self.tenant = Tenant(server, "inbox")
        self.http = self.tenant.http
        self.asked = []

    def ask(self, title, plan=None, **data):
        """Put a question; gives it as the API shows it."""
        named = {"plan_id": plan or f"plan-{uuid4().hex[:8]}", "task_id": f"ask-{uuid4().hex[:8]}"}
        body = {"title": title, "source": "fleet-planner", "response_event": "approval.decided", **named, **data}
        answer = self.http.post("/v1/approvals", json=body)
        assert answer.status_code == 201, answer.text
        self.asked.append(answer.json())
        return self.asked[-1]

    def now(self, approval):
        return self.http.get(f"/v1/approvals/{approval['id']}").json()

    def stands(self, approval):
        said = self.now(approval)
        return said["state"], said["decision"]

    def decide(self, approval, decision="approve", **more):
        """Somebody else decides: the key's user, alice."""
        path = f"/v1/approvals/{approval['id']}/decision"
        answer = self.http.post(path, json={"decision": decision, **more})
        assert answer.status_code == 200, answer.text

    def withdraw(self, approval):
        assert self.http.post(f"/v1/approvals/{approval['id']}/withdraw", json={}).status_code == 200


@pytest.fixture(scope="module")
def one_asker(server):
    asker = Asker(server)
    yield asker
    asker.tenant.close()


@pytest.fixture
def asker(one_asker):
    """Nothing waits before the test, and nothing is left waiting by it."""
    yield one_asker
    while one_asker.asked:
        approval = one_asker.asked.pop()
        if one_asker.stands(approval)[0] == "pending":
            one_asker.withdraw(approval)


@pytest.fixture
def inbox(open_page, signed_in_as):
    """Open a page as the operator olga, or another."""

    def open_inbox(path="/approvals", name="olga", role="operator", **options):
        page = open_page(path, state=signed_in_as(f"{name}-of-inbox", "inbox", role), **options)
        live(page)
        return page

    return open_inbox


def card(page):
    return page.get_by_role("article")


def titles(page):
    return page.locator(".inbox-name")


def button(page, name):
    return page.get_by_role("group", name="Decision").get_by_role("button", name=re.compile(rf"^{name}"))


def comment(page):
    return card(page).get_by_role("textbox", name=re.compile("^Comment"))


def count(page):
    return page.get_by_role("navigation", name="Main").locator(".count [aria-hidden]")


def look(page, name, shots, looks):
    for scheme, width in looks:
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        shots(page, f"inbox-{name}-{scheme}-{width}")
        assert_in_shape(page)


# --- what is shown ---


def test_an_empty_inbox_says_so_and_a_first_request_appears(asker, inbox, shots):
    page = inbox()
    expect(page.get_by_role("heading", name="Nothing waits for a decision")).to_be_visible()
    expect(page).to_have_title("Approvals · Soorma")
    look(page, "empty", shots, FEW)
    asker.ask("Order brake pads?")
    expect(titles(page)).to_have_text(["Order brake pads?"])
    expect(count(page)).to_have_text("1")
    expect(page).to_have_title("(1) Approvals · Soorma")


def test_a_request_is_shown_with_all_that_hangs_on_it(asker, inbox, shots):
    plan = f"plan-{uuid4().hex[:8]}"
    asker.tenant.publish(FACTS, "plan.started", {"plan_id": plan, "goal": "vehicle.maintenance.goal"}, plan_id=plan)
    blocked = asker.tenant.ask("bay.schedule.requested", plan_id=plan)["data"]["task_id"]
    asker.ask(
        "Order brake pads for TRK-1042?", plan, description=TEXT, action="parts.order", args=ARGS, risk="high",
        expires_in=3600, on_expiry="escalate", assignees=["olga-of-inbox", "ada"], escalate_to=["bob"], quorum=2,
        blocks=blocked,
    )  # fmt: skip
    asker.ask("Which depot takes the truck?", plan, response_schema=ANSWER, allow=["respond", "reject"], risk="low")
    asker.ask(
        "Book bay 3?", plan, action="bay.book", args={"bay": 3}, options=["bay 3", {"label": "bay 4", "price": 2}]
    )
    page = inbox()
    expect(card(page).get_by_role("heading", level=2)).to_have_text("Order brake pads for TRK-1042?")
    for text in ("High risk", "0 of 2 approvals", "fleet-planner", "vehicle.maintenance.goal", "bay-schedule"):
        expect(card(page)).to_contain_text(text)
    expect(card(page)).to_contain_text(re.compile(r"59m \d\ds left.*, then bob is asked as well"))
    expect(card(page).get_by_role("link", name="the offer")).to_have_attribute("target", "_blank")
    expect(card(page).get_by_role("group", name="Arguments")).to_contain_text('"total": 1840.5')
    for number, name in enumerate(("card", "form", "options")):
        titles(page).nth(number).click()
        expect(card(page).get_by_role("heading", level=2)).to_have_text(titles(page).nth(number).inner_text())
        look(page, name, shots, FEW if number else LOOKS)
        page.set_viewport_size({"width": 1440, "height": 900})


def test_the_queue_is_in_order_of_deadline_and_risk(asker, inbox):
    asker.ask("low", risk="low")
    asker.ask("high", risk="high")
    asker.ask("in an hour", expires_in=3600)
    asker.ask("in ten minutes", risk="low", expires_in=600)
    asker.ask("medium")
    asker.ask("others", assignees=["bob"])
    asker.ask("mine", risk="low", assignees=["olga-of-inbox"])
    page = inbox()
    expect(titles(page)).to_have_text(["in ten minutes", "in an hour", "high", "medium", "low", "mine"])
    expect(count(page)).to_have_text("6")
    page.get_by_role("group", name="Whose").get_by_text("Mine").click()
    expect(titles(page)).to_have_text(["mine"])
    page.get_by_role("group", name="Whose").get_by_text("All").click()
    expect(titles(page)).to_have_text(["in ten minutes", "in an hour", "high", "medium", "others", "low", "mine"])
    titles(page).get_by_text("others").click()
    expect(card(page)).to_contain_text("This is for bob to decide.")


# --- deciding ---


def test_a_click_decides_and_the_next_one_opens(asker, inbox):
    first, second = asker.ask("first", risk="high"), asker.ask("second")
    page = inbox()
    button(page, "Approve").click()
    expect(card(page).get_by_role("heading", level=2)).to_have_text("second")
    expect(card(page).get_by_role("heading", level=2)).to_be_focused()
    expect(page.locator(".toast")).to_have_text("Approved: first")
    comment(page).fill("no budget")
    button(page, "Reject").click()
    expect(card(page)).to_contain_text("Rejected by olga-of-inbox")
    assert (asker.stands(first), asker.stands(second)) == (("decided", "approve"), ("decided", "reject"))
    assert asker.now(second)["comment"] == "no budget"
    expect(count(page)).to_be_hidden()
    expect(page).to_have_title("Approvals · Soorma")


def test_a_whole_day_of_decisions_by_keyboard_alone(asker, inbox):
    approved, rejected = asker.ask("approved", risk="high"), asker.ask("rejected", reject_needs_comment=True)
    edited = asker.ask("edited", risk="low", action="parts.order", args={"total": 10})
    answered = asker.ask("answered", risk="low", response_schema=ANSWER, allow=["respond"])
    page = inbox()
    heading = card(page).get_by_role("heading", level=2)
    expect(heading).to_have_text("approved")
    for key in ("j", "j", "k", "k"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(heading).to_be_focused()
    page.keyboard.press("a")
    expect(button(page, "Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(heading).to_have_text("rejected")
    page.keyboard.press("r")
    expect(comment(page)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Say why")
    page.keyboard.type("too dear")
    page.keyboard.press("Enter")
    expect(heading).to_have_text("edited")
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type('{"total": 8}')
    expect(page.get_by_role("group", name="What you change")).to_contain_text("1 change")
    page.keyboard.press("Control+Enter")
    expect(heading).to_have_text("answered")
    expect(heading).to_be_focused()
    page.keyboard.press("s")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type("2")
    page.keyboard.press("Control+Enter")
    expect(card(page)).to_contain_text("Answered by olga-of-inbox")
    assert asker.stands(approved) == ("decided", "approve")
    assert (asker.now(rejected)["comment"], asker.now(edited)["payload"]) == ("too dear", {"total": 8})
    assert asker.now(answered)["payload"] == {"depot": "north", "slots": 2, "night": False}


def test_edited_arguments_are_checked_and_compared_first(asker, inbox, shots):
    approval = asker.ask("Order?", action="parts.order", args=ARGS)
    page = inbox()
    button(page, "Edit").click()
    area = page.get_by_label("Arguments, as JSON")
    area.fill("{")
    expect(card(page)).to_contain_text("This is not JSON")
    button(page, "Approve with changes").click()
    expect(area).to_be_focused()
    area.fill(json.dumps({**ARGS, "total": 900, "lines": [], "note": "<b>now</b>"}))
    diff = page.get_by_role("group", name="What you change")
    expect(diff.get_by_role("listitem")).to_have_text(
        [re.compile(r"lines\[0\].*BRK-1"), re.compile(r"total.*1840.5.*900"), re.compile("note.*<b>now</b>")]
    )
    shots(page, "inbox-edit-light-1440")
    assert_in_shape(page)
    button(page, "Approve with changes").click()
    expect(card(page)).to_contain_text("Approved with changes by olga-of-inbox")
    assert asker.now(approval)["payload"]["total"] == 900
    shots(page, "inbox-edited-light-1440")
    assert_in_shape(page)


def test_a_form_of_the_schema_says_what_is_missing(asker, inbox):
    approval = asker.ask("Which depot?", response_schema=ANSWER, allow=["respond", "reject"])
    page = inbox()
    button(page, "Send the answer").click()
    expect(page.get_by_role("alert")).to_have_text("2 fields need another look.")
    page.get_by_role("radio", name="east").check()
    page.get_by_label("slots").fill("9")
    page.get_by_label("name").fill("B")
    page.get_by_role("button", name="Add").click()
    page.keyboard.type("depot@example.org")
    button(page, "Send the answer").click()
    expect(card(page)).to_contain_text("At most 4.")
    expect(page.get_by_label("slots")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("slots").fill("4")
    page.get_by_label("name").fill("Bo")
    page.get_by_label("Also at night").check()
    button(page, "Send the answer").click()
    expect(card(page)).to_contain_text("Answered by")
    assert asker.now(approval)["payload"] == {
        "depot": "east", "slots": 4, "night": True, "mails": ["depot@example.org"], "contact": {"name": "Bo"},
    }  # fmt: skip


def test_what_only_the_server_can_check_comes_back_at_its_field(asker, inbox, console_errors):
    schema = {"type": "object", "properties": {"plate": {"type": "string", "pattern": "^[A-Z]+$"}}}
    approval = asker.ask("Which plate?", response_schema=schema, allow=["respond"])
    page = inbox()
    page.get_by_role("textbox", name="plate").fill("abc")
    button(page, "Send the answer").click()
    expect(page.get_by_role("textbox", name="plate")).to_have_attribute("aria-invalid", "true")
    expect(card(page)).to_contain_text("does not match")
    assert [each for each in console_errors if "422" not in each] == []
    console_errors.clear()
    page.get_by_role("textbox", name="plate").fill("ABC")
    button(page, "Send the answer").click()
    expect(card(page)).to_contain_text("Answered by")
    assert asker.now(approval)["payload"] == {"plate": "ABC"}


def test_a_schema_beyond_a_form_is_answered_as_json(asker, inbox):
    schema = {"oneOf": [{"type": "integer"}, {"type": "object"}]}
    approval = asker.ask("How many?", response_schema=schema, allow=["respond"])
    page = inbox()
    page.get_by_label("Answer, as JSON").fill('{"many": [1, 2]}')
    button(page, "Send the answer").click()
    expect(card(page)).to_contain_text("Answered by")
    assert asker.now(approval)["payload"] == {"many": [1, 2]}


def test_a_vote_counts_and_can_be_taken_back(asker, inbox):
    approval = asker.ask("Scrap the truck?", quorum=2)
    page = inbox()
    button(page, "Approve").click()
    expect(card(page)).to_contain_text("Your vote counts")
    expect(card(page)).to_contain_text("1 of 2 approvals")
    page.get_by_role("button", name="Take the vote back").click()
    expect(card(page)).to_contain_text("0 of 2 approvals")
    asker.decide(approval, comment="worn out")
    expect(card(page)).to_contain_text("1 of 2 approvals")
    expect(card(page)).to_contain_text("worn out")
    button(page, "Approve").click()
    expect(card(page)).to_contain_text("Approved by olga-of-inbox")
    assert asker.stands(approval) == ("decided", "approve")


# --- others decide ---


def test_what_is_typed_stays_when_a_colleague_decides(asker, inbox, shots):
    approval, other = asker.ask("Order?", risk="high"), asker.ask("Another?")
    page = inbox()
    comment(page).fill("I would rather")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(card(page)).to_contain_text("Another?")
    page.keyboard.press("k")
    expect(comment(page)).to_have_value("I would rather")
    comment(page).press_sequentially(" wait")
    asker.decide(approval, "reject", comment="too dear")
    expect(page.locator(".card-news")).to_contain_text("Rejected by alice while you were writing")
    expect(comment(page)).to_have_value(re.compile("I would rather"))
    expect(comment(page)).to_be_focused()
    expect(button(page, "Approve")).to_be_disabled()
    expect(titles(page)).to_have_text(["Order?", "Another?"])
    shots(page, "inbox-late-light-1440")
    assert_in_shape(page)
    titles(page).last.click()
    expect(titles(page)).to_have_text(["Another?"])
    assert asker.stands(other) == ("pending", None)


def test_a_late_click_is_told_who_and_when(asker, inbox, console_errors):
    approval = asker.ask("Order?")
    page = inbox()

    def another_first(route):
        asker.decide(approval, "reject")
        route.continue_()

    page.route("**/decision", another_first)
    comment(page).fill("fine")
    button(page, "Approve").click()
    said = r"Too late: alice was faster, it was rejected at \d\d:\d\d:\d\d. Nothing was changed by you."
    expect(page.get_by_role("alert")).to_have_text(re.compile(said))
    expect(comment(page)).to_have_value("fine")
    assert asker.stands(approval) == ("decided", "reject")
    [refusal] = console_errors
    assert "409" in refusal
    console_errors.clear()


def test_what_expires_or_is_withdrawn_says_so(asker, inbox):
    withdrawn = asker.ask("Withdrawn?")
    page = inbox()
    expect(card(page)).to_contain_text("Withdrawn?")
    asker.withdraw(withdrawn)
    expect(card(page)).to_contain_text("Withdrawn by")
    expiring = asker.ask("Expiring?", expires_in=2)
    titles(page).get_by_text("Expiring?").click()
    expect(card(page)).to_contain_text(", then it counts as rejected")
    expect(card(page)).to_contain_text("Expired, and rejected by that")
    for state, title in (("Expired", "Expiring?"), ("Withdrawn", "Withdrawn?")):
        page.get_by_role("group", name="State").get_by_text(state).click()
        expect(titles(page).first).to_have_text(title)
    assert asker.stands(expiring)[0] == "expired"


def test_a_viewer_reads_and_is_told_why_that_is_all(asker, inbox):
    asker.ask("Order?")
    page = inbox(name="vera", role="viewer")
    expect(card(page)).to_contain_text("that takes the role operator or admin")
    expect(page.get_by_role("group", name="Decision")).to_have_count(0)
    expect(count(page)).to_be_hidden()


# --- several at once ---


def test_equal_actions_are_approved_together_after_a_look(asker, inbox, shots, console_errors):
    same = [asker.ask(f"Order {n}?", action="parts.order", args={"n": n}) for n in range(3)]
    asker.ask("Book a bay?", action="bay.book", args={})
    asker.ask("Order a truck?", action="parts.order", args={}, risk="high")
    page = inbox()
    boxes = page.get_by_role("checkbox")
    expect(boxes).to_have_count(4)
    for n in range(3):
        page.get_by_role("checkbox", name=f"Approve Order {n}?").check()
    expect(page.get_by_role("checkbox", name="Approve Book a bay?")).to_be_disabled()
    page.get_by_role("button", name="Approve 3…").click()
    dialog = page.get_by_role("dialog", name="Approve 3 requests?")
    expect(dialog.get_by_role("listitem")).to_contain_text(["Order 0?", "Order 1?", "Order 2?"])
    shots(page, "inbox-many-light-1440")
    assert_in_shape(page)
    asker.decide(same[1], "reject")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("2 approved, 1 not.")
    expect(dialog.get_by_role("listitem")).to_contain_text(["Approved", "alice was faster", "Approved"])
    assert [asker.stands(each)[1] for each in same] == ["approve", "reject", "approve"]
    assert all("409" in each for each in console_errors)
    console_errors.clear()


# --- anything that agents send ---


def test_a_large_argument_does_not_freeze_the_page(asker, inbox):
    lines = [{"sku": f"BRK-{n:05}", "quantity": n, "text": "pad " * 10} for n in range(2_500)]
    asker.ask("Order all of it?", action="parts.order", args={"lines": lines}, risk="high")
    asker.ask("Small?", action="parts.order", args={"n": 1})
    assert len(json.dumps(lines)) > 200_000
    page = inbox()
    expect(card(page).get_by_role("group", name="Arguments")).to_contain_text("[ 2500 ]")
    assert page.locator("approval-card *").count() < 500
    started = time.perf_counter()
    for key in ("j", "k"):
        page.keyboard.press(key)
        expect(card(page).get_by_role("heading", level=2)).to_have_text({"j": "Small?", "k": "Order all of it?"}[key])
    button(page, "Edit").click()
    area = page.get_by_label("Arguments, as JSON")
    area.press_sequentially("1 ")
    expect(card(page)).to_contain_text("This is not JSON")
    area.fill('{"lines": []}')
    expect(page.get_by_role("group", name="What you change")).to_contain_text("2,500 changes")
    print(f"200 kB: to and fro, edited and compared after {time.perf_counter() - started:.2f} s")  # noqa: T201 - for the reader of the run
