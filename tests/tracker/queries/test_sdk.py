"""The SDK's seven queries, read by its own shapes."""

from datetime import UTC, datetime, timedelta

import pytest
from soorma_common.tracker import (
    AgentMetrics,
    DelegationGroup,
    EventTimeline,
    PlanExecution,
    PlanProgress,
    TaskExecution,
)

from tests.tracker.queries.asking import INVALID, NOT_FOUND
from tests.tracker.runs import unique
from tracker import schemas
from tracker.models import Plan, Task


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
    told = api.ok("/metrics", agent_id="idler", period="1h")
    assert AgentMetrics.model_validate(told) == AgentMetrics(
        agent_id="idler", period="1h", total_tasks=0, completed_tasks=0, failed_tasks=0,
        avg_duration_seconds=0.0, success_rate=0.0,
    )  # fmt: skip
    assert api.problem("/metrics", agent_id="nobody", period="1h") == NOT_FOUND


@pytest.mark.parametrize("period", ["", "7", "d", "0d", "-1d", "1.5h", "7 d", "7D", "1y", "٣d", "9999999w", "3651d"])
def test_a_period_that_cannot_be_read(api, run, period):
    run.agent()
    assert api.problem("/metrics", agent_id="parts-worker", period=period) == INVALID
