"""One order to many plans: on the list in a real browser, by REST, and a plan with a thousand open tasks."""

import contextlib
import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.plain import FACTS, REQUESTS, Listener, PlainWorker, Tenant
from tests.e2e.test_pages import assert_in_shape, live
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "bulk")) as one:
        yield one


@pytest.fixture(scope="module")
def operator(signed_in_as):
    return signed_in_as("olga-of-bulk", "bulk", "operator")


@pytest.fixture
def goal():
    """The goal of this test's plans, by which the list shows them alone."""
    return f"goal-{uuid4().hex[:8]}"


def start(tenant, goal, count=1):
    """Ids of new plans of this goal that go on."""
    plans = [f"plan-{uuid4().hex[:12]}" for _ in range(count)]
    for plan in plans:
        tenant.publish(FACTS, "plan.started", {"plan_id": plan, "goal": goal}, plan_id=plan)
    return plans


def order(tenant, action, plan_ids, **more):
    return tenant.http.post("/v1/plans/bulk", json={"action": action, "plan_ids": plan_ids, **more})


def outcomes(answer):
    assert answer.status_code == 200, answer.text
    return {one["plan_id"]: (one["outcome"], one["state"]) for one in answer.json()["results"]}


def row(page, plan):
    return page.locator(f"tr[data-plan='{plan}']")


def bar(page):
    return page.get_by_role("region", name="Selected plans")


def dialog(page):
    return page.locator("#bulk")


# -- REST --------------------------------------------------------------------------------------------------------------


def test_each_plan_has_its_own_outcome(tenant, goal):
    going, done, other = start(tenant, goal, 3)
    tenant.publish(FACTS, "plan.completed", {"plan_id": done}, plan_id=done)
    task = tenant.ask(plan_id=going)["data"]["task_id"]
    named = [going, "nothing", done, other, going]
    foreseen = order(tenant, "cancel", named, preview=True)
    assert outcomes(foreseen) == {
        going: ("possible", "in_progress"),
        "nothing": ("unknown", None),
        done: ("refused", "completed"),
        other: ("possible", "in_progress"),
    }
    assert foreseen.json()["done"] == 2
    assert tenant.states(going) == {task: "pending"}
    answer = order(tenant, "cancel", named, reason="wrong depot")
    assert outcomes(answer) == {
        going: ("done", "cancelled"),
        "nothing": ("unknown", None),
        done: ("refused", "completed"),
        other: ("done", "cancelled"),
    }
    results = {one["plan_id"]: one for one in answer.json()["results"]}
    assert results[done]["detail"] == "a completed plan cannot be cancelled"
    assert tenant.states(going) == {task: "cancelled"}
    told = tenant.log(going)[results[going]["seq"] - 1]
    assert (told["to_state"], told["reason"], told["by"]) == ("cancelled", "wrong depot", "user:alice")


def test_pause_and_resume_hold_back_and_hand_over(tenant, goal):
    kind = f"{goal}.check"
    plans = start(tenant, goal, 3)
    with PlainWorker(tenant, kind, name=f"worker-{goal}") as worker:
        assert set(outcomes(order(tenant, "pause", plans)).values()) == {("done", "paused")}
        assert set(outcomes(order(tenant, "pause", plans)).values()) == {("refused", "paused")}
        tasks = {tenant.ask(kind, plan_id=plan)["data"]["task_id"] for plan in plans}
        free = tenant.ask(kind, plan_id=f"{goal}-free")["data"]["task_id"]
        wait_until(lambda: worker.done, 20, "the request of a plan that goes on")
        assert worker.done == [free]
        assert set(outcomes(order(tenant, "resume", plans)).values()) == {("done", "in_progress")}
        wait_until(lambda: len(worker.done) == 4, 20, "the requests that were held back")
    assert set(worker.done) == tasks | {free}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "delete", "plan_ids": ["p"]}, "/action"),
        ({"action": "cancel", "plan_ids": []}, "/plan_ids"),
        ({"action": "cancel", "plan_ids": ["p"] * 1001}, "/plan_ids"),
        ({"action": "cancel", "plan_ids": ["p"], "plans": []}, "/plans"),
    ],
)
def test_what_does_not_fit_is_named(tenant, body, pointer):
    answer = tenant.http.post("/v1/plans/bulk", json=body)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_plans_of_others_are_unknown(server, tenant, goal):
    plans = start(tenant, goal, 2)
    with contextlib.closing(Tenant(server, "bulk", "umbrella", "bob")) as stranger:
        for preview in (True, False):
            assert set(outcomes(order(stranger, "cancel", plans, preview=preview)).values()) == {("unknown", None)}
    assert {tenant.plan(plan)["state"] for plan in plans} == {"in_progress"}


def test_a_key_that_only_reads_may_not(server, tenant):
    with server.client(server.api_key("bulk", "acme", "alice", scopes="read")) as reader:
        assert reader.post("/v1/plans/bulk", json={"action": "cancel", "plan_ids": ["p"]}).status_code == 403


def test_a_thousand_plans_at_once(tenant, goal):
    plans = [f"{goal}-{n}" for n in range(1000)]
    events = [tenant.envelope(REQUESTS, "x.requested", {"task_id": f"{plan}-t"}, plan_id=plan) for plan in plans]
    assert tenant.http.post("/v1/events/batch", json=events).status_code == 200
    answer = order(tenant, "cancel", plans)
    assert set(outcomes(answer).values()) == {("done", "cancelled")}
    assert tenant.states(plans[500]) == {f"{plans[500]}-t": "cancelled"}


# -- a thousand tasks --------------------------------------------------------------------------------------------------


def test_a_plan_with_a_thousand_open_tasks_is_cancelled(open_page, operator, tenant, goal):
    [plan] = start(tenant, goal)
    kind = f"{goal}.check"
    with (
        Listener(tenant, FACTS, name=f"ear-{goal}") as ear,
        PlainWorker(tenant, kind, name=f"worker-{goal}", answers=False) as worker,
    ):
        asked = [
            tenant.envelope(REQUESTS, kind if n < 50 else f"{kind}.later", {"task_id": f"{goal}-{n}"}, plan_id=plan)
            for n in range(1000)
        ]
        assert tenant.http.post("/v1/events/batch", json=asked).status_code == 200
        worker.heard(50)
        page = open_page(f"/plans/{plan}", state=operator)
        live(page)
        expect(page.get_by_role("group", name="Show only")).to_contain_text("950")
        page.get_by_role("group", name="Control the plan").get_by_role("button", name="Cancel plan").click()
        expect(page.get_by_role("dialog")).to_contain_text("1,000 open tasks will be cancelled")
        page.keyboard.press("Enter")
        expect(page.get_by_role("group", name="Show only")).to_have_text(re.compile("^1,?000 cancelled$"))
        expect(page.locator("[data-f=state]")).to_have_text("Cancelled")
        told = [m for m in ear.heard(1001) if m["type"] in {"task.cancelled", "plan.cancelled"}]
    assert {m["data"]["task_id"] for m in told if m["type"] == "task.cancelled"} == {f"{goal}-{n}" for n in range(1000)}
    assert [m["data"]["plan_id"] for m in told if m["type"] == "plan.cancelled"] == [plan]
    assert set(tenant.states(plan).values()) == {"cancelled"}
    moves = [r["recorded_at"] for r in tenant.log(plan) if r["to_state"] == "cancelled"]
    assert (len(moves), len(set(moves))) == (1001, 1)  # one batch: all at the same moment
    with PlainWorker(tenant, f"{kind}.later", name=f"late-{goal}") as late:
        last = tenant.ask(f"{kind}.later", plan_id=f"{goal}-free")["data"]["task_id"]
        wait_until(lambda: late.done, 20, "the request of another plan")
        assert late.done == [last]


# -- the list ----------------------------------------------------------------------------------------------------------


def test_plans_are_picked_paused_and_resumed_again(open_page, operator, tenant, goal, shots):
    one, two, done = start(tenant, goal, 3)
    tenant.publish(FACTS, "plan.completed", {"plan_id": done}, plan_id=done)
    page = open_page(f"/plans?q={goal}", state=operator)
    live(page)
    expect(bar(page)).to_be_hidden()
    page.get_by_label("Select all shown plans").check()
    expect(bar(page)).to_contain_text("3 selected")
    shots(page, "bulk-picked-light-1440")
    bar(page).get_by_role("button", name="Pause").click()
    expect(dialog(page)).to_contain_text("2 plans will be paused.")
    expect(dialog(page)).to_contain_text("a completed plan cannot be paused")
    shots(page, "bulk-ask-light-1440")
    assert_in_shape(page)
    expect(dialog(page).get_by_role("textbox")).to_be_focused()
    page.keyboard.type("night")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("2 plans paused.")
    shots(page, "bulk-done-light-1440")
    for plan in (one, two):
        expect(row(page, plan)).to_contain_text("Paused")
        expect(row(page, plan).get_by_text("Held", exact=True)).to_be_visible()
        assert (tenant.plan(plan)["state"], tenant.log(plan)[-1]["reason"]) == ("paused", "night")
    dialog(page).get_by_role("button", name="Undo: resume 2 plans").click()
    expect(dialog(page)).to_contain_text("2 plans will be resumed.")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("2 plans resumed.")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_hidden()
    expect(bar(page)).to_be_hidden()
    for plan in (one, two):
        expect(row(page, plan)).to_contain_text("In progress")
        expect(row(page, plan).get_by_text("Held", exact=True)).to_be_hidden()


def test_by_keyboard_alone(open_page, operator, tenant, goal):
    plans = start(tenant, goal, 3)
    page = open_page(f"/plans?q={goal}", state=operator)
    live(page)
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(bar(page)).to_contain_text("2 selected")
    page.keyboard.press("Escape")
    expect(bar(page)).to_be_hidden()
    page.keyboard.press("x")
    bar(page).get_by_role("button", name="Cancel").focus()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("1 plan will be cancelled")
    expect(dialog(page).get_by_role("textbox")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("1 plan cancelled.")
    assert sorted(tenant.plan(plan)["state"] for plan in plans) == ["cancelled", "in_progress", "in_progress"]


def test_who_was_faster_is_told(open_page, operator, tenant, goal):
    one, two = start(tenant, goal, 2)
    page = open_page(f"/plans?q={goal}", state=operator)
    live(page)
    page.get_by_label("Select all shown plans").check()
    bar(page).get_by_role("button", name="Cancel").click()
    expect(dialog(page)).to_contain_text("2 plans will be cancelled")
    assert tenant.http.post(f"/v1/plans/{one}/cancel").status_code == 200
    page.keyboard.press("Enter")
    expect(dialog(page)).to_contain_text("1 plan cancelled. 1 plan not.")
    expect(dialog(page)).to_contain_text("a cancelled plan cannot be cancelled")
    assert {tenant.plan(plan)["state"] for plan in (one, two)} == {"cancelled"}


def test_narrow_and_dark(open_page, operator, tenant, goal, shots):
    start(tenant, goal, 2)
    page = open_page(f"/plans?q={goal}", state=operator, color_scheme="dark", viewport={"width": 390, "height": 800})
    live(page)
    page.locator("[data-pick]").first.check()
    shots(page, "bulk-picked-dark-390")
    bar(page).get_by_role("button", name="Cancel").click()
    expect(dialog(page)).to_contain_text("1 plan will be cancelled")
    shots(page, "bulk-ask-dark-390")
    assert_in_shape(page)


def test_a_viewer_has_no_boxes(open_page, signed_in_as, tenant, goal):
    [plan] = start(tenant, goal)
    page = open_page(f"/plans?q={goal}", state=signed_in_as("vera-of-bulk", "bulk", "viewer"))
    live(page)
    expect(row(page, plan)).to_be_visible()
    expect(page.locator("[data-pick], [data-pick-all]")).to_have_count(0)
