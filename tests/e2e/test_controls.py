"""What an operator does on a plan's page, in a real browser, and what comes of it for the agents."""

import contextlib
import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.plain import FACTS, PlainWorker, Tenant
from tests.e2e.test_pages import assert_in_shape, live, row
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "controls")) as one:
        yield one


@pytest.fixture(scope="module")
def operator(signed_in_as):
    return signed_in_as("olga", "controls", "operator")


@pytest.fixture
def plan(tenant):
    """The id of a plan that goes on."""
    plan = f"plan-{uuid4().hex[:12]}"
    tenant.publish(FACTS, "plan.started", {"plan_id": plan, "goal": "vehicle.maintenance.goal"}, plan_id=plan)
    return plan


@pytest.fixture
def name():
    """The name of a worker that no other test uses; it consumes `<name>.check`."""
    return f"worker-{uuid4().hex[:8]}"


def button(page, name):
    return page.get_by_role("group", name="Control the plan").get_by_role("button", name=name)


def decide(page, title, reason=""):
    """Answer the open question with yes, by keyboard."""
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog.get_by_role("textbox")).to_be_focused()
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()


def state(page):
    return page.locator("[data-f=state]")


def test_a_paused_plan_keeps_its_requests_until_it_is_resumed(open_page, operator, tenant, plan, name):
    page = open_page(f"/plans/{plan}", state=operator)
    live(page)
    with PlainWorker(tenant, f"{name}.check", name=name) as worker:
        button(page, "Pause").click()
        decide(page, "Pause this plan?", "the depot is closed")
        expect(state(page)).to_have_text("Paused")
        expect(page.get_by_text("Held by an operator", exact=True)).to_be_visible()
        held = tenant.ask(f"{name}.check", plan_id=plan)["data"]["task_id"]
        other = tenant.ask(f"{name}.check", plan_id=f"{plan}-other")["data"]["task_id"]
        wait_until(lambda: worker.done, 20, "the other plan's request")
        expect(row(page, f"{name}-check")).to_contain_text("Pending")
        button(page, "Resume").click()
        decide(page, "Resume this plan?")
        expect(row(page, f"{name}-check")).to_contain_text("Completed")
        assert worker.done == [other, held]
    expect(page.get_by_text("Held by an operator", exact=True)).to_be_hidden()
    reasons = [entry["reason"] for entry in tenant.log(plan) if entry["by"] == "user:olga"]
    assert reasons == ["the depot is closed", None]


def test_a_cancelled_plan_takes_its_open_tasks_along(open_page, operator, tenant, plan, name, shots):
    tasks = [tenant.ask(f"{name}.check", plan_id=plan)["data"]["task_id"] for _ in range(2)]
    page = open_page(f"/plans/{plan}", state=operator)
    live(page)
    button(page, "Cancel plan").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 open tasks will be cancelled; their agents are told.")
    shots(page, "ask-light-1440")
    assert_in_shape(page)
    decide(page, "Cancel this plan?", "wrong vehicle")
    expect(state(page)).to_have_text("Cancelled")
    expect(page.get_by_role("group", name="Show only")).to_have_text("2 cancelled")
    expect(page.locator("[data-order]:visible")).to_have_count(0)
    assert tenant.states(plan) == dict.fromkeys(tasks, "cancelled")


def test_a_failed_task_is_retried_and_completed(open_page, operator, tenant, plan, name):
    request = tenant.ask(f"{name}.check", plan_id=plan)
    tenant.answer(request, source=name, status="failed", error="no brakes")
    page = open_page(f"/plans/{plan}?task={request['data']['task_id']}", state=operator)
    live(page)
    panel = page.get_by_role("complementary", name="Details")
    with PlainWorker(tenant, f"{name}.check", name=name) as worker:
        panel.get_by_role("button", name="Retry").click()
        decide(page, "Retry this task?")
        expect(row(page, f"{name}-check")).to_contain_text("Completed")
        assert worker.done == [request["data"]["task_id"]]
    expect(panel.get_by_role("button", name="Retry")).to_be_hidden()
    expect(row(page, f"{name}-check")).to_contain_text("attempt 2")


def test_an_open_task_is_cancelled_once(open_page, operator, tenant, plan, name):
    task = tenant.ask(f"{name}.check", plan_id=plan)["data"]["task_id"]
    page = open_page(f"/plans/{plan}?task={task}", state=operator)
    live(page)
    page.get_by_role("complementary", name="Details").get_by_role("button", name="Cancel").click()
    # A second request would be refused, and the console would tell.
    page.get_by_role("dialog").locator("form").evaluate("(form) => { form.requestSubmit(); form.requestSubmit(); }")
    expect(row(page, f"{name}-check")).to_contain_text("Cancelled")
    assert tenant.states(plan) == {task: "cancelled"}


def test_a_question_can_be_left_and_knows_when_it_has_become_idle(open_page, operator, tenant, plan):
    page = open_page(f"/plans/{plan}", state=operator)
    live(page)
    button(page, "Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(button(page, "Pause")).to_be_focused()
    page.keyboard.press("Enter")
    assert tenant.http.post(f"/v1/plans/{plan}/cancel").status_code == 200
    expect(page.get_by_role("dialog")).to_contain_text("The plan is cancelled now.")
    expect(page.get_by_role("button", name="Pause plan")).to_be_disabled()


def test_who_is_slower_reads_what_happened(open_page, operator, tenant, plan, console_errors):
    page = open_page(f"/plans/{plan}", state=operator)
    live(page)

    def another_first(route):
        assert tenant.http.post(f"/v1/plans/{plan}/cancel").status_code == 200
        route.continue_()

    page.route(f"**/v1/plans/{plan}/pause", another_first)
    button(page, "Pause").click()
    decide(page, "Pause this plan?")
    expect(page.locator(".toast")).to_have_text(re.compile("^The plan was not paused: .*the plan is cancelled.$"))
    expect(state(page)).to_have_text("Cancelled")
    [refusal] = console_errors
    assert "409" in refusal
    console_errors.clear()


def test_a_viewer_has_no_buttons(open_page, signed_in_as, tenant, plan, name):
    request = tenant.ask(f"{name}.check", plan_id=plan)
    tenant.answer(request, source=name, status="failed", error="no brakes")
    viewer = signed_in_as("vera", "controls", "viewer")
    page = open_page(f"/plans/{plan}?task={request['data']['task_id']}", state=viewer)
    live(page)
    expect(page.get_by_role("complementary", name="Details")).to_contain_text("no brakes")
    names = page.get_by_role("button").all_inner_texts()
    assert [each for each in names if re.search(r"Pause|Resume|Hold|Cancel|Retry", each)] == []
