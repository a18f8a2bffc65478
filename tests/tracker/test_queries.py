"""The queries over HTTP: shapes, filters, pages, what a foreign key sees, and how many statements they cost."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from soorma_common.tracker import (
    AgentMetrics,
    DelegationGroup,
    EventTimeline,
    PlanExecution,
    PlanProgress,
    TaskExecution,
)

from accounts import auth
from tests.accounts.factories import make_key, make_workspace
from tests.tracker.runs import Run, unique
from tracker import schemas
from tracker.models import Plan, Task

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_memory():
    """A rolled-back key's id comes again in the next test."""
    auth.forget_keys()


class Api:
    """A client with a key; the path without /v1/tracker."""

    def __init__(self, workspace, tenant=None, user=None, scopes=("read",)):
        _, token = make_key(workspace, tenant_id=tenant, user_id=user, scopes=scopes)
        self.client, self.headers = Client(), {"Authorization": f"Bearer {token}"}

    def get(self, path, **query):
        return self.client.get(f"/v1/tracker{path}", query, headers=self.headers)

    def ok(self, path, **query):
        response = self.get(path, **query)
        assert response.status_code == 200, response.content
        return response.json()

    def problem(self, path, **query):
        response = self.get(path, **query)
        assert response["Content-Type"] == "application/problem+json"
        body = response.json()
        assert body["status"] == response.status_code
        return response.status_code, body["code"]


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def run(workspace):
    return Run(workspace)


@pytest.fixture
def api(workspace):
    return Api(workspace, "acme", "alice")


NOT_FOUND = (404, "not-found")
INVALID = (422, "invalid")
PLAN_PATHS = ("", "/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state")


# --- the SDK's seven --------------------------------------------------------------------------------------------------


def test_progress_is_what_the_sdk_reads_and_more(run, api):
    plan_id, (first, second) = run.plan(2)
    run.running(plan_id, first)
    run.result(plan_id, first)
    body = api.ok(f"/plans/{plan_id}")
    progress = PlanProgress.model_validate(body)
    schemas.PlanDetail.model_validate(body)
    assert (progress.status, progress.task_count, progress.completed_tasks, progress.failed_tasks) == (
        "in_progress",
        2,
        1,
        0,
    )
    assert progress.current_state is None
    assert body["tasks"] == {
        "parts-check": {
            "task_id": first, "state": "completed", "status": "completed", "agent": "parts-worker", "progress": None,
            "stalled": False, "attempt": 1,
        },
        "parts-check-2": {
            "task_id": second, "state": "pending", "status": "pending", "agent": None, "progress": None,
            "stalled": False, "attempt": 1,
        },
    }  # fmt: skip
    assert (body["approvals_pending"], body["stalled_tasks"], body["open_tasks"], body["cancelled_tasks"]) == (
        0,
        0,
        1,
        0,
    )
    assert body["seq"] == api.ok(f"/plans/{plan_id}/log")["items"][-1]["seq"]


def test_a_pending_plan_says_when_it_was_created(run, api):
    run.file_plan("later")
    Plan.objects.update(state="pending", started_at=None)
    body = api.ok("/plans/later")
    assert body["started_at"] == body["created_at"]
    assert PlanProgress.model_validate(body).started_at.utcoffset() == timedelta(0)


def test_actions_come_in_order_of_arrival_in_the_states_that_the_sdk_knows(run, api):
    plan_id, ids = run.plan(3)
    run.running(plan_id, ids[1])
    run.move(ids[1], "in_review")
    run.move(ids[2], "awaiting_approval")
    run.result(plan_id, ids[0])
    actions = [TaskExecution.model_validate(one) for one in api.ok(f"/plans/{plan_id}/actions")]
    assert [(one.task_id, one.state.value) for one in actions] == list(
        zip(ids, ("completed", "waiting", "waiting"), strict=True)
    )
    ended = actions[0]
    assert ended.duration_seconds == (ended.completed_at - ended.started_at).total_seconds()
    assert (actions[1].completed_at, actions[1].duration_seconds) == (None, None)


def test_a_pending_action_starts_with_its_creation(run, api):
    plan_id, (task_id,) = run.plan(1)
    action = TaskExecution.model_validate(api.ok(f"/plans/{plan_id}/actions")[0])
    assert action.started_at == Task.objects.get(task_id=task_id).created_at


def test_timeline_has_every_message_once_in_order_of_the_log(run, api):
    plan_id, (task_id,) = run.plan(1, trace_id="trace-1")
    run.say("business-facts", "part.found", plan_id=plan_id, parent_event_id="cause-1", id="fact-1")
    run.result(plan_id, task_id)
    body = api.ok(f"/plans/{plan_id}/timeline")
    timeline = EventTimeline.model_validate(body)
    assert timeline.trace_id == "trace-1"
    assert [one.event_type for one in timeline.events] == [
        "parts.check.requested",
        "part.found",
        "parts.check.completed",
    ]
    assert (timeline.events[1].event_id, timeline.events[1].parent_event_id) == ("fact-1", "cause-1")
    assert [one["task_id"] for one in body["events"]] == [task_id, None, task_id]
    assert [one["seq"] for one in body["events"]] == sorted(one["seq"] for one in body["events"])


def test_without_a_trace_the_plan_is_the_trace(run, api):
    plan_id, _ = run.plan(1)
    assert api.ok(f"/plans/{plan_id}/timeline")["trace_id"] == plan_id


def test_sub_plans_and_session_plans(run, api):
    run.file_plan("parent", session_id="talk/1")
    run.file_plan("child-1", parent_plan_id="parent")
    run.file_plan("child-2", parent_plan_id="parent", session_id="talk/1")
    children = [PlanExecution.model_validate(one) for one in api.ok("/plans/parent/sub-plans")]
    assert [(one.plan_id, one.parent_plan_id, one.trace_id) for one in children] == [
        ("child-1", "parent", "child-1"),
        ("child-2", "parent", "child-2"),
    ]
    talk = [PlanExecution.model_validate(one) for one in api.ok("/sessions/talk%2F1/plans")]
    assert [(one.plan_id, one.session_id) for one in talk] == [("parent", "talk/1"), ("child-2", "talk/1")]


def test_delegation_group_counts_its_sub_tasks(run, api):
    plan_id, (parent,) = run.plan(1)
    run.running(plan_id, parent)
    subs = [unique("sub") for _ in range(3)]
    run.delegate(plan_id, parent, subs, group="group-1")
    run.result(plan_id, subs[0], "stock.count.completed", source="stock-worker")
    run.result(plan_id, subs[1], "stock.count.completed", source="stock-worker", status="failed")
    group = DelegationGroup.model_validate(api.ok("/delegation-groups/group-1"))
    assert (group.parent_task_id, group.plan_id, group.total_tasks, group.completed_tasks) == (parent, plan_id, 3, 1)
    assert api.ok(f"/tasks/{parent}")["state"] == "delegated"
    assert api.ok(f"/tasks/{subs[0]}")["parent_task_id"] == parent


def test_metrics_by_name_and_by_instance(run, api):
    plan_id, ids = run.plan(4)
    run.agent(agent_id="worker-1")
    for task_id in ids[:3]:
        run.running(plan_id, task_id)
        run.result(plan_id, task_id)
    run.result(plan_id, ids[3], status="failed")
    Task.objects.filter(task_id=ids[0]).update(agent_id="worker-1")
    began = datetime.now(UTC) - timedelta(minutes=5)
    Task.objects.filter(task_id__in=ids).update(started_at=began, ended_at=began + timedelta(seconds=1.5))
    by_name = AgentMetrics.model_validate(api.ok("/metrics", agent_id="parts-worker", period="1h"))
    assert by_name == AgentMetrics(
        agent_id="parts-worker",
        period="1h",
        total_tasks=4,
        completed_tasks=3,
        failed_tasks=1,
        avg_duration_seconds=1.5,
        success_rate=0.75,
    )
    assert api.ok("/metrics", agent_id="parts-worker:0.1.0", period="7d")["total_tasks"] == 4
    instance = api.ok("/metrics", agent_id="worker-1", period="2w")
    assert (instance["total_tasks"], instance["success_rate"], instance["period"]) == (1, 1.0, "2w")


def test_metrics_count_the_tasks_created_in_the_period(run, api):
    plan_id, (old, new) = run.plan(2)
    run.result(plan_id, old)
    run.result(plan_id, new)
    Task.objects.filter(task_id=old).update(created_at=datetime.now(UTC) - timedelta(minutes=20))
    assert api.ok("/metrics", agent_id="parts-worker", period="15m")["total_tasks"] == 1
    assert api.ok("/metrics", agent_id="parts-worker", period="1h")["total_tasks"] == 2


def test_an_agent_without_tasks_has_zeros_and_an_unknown_one_none(run, api):
    run.agent("idler")
    assert api.ok("/metrics", agent_id="idler", period="1h") == {
        "agent_id": "idler", "period": "1h", "total_tasks": 0, "completed_tasks": 0, "failed_tasks": 0,
        "avg_duration_seconds": 0.0, "success_rate": 0.0,
    }  # fmt: skip
    assert api.problem("/metrics", agent_id="nobody", period="1h") == NOT_FOUND


@pytest.mark.parametrize("period", ["", "7", "d", "0d", "-1d", "1.5h", "7 d", "7D", "1y", "٣d", "9999999w", "3651d"])
def test_a_period_that_cannot_be_read(api, run, period):
    run.agent()
    assert api.problem("/metrics", agent_id="parts-worker", period=period) == INVALID


# --- unknown, foreign, forbidden --------------------------------------------------------------------------------------


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
    assert api.ok("/plans/a%00b/sub-plans") == api.ok("/sessions/a%00b/plans") == []
    assert api.problem("/metrics", agent_id="a\x00b", period="1h") == NOT_FOUND
    for path in ("/plans", "/tasks"):
        assert api.problem(path, agent="a\x00b") == INVALID


# --- lists ------------------------------------------------------------------------------------------------------------


def ids(page):
    return [one["plan_id"] for one in page["items"]]


def test_plans_newest_first_page_by_page(run, api):
    made = [run.plan(1)[0] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = api.ok("/plans", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += ids(page)
        assert len(page["items"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
        run.plan(1)  # what arrives at the top moves nothing below
    assert seen == made[::-1]


def test_the_last_full_page_has_no_next(run, api):
    for _ in range(2):
        run.plan(1)
    assert api.ok("/plans", limit=2)["next_cursor"] is None


def test_a_plan_as_a_line(run, api):
    plan_id, tasks = run.plan(3, session_id="talk")
    run.result(plan_id, tasks[2], source="second-worker")
    run.running(plan_id, tasks[0], source="parts-worker")
    run.result(plan_id, tasks[0], source="parts-worker")
    run.move(tasks[1], "awaiting_approval")
    (item,) = api.ok("/plans")["items"]
    schemas.PlanItem.model_validate(item)
    counts = (
        "task_count",
        "completed_tasks",
        "failed_tasks",
        "cancelled_tasks",
        "open_tasks",
        "stalled_tasks",
        "approvals_pending",
    )
    assert [item[name] for name in counts] == [3, 2, 0, 0, 1, 0, 1]
    assert item["agents"] == ["parts-worker", "second-worker"]
    assert (item["session_id"], item["parent_plan_id"], item["state"], item["tenant_id"]) == (
        "talk",
        None,
        "in_progress",
        "acme",
    )


@pytest.fixture
def several(run):
    """Plans that differ: done, open with a stalled task, waiting for a person, named by its goal."""
    done, (task,) = run.plan(1, plan_id="done", session_id="talk")
    run.result(done, task)
    stalled, (task,) = run.plan(1, plan_id="stalled")
    run.running(stalled, task)
    Task.objects.filter(task_id=task).update(stalled=True, agent="parts-worker")
    _, (task,) = run.plan(1, plan_id="asking")
    run.move(task, "awaiting_approval")
    run.file_plan("filed", goal="Maintenance.Goal", data={"vehicle": "Überwagen 100%"})
    Plan.objects.filter(plan_id="done").update(created_at=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["filed", "asking", "stalled", "done"]),
        ({"state": "completed"}, ["done"]),
        ({"state": ["completed", "paused"]}, ["done"]),
        ({"state": ""}, ["filed", "asking", "stalled", "done"]),
        ({"goal": "Maintenance.Goal"}, ["filed"]),
        ({"goal": "maintenance"}, []),
        ({"session": "talk"}, ["done"]),
        ({"agent": "parts-worker"}, ["stalled", "done"]),
        ({"agent": "planner"}, ["asking", "stalled", "done"]),
        ({"q": "ASK"}, ["asking"]),
        ({"q": "maintenance.g"}, ["filed"]),
        ({"q": "Überwagen 100%"}, ["filed"]),
        ({"q": "%"}, ["filed"]),
        ({"q": "_"}, []),
        ({"since": "2021-01-01T00:00:00Z"}, ["filed", "asking", "stalled"]),
        ({"until": "2021-01-01"}, ["done"]),
        ({"since": "2020-01-01T01:00:00+01:00", "until": "2020-01-01T00:00:00.000001Z"}, ["done"]),
        ({"since": ""}, ["filed", "asking", "stalled", "done"]),
        ({"stalled": "true"}, ["stalled"]),
        ({"stalled": "false"}, ["filed", "asking", "done"]),
        ({"awaiting": "true"}, ["asking"]),
        ({"awaiting": "true", "stalled": "true"}, []),
    ],
)
def test_filters_of_plans(several, api, query, found):
    assert ids(api.ok("/plans", **query)) == found


def test_filters_of_tasks(several, run, api):
    def found(**query):
        return [one["plan_id"] for one in api.ok("/tasks", **query)["items"]]

    assert found() == ["asking", "stalled", "done"]
    assert found(plan="stalled") == found(stalled="true") == ["stalled"]
    assert found(state=["completed", "awaiting_approval"]) == ["asking", "done"]
    assert found(agent="parts-worker") == ["stalled", "done"]
    run.agent(agent_id="worker-1")
    Task.objects.filter(plan__plan_id="done").update(agent_id="worker-1")
    assert found(agent="worker-1") == ["done"]


def test_tasks_of_a_plan_in_order_of_arrival_page_by_page(run, api):
    plan_id, tasks = run.plan(5)
    seen, cursor = [], ""
    while cursor is not None:
        page = api.ok(f"/plans/{plan_id}/tasks", limit=2, cursor=cursor)
        schemas.TaskPage.model_validate(page)
        seen += [one["task_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == tasks


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/plans", {"limit": 0}),
        ("/plans", {"limit": 201}),
        ("/plans", {"limit": "many"}),
        ("/plans", {"cursor": "nonsense"}),
        ("/plans", {"cursor": "cGxhbnM6LTE"}),
        ("/plans", {"cursor": "cGxhbnM6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk"}),
        ("/plans", {"cursor": "é"}),
        ("/plans", {"state": "running"}),
        ("/plans", {"since": "yesterday"}),
        ("/plans", {"since": "0001-01-01T00:00:00+14:00"}),
        ("/plans", {"stalled": "perhaps"}),
        ("/plans", {"q": "x" * 256}),
        ("/tasks", {"state": "in_progress"}),
        ("/tasks", {"limit": 201}),
        ("/plans/p/log", {"after": -1}),
        ("/plans/p/log", {"after": 2**63}),
        ("/plans/p/log", {"limit": 1001}),
        ("/plans/p/log", {"limit": 0}),
        ("/plans/p/state", {"seq": 0}),
        ("/plans/p/state", {"seq": 1, "at": "2020-01-01T00:00:00Z"}),
        ("/plans/p/tasks", {"cursor": "nonsense"}),
        ("/metrics", {"agent_id": "x"}),
        ("/metrics", {"period": "1h"}),
    ],
)
def test_what_cannot_be_read_is_a_422_that_points(run, api, path, query):
    run.plan(1, plan_id="p")
    body = api.get(path, **query).json()
    assert (body["status"], body["code"]) == INVALID
    assert body["errors"][0]["pointer"].startswith("/query/")


def test_a_cursor_is_good_for_its_own_list(run, api):
    plan_id, _ = run.plan(2)
    run.plan(1)
    assert api.problem("/tasks", cursor=api.ok("/plans", limit=1)["next_cursor"]) == INVALID
    assert api.problem(f"/plans/{plan_id}/tasks", cursor=api.ok("/tasks", limit=1)["next_cursor"]) == INVALID


# --- one task, the log, the tree --------------------------------------------------------------------------------------


def test_a_task_says_where_it_may_go_and_its_version(run, api):
    plan_id, (task_id,) = run.plan(1)
    run.running(plan_id, task_id)
    run.progress(plan_id, task_id, 0.5, "half way")
    response = api.get(f"/tasks/{task_id}")
    task = response.json()
    schemas.TaskItem.model_validate(task)
    assert response["ETag"] == f'"v{task["version"]}"'
    assert (task["state"], task["version"], task["attempt"], task["name"]) == ("running", 2, 1, "parts-check")
    assert (task["progress"], task["message"], task["plan_id"], task["parent_task_id"]) == (
        0.5,
        "half way",
        plan_id,
        None,
    )
    assert task["allowed_transitions"] == [
        "delegated", "waiting", "in_review", "awaiting_approval", "completed", "failed", "cancelled",
    ]  # fmt: skip


def test_a_stalled_task_may_be_retried_as_well(run, api):
    plan_id, (task_id,) = run.plan(1)
    run.running(plan_id, task_id)
    Task.objects.update(stalled=True)
    assert "pending" in api.ok(f"/tasks/{task_id}")["allowed_transitions"]


def test_the_log_page_by_page_without_a_gap(run, api):
    plan_id, tasks = run.plan(4)
    for task_id in tasks:
        run.result(plan_id, task_id)
    rows, after = [], 0
    while after is not None:
        page = api.ok(f"/plans/{plan_id}/log", after=after, limit=3)
        schemas.LogPage.model_validate(page)
        rows += page["items"]
        after = page["next_after"]
    assert [row["seq"] for row in rows] == list(range(1, api.ok(f"/plans/{plan_id}")["seq"] + 1))
    moves = [
        (row["task_id"], row["from_state"], row["to_state"])
        for row in rows
        if row["kind"] == "transition" and row["task_id"] == tasks[0]
    ]
    assert moves == [(tasks[0], None, "pending"), (tasks[0], "pending", "running"), (tasks[0], "running", "completed")]
    assert len([row for row in rows if row["kind"] == "message"]) == 8


def test_json_goes_out_as_it_came(run, api):
    data = {"camelCase": {"snake_case": None}, "number": 123456789012345678901234567890, "text": "ä€😀\u2028"}
    run.say("action-requests", "parts.check.requested", data, plan_id="p", id="event-1")
    row = next(
        one for one in api.ok("/plans/p/log")["items"] if one["event_id"] == "event-1" and one["kind"] == "message"
    )
    assert row["data"] == data
    run.file_plan("q", data=data)
    assert api.ok("/plans/q")["goal_data"] == data
    assert api.ok("/plans/q/state")["plan"]["goal_data"] == data


def test_times_have_a_zone_and_microseconds(run, api):
    plan_id, (task_id,) = run.plan(1)
    run.result(plan_id, task_id)
    found = api.ok(f"/plans/{plan_id}") | api.ok(f"/tasks/{task_id}") | api.ok(f"/plans/{plan_id}/log")["items"][0]
    times = [value for name, value in found.items() if name.endswith("_at")]
    assert len(times) == 7
    for value in times:
        assert datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ"), value  # noqa: DTZ007
        assert len(value) == 27


def test_a_sender_in_another_zone(run, api):
    then = "2026-03-01T12:00:00.5+02:00"
    run.record(run.message("action-requests", "parts.check.requested", plan_id="p", time=then))
    assert api.ok("/plans/p/timeline")["events"][0]["timestamp"] == "2026-03-01T10:00:00.500000Z"


def test_the_tree_from_its_root(run, api):
    run.file_plan("grandparent")
    parent, (task, _) = run.plan(2, plan_id="parent")
    run.file_plan("parent", parent_plan_id="grandparent")
    run.running(parent, task)
    run.delegate(parent, task, ["sub-a", "sub-b"], group="g")
    run.file_plan("child", parent_plan_id="parent")
    for asked in ("grandparent", "parent", "child"):
        body = api.ok(f"/plans/{asked}/hierarchy")
        schemas.Hierarchy.model_validate(body)
        assert (body["plan_id"], body["truncated"], body["root"]["plan_id"]) == (asked, False, "grandparent")
        (node,) = body["root"]["sub_plans"]
        assert [one["plan_id"] for one in node["sub_plans"]] == ["child"]
        assert [one["name"] for one in node["tasks"]] == ["parts-check", "parts-check-2"]
        assert [one["task_id"] for one in node["tasks"][0]["tasks"]] == ["sub-a", "sub-b"]


def test_a_circle_of_plans_ends(run, api):
    for plan_id, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("self", "self")):
        run.file_plan(plan_id, parent_plan_id=parent)
    body = api.ok("/plans/a/hierarchy")
    assert body["root"]["plan_id"] == "b"
    assert body["root"]["sub_plans"][0]["sub_plans"][0]["plan_id"] == "a"
    assert api.ok("/plans/self/hierarchy")["root"]["sub_plans"] == []


def test_a_tree_that_is_too_deep_says_so(run, api):
    for level in range(30):
        run.file_plan(f"level-{level}", parent_plan_id=f"level-{level - 1}" if level else "")
    assert api.ok("/plans/level-0/hierarchy")["truncated"] is True
    assert api.ok("/plans/level-15/hierarchy")["root"]["plan_id"] == "level-0"


# --- how much they cost -----------------------------------------------------------------------------------------------


def statements(api, path, **query):
    with CaptureQueriesContext(connection) as captured:
        api.ok(path, **query)
    return len(captured)


def test_as_many_statements_for_100_as_for_one(run, api):
    api.ok("/plans")  # the key is read once
    small, (task,) = run.plan(1, plan_id="small", session_id="few")
    large, tasks = run.plan(100, plan_id="large")
    run.file_plan("small-child", parent_plan_id="small")
    run.running(small, task)
    run.delegate(small, task, ["only"], group="small-group")
    run.running(large, tasks[0])
    run.delegate(large, tasks[0], [f"sub-{n}" for n in range(100)], group="large-group")
    for n in range(100):
        run.file_plan(f"child-{n}", parent_plan_id="large", session_id="many")
    ends = ("", "/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state", "/sub-plans")
    limits = {"/tasks": {"limit": 200}, "/log": {"limit": 1000}}
    for end in ends:
        few = statements(api, f"/plans/small{end}", **limits.get(end, {}))
        assert few == statements(api, f"/plans/large{end}", **limits.get(end, {})), end
        assert few <= (6 if end == "/hierarchy" else 2), end
    assert statements(api, "/plans", limit=1) == statements(api, "/plans", limit=100) == 2
    assert statements(api, "/tasks", limit=1) == statements(api, "/tasks", limit=100) == 1
    assert statements(api, "/sessions/few/plans") == statements(api, "/sessions/many/plans") == 1
    assert statements(api, "/delegation-groups/small-group") == statements(api, "/delegation-groups/large-group") == 2
