"""What the SDK stores, as the tracker understands it.

Plan records, plan contexts, and the task contexts that name sub-tasks.
"""

from typing import Any

from tracker import linking
from tracker.changes import ContextStored, Outcome, PlanFiled, TaskContextStored
from tracker.envelope import dumps
from tracker.known import scope_of
from tracker.linking import word
from tracker.plan_facts import say
from tracker.records import PlanRecord, TaskRecord
from tracker.rules import adopt, bind_context
from tracker.states import PLAN
from tracker.world import World


def plan_filed(world: World, change: PlanFiled) -> Outcome:
    """An agent filed a plan: it exists, its goal is known, and messages that came before it are its own."""
    plan = _plan_of(world, change, change.plan_id)
    known = {
        "goal_event": change.goal_event,
        "user_id": change.user_id,
        "session_id": change.session_id,
        "parent_plan_id": change.parent_plan_id,
    }
    new: dict[str, Any] = {k: v for k, v in known.items() if v and not getattr(plan, k)}
    if new.get("goal_event"):
        new["goal_data"] = dumps(change.goal_data)
    new |= _goal_task(world, plan, change.goal_event)
    world.note(plan, None, by=change.by, **new)
    adopt(world, plan, [plan.plan_id])
    return Outcome("recorded", plan_id=plan.plan_id, seq=plan.seq)


def _goal_task(world: World, plan: PlanRecord, goal_event: str | None) -> dict[str, Any]:
    """When a task of another plan asked for just this goal, that plan is the parent.

    And the task ends with this plan.
    """
    link = world.link((plan.workspace_id, plan.tenant_id), "goal", plan.plan_id)
    task = world.task_by_key(link.task_id) if link else None
    if task is None or task.event_type != goal_event or task.plan_id == plan.id or plan.goal_task_id:
        return {}
    return {"goal_task_id": task.id, "parent_plan_id": plan.parent_plan_id or world.plans[task.plan_id].plan_id}


def _plan_of(world: World, change: PlanFiled | ContextStored | TaskContextStored, plan_id: str) -> PlanRecord:
    plan = world.plan(scope_of(change), plan_id)
    if plan is None:
        plan = world.add_plan(scope_of(change), plan_id)
        world.move(plan, None, "pending", by=change.by, correlation_id=plan_id)
    return plan


def context_stored(world: World, change: ContextStored) -> Outcome:
    """An agent stored a plan context: it says from now on what state the plan is in."""
    plan = _plan_of(world, change, change.plan_id)
    known = {
        "goal_event": change.goal_event,
        "user_id": change.user_id,
        "session_id": change.session_id,
        "parent_plan_id": change.parent_plan_id,
        "response_event": change.response_event,
    }
    new: dict[str, Any] = {k: v for k, v in known.items() if v and not getattr(plan, k)}
    if new.get("goal_event"):
        new["goal_data"] = dumps(change.goal_data or {})
    if change.correlation_id and plan.correlation_id == plan.plan_id:
        new["correlation_id"] = change.correlation_id
    if change.current_state:
        new["current_state"] = change.current_state
    new["governed"] = True
    new |= _goal_task(world, plan, change.goal_event)
    world.note(plan, None, by=change.by, **new)
    keys = [k for k in dict.fromkeys([*change.correlation_ids, change.correlation_id or ""]) if k and k != plan.plan_id]
    for key in keys:
        world.put_link(scope_of(change), "correlation", key, plan_id=plan.id)
    adopt(world, plan, [plan.plan_id, *keys])
    status = linking.PLAN_STATES.get(change.status or "", change.status or "")
    if status in PLAN.states and status != "pending":
        say(world, plan, status, by=change.by, reason="its stored context says so")
    elif plan.closed_by == "rule":
        say(world, plan, "in_progress", by=change.by)  # what its tasks told is not for them to tell any more
    return Outcome("recorded", plan_id=plan.plan_id, seq=plan.seq)


def task_context_stored(world: World, change: TaskContextStored) -> Outcome:
    """A worker stored its task's context: who delegates to whom becomes known here, and nowhere else."""
    scope = scope_of(change)
    context = world.put_link(scope, "context", change.task_id)
    task = world.task_by_key(context.task_id) or _task_of_context(world, change)
    plan = world.plans[task.plan_id] if task else _plan_of_context(world, change)
    for sub in change.sub_tasks:
        world.put_link(
            scope,
            "subtask",
            sub.sub_task_id,
            context_key=change.task_id,
            group_id=sub.group_id,
            done=sub.done,
            plan_id=plan.id if plan else None,
            task_id=task.id if task else None,
        )
    if plan and task:
        bind_context(world, plan, task, context)
    elif plan:
        context.plan_id = plan.id
    return Outcome("recorded", plan_id=plan.plan_id if plan else "", task_id=task.task_id if task else "")


def _task_of_context(world: World, change: TaskContextStored) -> TaskRecord | None:
    """The task whose context this is.

    By the ids in it, else the oldest open request of the same type and data that has none.
    """
    scope = scope_of(change)
    for key in (word(change.data or {}, "action_id"), change.task_id):
        task = world.task(scope, key)
        if task and (change.event_type is None or task.event_type == change.event_type):
            return task
    if change.event_type is None or change.data is None:
        return None
    digest = linking.digest_of(change.event_type, change.data)
    where = "workspace_id = %s AND tenant_id = %s AND digest = %s AND ended_at IS NULL AND NOT aliased"
    values = [*scope, digest]
    plan = world.plan(scope, change.plan_id)
    if change.plan_id and plan is None:
        return None
    if plan:
        where, values = f"{where} AND plan_id = %s", [*values, plan.id]
    world.find_tasks(where, values, tail="ORDER BY id LIMIT 20")
    same = (t for t in world.tasks.values() if t.digest == digest and (t.workspace_id, t.tenant_id) == scope)
    fitting = [t for t in same if linking.is_open(t) and not t.aliased and plan in (None, world.plans[t.plan_id])]
    task = min(fitting, key=lambda t: t.id, default=None)
    if task:
        task.aliased = True
        world.mark(task)
    return task


def _plan_of_context(world: World, change: TaskContextStored) -> PlanRecord | None:
    if change.plan_id:
        return _plan_of(world, change, change.plan_id)
    link = world.link(scope_of(change), "subtask", change.task_id)
    return world.plans[link.plan_id] if link and link.plan_id else None
