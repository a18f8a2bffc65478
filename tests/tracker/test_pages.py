"""The pages of plans, one plan and agents: what they show, to whom, and how many queries that takes."""

import json
import re
from datetime import timedelta

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from tests.accounts.factories import make_member, make_workspace
from tracker.models import Agent


@pytest.fixture
def member(run, client):
    """A signed-in client of a viewer in the run's workspace."""
    client.force_login(make_member(run.workspace, role="viewer").user)
    return client


def listed(response):
    return re.findall(r'<tr role="row" data-plan="([^"]+)"', response.content.decode().split("<template")[0])


def embedded(response):
    script = re.search(
        r'<script id="snapshot" type="application/json">(.*?)</script>', response.content.decode(), re.DOTALL
    )
    return json.loads(script[1])


def queries_of(django_assert_max_num_queries, client, path):
    with django_assert_max_num_queries(20) as counted:
        assert client.get(path).status_code == 200
    return len(counted)


def test_home_leads_to_the_plans(client):
    assert client.get("/").headers["Location"] == "/plans"


@pytest.mark.parametrize("path", ["/plans", "/plans/p1", "/agents"])
def test_a_stranger_is_sent_to_sign_in(client, db, path):
    assert client.get(path).headers["Location"].startswith("/sign-in")


def test_an_empty_workspace_is_told_how_to_connect(member):
    page = member.get("/plans").content.decode()
    assert "SOORMA_EVENT_SERVICE_URL=http://testserver" in page
    assert "/v1/events/publish" in page


def test_plans_come_newest_first(run, member):
    for plan_id in ("first", "second", "third"):
        run.request(plan_id, f"{plan_id}-task")
    assert listed(member.get("/plans")) == ["third", "second", "first"]


def test_plans_are_filtered_by_state_and_text(run, member):
    run.file_plan("parts", goal="parts.goal")
    run.file_plan("tyres", goal="tyres.goal")
    run.request("done", "t")
    run.result("done", "t")
    assert listed(member.get("/plans?state=completed")) == ["done"]
    assert listed(member.get("/plans?state=in_progress")) == ["tyres", "parts"]
    assert listed(member.get("/plans?q=TYRES.g")) == ["tyres"]
    assert "No plan matches" in member.get("/plans?q=nothing").content.decode()


def test_unknown_states_and_odd_texts_filter_nothing_away_wrongly(run, member):
    run.file_plan("parts")
    assert listed(member.get("/plans?state=odd")) == ["parts"]
    assert listed(member.get("/plans?q=%00")) == ["parts"]


def test_older_plans_follow_by_cursor(run, member):
    for number in range(52):
        run.file_plan(f"plan-{number}")
    first = member.get("/plans?state=in_progress")
    older = re.search(r'hx-get="(/plans\?[^"]+)"', first.content.decode())[1].replace("&amp;", "&")
    second = member.get(older, headers={"HX-Request": "true"})
    assert listed(first) + listed(second) == [f"plan-{number}" for number in reversed(range(52))]
    assert "<html" not in second.content.decode()
    assert member.get("/plans?cursor=nonsense").status_code == 404


def test_htmx_gets_the_list_alone(run, member):
    run.file_plan("parts")
    answer = member.get("/plans", headers={"HX-Request": "true"}).content.decode()
    assert 'id="plan-list"' in answer
    assert "<html" not in answer


def test_the_plan_page_carries_its_snapshot(run, member):
    run.request("p1", "t1", data={"note": "</script><script>alert(1)</script>"})
    run.running("p1", "t1")
    page = member.get("/plans/p1")
    snapshot = embedded(page)
    assert [task["state"] for task in snapshot["tasks"]] == ["running"]
    assert [row["seq"] for row in snapshot["log"]] == list(range(1, snapshot["plan"]["seq"] + 1))
    assert snapshot["log"][1]["data"] | {"task_id": ""} == {"task_id": "", "note": "</script><script>alert(1)</script>"}
    assert "<script>alert" not in page.content.decode()


def test_a_plan_id_may_hold_slashes(run, member):
    run.request("fleet/2026/1", "t1")
    assert 'href="/plans/fleet%2F2026%2F1"' in member.get("/plans").content.decode()
    assert embedded(member.get("/plans/fleet%2F2026%2F1"))["plan"]["plan_id"] == "fleet/2026/1"


def test_sub_plans_are_linked_both_ways(run, member):
    run.file_plan("parent")
    run.file_plan("child", parent_plan_id="parent")
    assert 'href="/plans/child"' in member.get("/plans/parent").content.decode()
    assert 'href="/plans/parent"' in member.get("/plans/child").content.decode()


def test_another_workspaces_plan_is_not_there(run, client):
    run.request("p1", "t1")
    client.force_login(make_member(make_workspace(), role="admin").user)
    assert client.get("/plans/p1").status_code == client.get("/plans/p2").status_code == 404
    assert listed(client.get("/plans")) == []


def test_agents_are_listed_with_what_they_hold(run, member):
    now = timezone.now()
    for agent_id, age in (("parts-1", 1), ("parts-2", 4000)):
        at = now - timedelta(seconds=age)
        Agent.objects.create(
            workspace=run.workspace, agent_id=agent_id, name="parts:0.1.0", base_name="parts", registered_at=at,
            heartbeat_at=at, consumed_events='["parts.check.requested"]',
        )  # fmt: skip
    page = member.get("/agents").content.decode()
    assert re.findall(r'data-agent="([^"]+)"', page) == ["parts-1", "parts-2"]
    assert re.findall(r'data-presence="([^"]+)"', page) == ["live", "silent"]
    assert page.count("parts.check.requested") == 1


def test_the_list_takes_the_same_queries_for_1_plan_and_for_40(run, member, django_assert_max_num_queries):
    run.request("p0", "t0")
    one = queries_of(django_assert_max_num_queries, member, "/plans")
    for number in range(1, 40):
        run.request(f"p{number}", f"t{number}")
    assert queries_of(django_assert_max_num_queries, member, "/plans") == one


def test_the_plan_page_takes_the_same_queries_for_1_task_and_for_40(run, member, django_assert_max_num_queries):
    run.request("p", "t0")
    one = queries_of(django_assert_max_num_queries, member, "/plans/p")
    for number in range(1, 40):
        run.request("p", f"t{number}")
    assert queries_of(django_assert_max_num_queries, member, "/plans/p") == one


def test_the_design_page_is_for_debugging_alone(member):
    assert member.get("/design").status_code == 404


def test_an_unknown_page_is_a_page_of_the_product(member):
    answer = member.get("/nowhere")
    assert answer.status_code == 404
    assert "There is no such page" in answer.content.decode()
    assert "Sign out" in answer.content.decode()


def test_a_form_that_expired_says_so(run):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(make_member(run.workspace).user)
    answer = strict.post("/keys/new", {"name": "agent"})
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()
    assert strict.get("/settings/keys").status_code == 200


def test_a_server_error_has_a_page_that_needs_nothing():
    assert "The server met an error" in render_to_string("500.html")
