"""What is done with a task that has stalled, as its policy says: another attempt, failure, a question to a person.

An attempt that is given up on may still be at work: what comes of it is kept, and refused unless the policy accepts it.
"""

import json
import random
from datetime import timedelta
from typing import Any

from tracker import deadlines, policies, reports, rules
from tracker.changes import Message
from tracker.envelope import TRACKER, Envelope
from tracker.liveness import REASONS
from tracker.policies import ASK, FAIL, RETRY
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.states import TASK
from tracker.world import SYSTEM, World

RETRY_DUE = "task.retry"
_QUESTION = "stalled:"  # begins the correlation of a question about a task
LONGEST = 86_400.0  # seconds between two attempts


def follow(world: World) -> None:
    """A follow-on rule: act on the marks of this batch, and on what people decided about earlier ones."""
    for row in list(world.rows):
        if row.type == "task.stalled" and row.kind == "note":
            task = world.task_by_key(row.task_id)
            if task and task.stalled:
                _remedy(world, world.plans[task.plan_id], task)
        elif row.source == TRACKER and row.topic == "action-results" and row.correlation_id.startswith(_QUESTION):
            _decided(world, row)


def _remedy(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    policy = policies.of(plan, task.event_type)
    action = policy.action
    if action == RETRY and (task.attempt >= policy.attempts or task.state != "running"):
        action = policy.then
    if action == RETRY:
        wait = min(policy.backoff * 2 ** min(task.attempt - 1, 30), LONGEST)
        # Not all at the same moment: what is down would be asked by all of them at once.
        wait *= random.uniform(0.75, 1.25)  # noqa: S311
        world.deadlines[(RETRY_DUE, task.id)] = world.now + timedelta(seconds=wait)
    elif action == FAIL:
        why = f"stalled: {REASONS[task.stalled_reason]}"
        world.move(plan, task, "failed", by=SYSTEM, reason="its policy gives it up", error=why)
        rules.after_task(world, plan, task)
    elif action == ASK:
        _ask(world, plan, task)


def _retry_due(world: World, key: int) -> None:
    """The wait is over: another attempt, unless it was heard of meanwhile."""
    task = world.task_by_key(key)
    if task is None or not task.stalled or task.state != "running":
        return
    plan = world.plans[task.plan_id]
    policy = policies.of(plan, task.event_type)
    if policy.action == RETRY and task.attempt < policy.attempts:
        reason = f"attempt {task.attempt} of {policy.attempts} is given up: {REASONS[task.stalled_reason]}"
        reports.start_anew(world, plan, task, by=SYSTEM, reason=reason)


def _ask(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """Ask a person, as an agent would: approved, it is tried again; rejected, it is cancelled."""
    name = f"{task.task_id}:{task.attempt}"
    told = {"task_id": task.task_id, "agent": task.agent, "agent_id": task.agent_id, "attempt": task.attempt}
    data: dict[str, Any] = {
        "task_id": f"{_QUESTION}{name}"[-255:],
        "task_name": "stalled",
        "title": f"{task.name} has stalled: try it again?",
        "description": f"{REASONS[task.stalled_reason].capitalize()}. Approve: another agent gets it, as attempt "
        f"{task.attempt + 1}. Reject: it is cancelled.",
        "action": "retry",
        "args": told,
        "allow": ["approve", "reject"],
        "blocks": task.task_id,
    }
    envelope = Envelope.model_construct(
        id=f"{_QUESTION}{name}"[-255:],
        source=TRACKER,
        type="approval.requested",
        topic="action-requests",
        time=world.now,
        data=data,
        correlation_id=f"{_QUESTION}{name}"[:255],
        response_event="approval.decided",
        tenant_id=plan.tenant_id,
        user_id=plan.user_id,
        plan_id=plan.plan_id,
    )
    question = Message(workspace_id=plan.workspace_id, tenant_id=plan.tenant_id, by=SYSTEM, envelope=envelope)
    if not world.recorded_as(plan, envelope.id, TRACKER):
        rules.message(world, question)


def _decided(world: World, row: RowRecord) -> None:
    task_id, _, attempt = row.correlation_id.removeprefix(_QUESTION).rpartition(":")
    task = world.task((row.workspace_id, row.tenant_id), task_id)
    if task is None or str(task.attempt) != attempt or task.state in TASK.ended:
        return
    plan = world.plans[task.plan_id]
    if json.loads(row.data).get("decision") != "approve":
        world.move(plan, task, "cancelled", by=row.by, reason="it had stalled, and was not to be tried again")
        rules.after_task(world, plan, task)
    elif task.stalled and task.state == "running":
        reports.start_anew(world, plan, task, by=row.by, reason="it had stalled, and is to be tried again")


deadlines.register(RETRY_DUE, _retry_due, load=lambda world, keys: world.load_task_keys(keys))
