"""The pages of agents in a real browser: they follow what agents do, and say what waits for them and why."""

import pytest
from playwright.sync_api import expect

from tests.e2e.plain import Listener, Tenant
from tests.e2e.test_pages import live, look

CHECK = "parts.check.requested"


@pytest.fixture(scope="module")
def tenant(server):
    tenant = Tenant(server, "agents-page", bound=False)
    yield tenant
    tenant.close()


@pytest.fixture(scope="module")
def member(signed_in_as):
    return signed_in_as("viewer-of-agents", "agents-page", "viewer")


def instance(page, agent_id):
    return page.locator(f'tr[data-agent="{agent_id}"]')


def test_who_is_there_and_what_each_is_doing(open_page, member, tenant, shots):
    tenant.register("parts-worker", [CHECK], "parts-1")
    tenant.register("parts-worker", [CHECK], "parts-2")
    page = open_page("/agents", state=member)
    live(page)
    expect(instance(page, "parts-1")).to_contain_text("Heard recently")
    with Listener(tenant, "action-requests", name="parts-worker", agent_id="parts-1") as ear:
        expect(instance(page, "parts-1")).to_contain_text("Connected")
        expect(instance(page, "parts-1").locator(".since")).to_contain_text("since")
        expect(instance(page, "parts-1").locator(".doing-now")).to_have_text("Nothing")
        request = tenant.ask(CHECK, plan_id="plan-of-agents")
        ear.heard(1)
        doing = instance(page, "parts-1").locator("a.doing")
        expect(doing).to_contain_text("parts-check")
        expect(instance(page, "parts-2").locator(".doing-now")).to_have_text("Nothing")
        tenant.ask("bay.book.requested", plan_id="plan-of-agents")
        page.reload()
        expect(page.get_by_text("no connected agent consumes bay.book.requested")).to_be_visible()
        look(page, "agents", shots)
        doing.click()
        expect(page.get_by_role("complementary", name="Details")).to_contain_text("parts-check")
        page.go_back()
        tenant.answer(request, source="parts-worker")
        expect(instance(page, "parts-1").locator(".doing-now")).to_have_text("Nothing")
    expect(instance(page, "parts-1").locator(".presence")).not_to_contain_text("Connected")


def test_one_agent(open_page, member, tenant, shots):
    tenant.register("bay-worker", ["bay.hold.requested"], "bay-1")
    with Listener(tenant, "action-requests", name="bay-worker", agent_id="bay-1") as ear:
        request = tenant.ask("bay.hold.requested", plan_id="plan-of-bays")
        ear.heard(1)
        tenant.answer(request, source="bay-worker")
        tenant.ask("bay.hold.requested", plan_id="plan-of-bays")
        ear.heard(2)
        page = open_page("/agents", state=member)
        page.get_by_role("link", name="bay-worker", exact=True).click()
        expect(page.get_by_role("heading", name="bay-worker")).to_be_visible()
        expect(instance(page, "bay-1").locator("a.doing")).to_contain_text("bay-hold-2")
        history = page.get_by_role("table", name="Newest tasks").get_by_role("row")
        expect(history).to_have_count(3)
        expect(history.nth(2)).to_contain_text("Completed")
        look(page, "agent", shots)


def test_the_plan_page_says_that_nobody_listens(open_page, member, tenant):
    tenant.ask("paint.mix.requested", plan_id="plan-unheard")
    page = open_page("/plans/plan-unheard", state=member)
    live(page)
    warning = page.get_by_role("status").filter(has_text="no connected agent consumes paint.mix.requested")
    expect(warning).to_be_visible(timeout=15_000)
    tenant.register("painter", ["paint.mix.requested"], "painter-1")
    with Listener(tenant, "action-requests", name="painter", agent_id="painter-1"):
        expect(warning).to_be_hidden()
