"""The pages of declared plans: a definition that is looked at while it is typed, and a machine that is watched live."""

import contextlib
import json
import re
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.e2e.declared import ask, declare
from tests.e2e.plain import REQUESTS, Listener, Tenant
from tests.services.waiting import wait_until

# axe would add a style of its own, which the pages' policy does not let in.
AXE = {"resultTypes": ["violations"], "preload": False}


def loop(tag):
    """Asks until it is enough."""
    return {
        "goal": "loop.goal",
        "goal_data": {"limit": 2},
        "states": {
            "start": {"default_next": "count"},
            "count": {
                "action": ask("count", tag, data={"limit": "{{goal_data.limit}}"}),
                "transitions": [
                    {
                        "on_event": f"count-{tag}.completed",
                        "to_state": "done",
                        "condition": "result.n >= goal_data.limit",
                    },
                    {"on_event": f"count-{tag}.completed", "to_state": "count"},
                ],
                "on_failure": "given up",
            },
            "done": {"is_terminal": True},
            "given up": {"is_terminal": True},
        },
    }


@pytest.fixture
def member(server, workspace, signed_in_as):
    """A member of this test's workspace."""
    return signed_in_as(f"m-{workspace}", workspace, "operator")


def node(page, name):
    return page.locator(f'.machine-node[data-node="{name}"]')


def serious(page):
    return [
        one["id"]
        for one in Axe().run(page, options=AXE).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_definition_is_typed_corrected_and_started(server, workspace, member, open_page, scheme, shots):
    tag = uuid4().hex[:8]
    with contextlib.closing(Tenant(server, workspace)) as tenant:
        tenant.ask("any.requested", plan_id="known")  # so that the tenant is known
        page = open_page("/new-plan", state=member, color_scheme=scheme)
        expect(page.locator("#start")).to_be_enabled()
        expect(page.locator("#tenant")).to_have_value("acme")
        text = page.get_by_role("textbox", name="Definition")
        text.fill('{"goal": ')
        expect(page.locator("#definition-said")).to_contain_text("No JSON yet")
        wrong = loop(tag)
        wrong["states"]["count"]["transitions"][0]["to_state"] = "dnoe"
        wrong["states"]["count"]["action"]["data"]["limit"] = "{{goal_data.limt}}"
        text.fill(json.dumps(wrong, indent=2))
        expect(page.locator("#faults li")).to_have_count(3)
        expect(page.locator("#start")).to_be_disabled()
        page.get_by_role("button", name="there is no state 'dnoe'").click()
        assert text.evaluate("it => it.value.slice(it.selectionStart, it.selectionEnd)") == '"dnoe"'
        assert serious(page) == []
        text.fill(json.dumps(loop(tag), indent=2))
        expect(page.locator("#definition-said")).to_contain_text("Nothing is wrong. 4 states.")
        expect(node(page, "count")).to_be_visible()
        shots(page, f"new-plan-{scheme}")
        page.get_by_role("button", name="Start plan").click()
        page.wait_for_url(re.compile(r"/plans/[0-9a-f-]{36}$"))
        expect(node(page, "count")).to_have_attribute("data-state", "current")
        page.get_by_role("link", name="Start again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Start loop.goal again")
        assert json.loads(page.get_by_role("textbox", name="Definition").input_value()) == loop(tag)
        expect(page.get_by_role("link", name=re.compile("^loop.goal"))).to_be_visible()


def test_a_machine_is_watched_live(server, workspace, member, open_page, shots):
    tag = uuid4().hex[:8]
    with contextlib.closing(Tenant(server, workspace)) as tenant:
        agent = tenant.register("counter", [f"count-{tag}.requested"])
        with Listener(tenant, REQUESTS, name="counter", agent_id=agent) as counter:
            plan_id = declare(tenant, loop(tag))
            page = open_page(f"/plans/{plan_id}", state=member)
            expect(node(page, "start")).to_have_attribute("data-state", "visited")
            for n in (1, 2):
                times = "" if n == 1 else f"\N{MULTIPLICATION SIGN}{n}"
                expect(node(page, "count").locator(".machine-visits")).to_have_text(times)
                wait_until(lambda: len(counter.messages) >= n)  # noqa: B023
                tenant.answer(counter.messages[n - 1], "counter", result={"n": n})
            expect(node(page, "done")).to_have_attribute("data-state", "completed")
            expect(node(page, "count")).to_have_attribute("data-state", "visited")
            expect(page.locator('.machine-line[data-from="count"][data-to="count"]')).to_have_attribute(
                "data-taken", "yes"
            )
            expect(page.locator('.machine-line[data-to="given up"]')).not_to_have_attribute("data-taken", "yes")
            page.get_by_text("In words").click()
            expect(page.locator(".machine-words li").nth(1)).to_contain_text("count: asks for")
            assert serious(page) == []
            shots(page, "machine")
            live = page.locator(".machine-node").evaluate_all("all => all.map(it => it.dataset.state)")
            page.reload()  # what the server draws is what the page has come to
            expect(node(page, "done")).to_have_attribute("data-state", "completed")
            assert page.locator(".machine-node").evaluate_all("all => all.map(it => it.dataset.state)") == live


def test_a_viewer_cannot_declare(workspace, signed_in_as, open_page):
    page = open_page("/plans", state=signed_in_as(f"v-{workspace}", workspace, "viewer"))
    expect(page.get_by_role("link", name="New plan")).to_have_count(0)
    assert page.request.get("/new-plan").status == 403


def test_plans_of_agents_have_no_machine(server, workspace, member, open_page):
    with contextlib.closing(Tenant(server, workspace)) as tenant:
        tenant.ask("any.requested", plan_id="plain")
        page = open_page("/plans/plain", state=member)
        expect(page.locator("#timeline")).to_be_visible()
        expect(page.locator("#machine")).to_have_count(0)
