"""The tree that a plan stands in: up to its root, down to its sub-plans and sub-tasks, one query a level."""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from tracker.models import Plan, Task
from tracker.projections.rows import moment

DEEPEST = 20  # levels up, and levels down
LARGEST = 1000  # plans in one answer

TASK_COLUMNS = (
    "id", "plan_id", "parent_id", "task_id", "name", "event_type", "state", "agent", "progress", "stalled", "attempt",
    "created_at", "started_at", "ended_at",
)  # fmt: skip


def hierarchy(plan: Plan) -> dict[str, Any]:
    """{"plan_id", "root": plan node, "truncated"}; a plan node holds `tasks` and `sub_plans`, a task node `tasks`."""
    root = _root(plan)
    levels, truncated = _levels(root)
    plans = [one for level in levels for one in level]
    tasks = _task_trees(plans)
    wire_ids = dict(Task.objects.filter(sub_plans__in=plans).values_list("id", "task_id"))
    nodes: dict[str, dict[str, Any]] = {}
    for one in plans:
        node = nodes[one.plan_id] = _plan_node(one, wire_ids.get(one.goal_task_id or 0), tasks.get(one.pk, []))
        if one.pk != root.pk:
            nodes[one.parent_plan_id]["sub_plans"].append(node)
    return {"plan_id": plan.plan_id, "root": nodes[root.plan_id], "truncated": truncated}


def _family(plan: Plan) -> QuerySet[Plan]:
    """The plans among which its relatives are: of its tenant."""
    return Plan.objects.filter(workspace_id=plan.workspace_id, tenant_id=plan.tenant_id)


def _root(plan: Plan) -> Plan:
    """The topmost ancestor that exists; in a circle, which agents can make, the last one before it closes."""
    seen = {plan.plan_id}
    for _ in range(DEEPEST):
        if not plan.parent_plan_id or plan.parent_plan_id in seen:
            break
        parent = _family(plan).filter(plan_id=plan.parent_plan_id).first()
        if parent is None:
            break
        plan = parent
        seen.add(plan.plan_id)
    return plan


def _levels(root: Plan) -> tuple[list[list[Plan]], bool]:
    """The root's descendants level by level, and whether some were left out."""
    levels, seen = [[root]], {root.plan_id}
    while True:
        # The index leaves out plans without a parent, and SQLite uses it only if the query says so too.
        children = (
            _family(root).filter(parent_plan_id__in=[one.plan_id for one in levels[-1]]).exclude(parent_plan_id="")
        )
        room = LARGEST - len(seen)
        # In a circle the root is somebody's child as well.
        found = list(children.exclude(plan_id=root.plan_id).order_by("id")[: room + 1])
        if not found:
            return levels, False
        if len(levels) > DEEPEST or room == 0:
            return levels, True
        levels.append(found[:room])
        if len(found) > room:
            return levels, True
        seen.update(one.plan_id for one in found)


def _task_trees(plans: Iterable[Plan]) -> dict[int, list[dict[str, Any]]]:
    """The top tasks of each plan (by primary key) in order of arrival, their sub-tasks inside them."""
    rows = list(Task.objects.filter(plan__in=list(plans)).order_by("plan_id", "position").values_list(*TASK_COLUMNS))
    nodes = {row[0]: _task_node(row) for row in rows}
    tops: dict[int, list[dict[str, Any]]] = {}
    for key, plan_key, parent, *_ in rows:
        if parent in nodes and parent != key:
            nodes[parent]["tasks"].append(nodes[key])
        else:
            tops.setdefault(plan_key, []).append(nodes[key])
    return tops


def _task_node(row: tuple[Any, ...]) -> dict[str, Any]:
    _, _, _, task_id, name, event_type, state, agent, progress, stalled, attempt, created, started, ended = row
    return {
        "task_id": task_id,
        "name": name,
        "event_type": event_type,
        "state": state,
        "agent": agent or None,
        "progress": progress,
        "stalled": stalled,
        "attempt": attempt,
        "created_at": moment(created),
        "started_at": moment(started),
        "ended_at": moment(ended),
        "tasks": [],
    }


def _plan_node(plan: Plan, parent_task_id: str | None, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "plan_id": plan.plan_id,
        "goal_event": plan.goal_event,
        "state": plan.state,
        "current_state": plan.current_state or None,
        "parent_plan_id": plan.parent_plan_id or None,
        "parent_task_id": parent_task_id,
        "task_count": plan.task_count,
        "created_at": moment(plan.created_at),
        "started_at": moment(plan.started_at),
        "completed_at": moment(plan.completed_at),
        "tasks": tasks,
        "sub_plans": [],
    }
