"""Agents of the unmodified SDK that ask a person, and a person who clicks in Chromium: they go on, or the other way."""

import contextlib
import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.company import AGENTS, Company
from tests.e2e.plain import REQUESTS, Tenant
from tests.e2e.test_pages import live
from tests.services.waiting import wait_until


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "asking")) as one:
        yield one


@pytest.fixture(scope="module")
def company(server, tenant, tmp_path_factory):
    """A worker and a planner that ask before they go on."""
    company = Company(server, tenant.key, tmp_path_factory.mktemp("gates"))
    try:
        company.hire(
            worker=(AGENTS / "asking_worker.py", "asking-worker", "parts.order.requested"),
            planner=(AGENTS / "asking_planner.py", "asking-planner", "scrap.goal"),
        )
        yield company
    finally:
        company.dismiss()


@pytest.fixture
def clerk(signed_in_as):
    return signed_in_as("clerk", "asking", "operator")


def decide(page, name, comment):
    card = page.get_by_role("article")
    card.get_by_role("textbox", name=re.compile("^Comment")).fill(comment)
    card.get_by_role("group", name="Decision").get_by_role("button", name=re.compile(f"^{name}")).click()
    expect(page.locator(".toast")).to_contain_text({"Approve": "Approved: ", "Reject": "Rejected: "}[name])


def in_the_inbox(page, asked):
    page.goto("/approvals")
    live(page)
    page.locator(f".inbox-row[data-id='{asked['id']}']").get_by_role("link").click()


def on_the_plan(page, asked):
    page.goto(f"/plans/{asked['plan_id']}")
    live(page)
    page.get_by_role("group", name="Waits for a person").get_by_role("button", name=f"Decide: {asked['title']}").click()


def question(tenant, company, plan):
    def asked():
        return tenant.http.get("/v1/approvals", params={"plan": plan, "state": "pending"}).json()["items"]

    [found] = wait_until(asked, 30, company.output)
    return found


@pytest.mark.parametrize(
    ("where", "click", "outcome"), [(in_the_inbox, "Approve", "done"), (on_the_plan, "Reject", "left")]
)
def test_a_worker_goes_on_or_the_other_way(open_page, clerk, tenant, company, where, click, outcome):
    plan = f"plan-{uuid4().hex}"
    task = tenant.ask("parts.order.requested", {"label": plan}, plan_id=plan)["data"]["task_id"]
    asked = question(tenant, company, plan)
    page = open_page("/agents", state=clerk)
    where(page, asked)
    expect(page.get_by_role("article")).to_contain_text(plan)
    decide(page, click, "as agreed")
    wait_until(lambda: tenant.task(task)["state"] == "completed", 20, company.output)
    if where is in_the_inbox:
        expect(page.get_by_role("article")).to_contain_text("Handed to asking-worker")
        expect(page.get_by_role("article")).to_contain_text("The next step: ")
    [said] = [row for row in tenant.log(plan) if row["source"] == "asking-worker" and row["topic"] == "action-results"]
    assert said["data"]["result"] == {"outcome": outcome, "decided_by": "user:clerk", "comment": "as agreed"}
    [told] = [row for row in tenant.log(plan) if row["by"] == "user:clerk" and row["kind"] == "transition"]
    assert (told["from_state"], told["reason"]) == ("awaiting_approval", "as agreed")


@pytest.mark.parametrize(
    ("where", "click", "state"), [(on_the_plan, "Approve", "completed"), (in_the_inbox, "Reject", "failed")]
)
def test_a_plan_goes_on_or_the_other_way(open_page, clerk, tenant, company, where, click, state):
    plan = f"plan-{uuid4().hex}"
    tenant.publish(REQUESTS, "scrap.goal", {"label": plan}, correlation_id=plan, response_event="trip.completed")
    asked = question(tenant, company, plan)
    page = open_page("/agents", state=clerk)
    where(page, asked)
    expect(page.get_by_role("article")).to_contain_text(plan)
    decide(page, click, "as agreed")
    wait_until(lambda: tenant.plan(plan)["state"] == state, 20, company.output)
    if where is on_the_plan:
        expect(page.locator("[data-f=state]")).to_have_text(state.capitalize())
        expect(page.get_by_role("group", name="Waits for a person")).to_be_hidden()
