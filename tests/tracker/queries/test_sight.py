"""Who sees what: unknown and foreign ids answer alike, whatever characters they hold."""

from urllib.parse import quote

import pytest
from django.test import Client

from tests.accounts.factories import make_workspace
from tests.tracker.queries.asking import INVALID, NOT_FOUND, Api
from tests.tracker.runs import Run, unique
from tracker.models import Task

PLAN_PATHS = ("", "/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state")


def visible_paths(plan_id, task_id):
    return [*(f"/plans/{plan_id}{end}" for end in PLAN_PATHS), f"/tasks/{task_id}", "/delegation-groups/group-1"]


@pytest.fixture
def busy(run):
    """A plan with everything in it."""
    plan_id, ids = run.plan(2, session_id="talk")
    run.running(plan_id, ids[0])
    run.delegate(plan_id, ids[0], [unique("sub")], group="group-1")
    run.file_plan("busy-child", parent_plan_id=plan_id)
    run.agent()
    return plan_id, ids[0]


def test_the_owner_sees_it_all(busy, api):
    plan_id, task_id = busy
    for path in visible_paths(plan_id, task_id):
        api.ok(path)
    assert len(api.ok(f"/plans/{plan_id}/sub-plans")) == 1
    assert len(api.ok("/sessions/talk/plans")) == 1
    api.ok("/metrics", agent_id="parts-worker", period="1h")


def strangers(workspace):
    return {
        "another workspace": Api(make_workspace()),
        "the same tenant name in another workspace": Api(make_workspace(), "acme", "alice"),
        "another tenant of the workspace": Api(workspace, "globex", "alice"),
    }


def test_what_is_foreign_is_not_there(busy, workspace):
    plan_id, task_id = busy
    for who, stranger in strangers(workspace).items():
        for path in visible_paths(plan_id, task_id):
            assert stranger.problem(path) == NOT_FOUND, (who, path)
        for path in (f"/plans/{plan_id}/sub-plans", "/sessions/talk/plans"):
            assert stranger.ok(path) == [], (who, path)
        for path in ("/plans", "/tasks"):
            assert stranger.ok(path) == {"items": [], "next_cursor": None}, (who, path)


def test_metrics_of_a_foreign_agent(busy, workspace):
    Task.objects.update(agent="parts-worker")
    assert Api(make_workspace()).problem("/metrics", agent_id="parts-worker", period="1h") == NOT_FOUND
    other = Api(workspace, "globex", "alice").ok("/metrics", agent_id="parts-worker", period="1h")
    assert other["total_tasks"] == 0


def test_unknown_ids(api):
    for path in visible_paths("nothing", "nothing"):
        assert api.problem(path) == NOT_FOUND
    assert api.ok("/plans/nothing/sub-plans") == api.ok("/sessions/nothing/plans") == []


def test_foreign_and_unknown_answer_alike(busy, workspace):
    stranger = Api(workspace, "globex", "alice")
    assert stranger.get(f"/plans/{busy[0]}").content == stranger.get("/plans/nothing").content


def test_without_a_key_or_the_scope(busy, workspace):
    plan_id, task_id = busy
    writer = Api(workspace, scopes=("publish", "act"))
    for path in [
        *visible_paths(plan_id, task_id),
        f"/plans/{plan_id}/sub-plans",
        "/sessions/talk/plans",
        "/plans",
        "/tasks",
        "/metrics",
    ]:
        assert Client().get(f"/v1/tracker{path}").status_code == 401, path
        assert writer.get(path).status_code == 403, path


def test_one_plan_id_in_two_tenants(workspace):
    first, second = Run(workspace, "acme"), Run(workspace, "globex")
    first.plan(1, plan_id="shared")
    second.plan(2, plan_id="shared", type="stock.count.requested")
    everybody = Api(workspace)
    assert everybody.ok("/plans/shared")["tenant_id"] == "globex"
    assert everybody.ok("/plans/shared", tenant="acme")["task_count"] == 1
    assert Api(workspace, "acme", "alice").ok("/plans/shared")["task_count"] == 1
    assert Api(workspace, "acme", "alice").problem("/plans/shared", tenant="globex") == NOT_FOUND
    assert [one["tenant_id"] for one in everybody.ok("/plans", q="shared")["items"]] == ["globex", "acme"]
    assert [one["tenant_id"] for one in everybody.ok("/plans", tenant="acme")["items"]] == ["acme"]


@pytest.mark.parametrize(
    "plan_id", ["a/b", "a/actions", "a b", "ä€😀", "?x=1#y", "50%", "a\nb", "..", "a//b", "/a/", "tasks"]
)
def test_an_id_may_hold_any_character(run, api, plan_id):
    run.plan(1, plan_id=plan_id)
    quoted = quote(plan_id, safe="")
    for end in ("/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state"):
        api.ok(f"/plans/{quoted}{end}")
    if not plan_id.endswith("/actions"):
        assert api.ok(f"/plans/{quoted}")["plan_id"] == plan_id
    assert api.ok(f"/plans/{quoted}/tasks")["items"][0]["plan_id"] == plan_id


def test_an_id_with_a_nul_is_unknown(api):
    for path in visible_paths("a%00b", "a%00b")[:-1]:
        assert api.problem(path) == NOT_FOUND
    assert api.problem("/delegation-groups/a%00b") == NOT_FOUND
    assert api.problem("/plans/a%00b/sub-plans") == api.problem("/sessions/a%00b/plans") == NOT_FOUND
    assert api.problem("/metrics", agent_id="a\x00b", period="1h") == NOT_FOUND
    for path in ("/plans", "/tasks"):
        assert api.problem(path, agent="a\x00b") == INVALID
