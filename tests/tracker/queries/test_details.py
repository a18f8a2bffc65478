"""One task, the log, the tree of plans, and how JSON and times leave."""

from datetime import datetime

from tracker import schemas
from tracker.models import Task


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
    times = [value for name, value in found.items() if name.endswith("_at") and name != "stalled_at"]
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
