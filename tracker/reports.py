"""What is reported of a task by REST: a step, a journal of steps, a belief to reconcile, progress.

Refusals leave no row.
"""

import json
from typing import Any

from tracker import liveness, sql
from tracker.changes import Journal, Outcome, Progress, Reconcile, Step, TaskMove
from tracker.known import scope_of
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.rules import after_task
from tracker.states import TASK
from tracker.world import World

VERSION, ILLEGAL, REUSED, ENDED = "version-conflict", "invalid-transition", "key-reused", "task-ended"
# How far along a state is: reconciling only ever goes on, so two agents that disagree cannot send a task to and fro.
_RANK = {"pending": 0, "running": 1, **dict.fromkeys(TASK.ended, 3)}


def picture(task: TaskRecord) -> dict[str, Any]:
    """What whoever is refused needs to know of the task."""
    return {
        "state": task.state,
        "version": task.version,
        "allowed_transitions": TASK.targets(task.state, stalled=task.stalled),
    }


def task_move(world: World, change: TaskMove) -> Outcome:
    """One legal hop. `value`: the transition, or the task's picture when it is refused."""
    task = world.task(scope_of(change), change.task_id)
    if task is None:
        return Outcome("unknown", task_id=change.task_id)
    plan, step = world.plans[task.plan_id], change.step
    if known := _known(world, task, [step]).get(step.event_id):
        return _again(plan, task, step, known)
    if change.expected_version is not None and change.expected_version != task.version:
        return _refused(task, VERSION)
    if not TASK.move(task.state, step.to, stalled=task.stalled):
        return _refused(task, ILLEGAL)
    return _done(plan, task, _apply(world, plan, task, step, change.by))


def journal(world: World, change: Journal) -> Outcome:
    """Steps in order.

    `value`: count applied, version, the outcome of each; `detail` of a refusal says which rule.
    """
    task = world.task(scope_of(change), change.task_id)
    if task is None:
        return Outcome("unknown", task_id=change.task_id)
    plan, known = world.plans[task.plan_id], _known(world, task, change.steps)
    new = [step for step in change.steps if step.event_id not in known]
    told = len(change.steps) - len(new)
    if (
        new
        and change.base_version is not None
        and task.version not in {change.base_version, change.base_version + told}
    ):
        return _refused(task, VERSION)
    if change.atomic and (fault := _first_illegal(task, change.steps, known)) is not None:
        return _refused(task, ILLEGAL, step=fault)
    outcomes = [_journal_step(world, plan, task, step, known, change.by) for step in change.steps]
    applied = sum(o["outcome"] == "applied" for o in outcomes)
    return Outcome(
        "recorded",
        plan_id=plan.plan_id,
        task_id=task.task_id,
        value={"applied": applied, "version": task.version, "outcomes": outcomes},
    )


def _first_illegal(task: TaskRecord, steps: list[Step], known: dict[str, RowRecord]) -> int | None:
    """Index of the first step that could not be made if all before it were."""
    state, stalled = task.state, task.stalled
    seen = set(known)
    for i, step in enumerate(steps):
        if step.event_id and step.event_id in seen:
            continue
        if not TASK.move(state, step.to, stalled=stalled):
            return i
        state, stalled = step.to, False
        seen.add(step.event_id)
    return None


def _journal_step(
    world: World, plan: PlanRecord, task: TaskRecord, step: Step, known: dict[str, RowRecord], by: str
) -> dict[str, Any]:
    if row := known.get(step.event_id):
        return {
            "to": row.to_state,
            "outcome": "duplicate",
            "seq": row.seq,
            "version": row.version,
            "event_id": step.event_id,
        }
    if not TASK.move(task.state, step.to, stalled=task.stalled):
        return {"to": step.to, "outcome": "refused", "event_id": step.event_id or None, **picture(task)}
    row = _apply(world, plan, task, step, by)
    if step.event_id:
        known[step.event_id] = row
    return {
        "to": step.to,
        "outcome": "applied",
        "seq": row.seq,
        "version": task.version,
        "event_id": step.event_id or None,
    }


def reconcile(world: World, change: Reconcile) -> Outcome:
    """Walk from where the task is to where an agent believes it is, marked inferred; a second call finds nothing to do.

    `value`: matched, applied, state, version. An agent whose version is behind ours is told, and changes nothing.
    """
    task = world.task(scope_of(change), change.task_id)
    if task is None:
        return Outcome("unknown", task_id=change.task_id)
    plan, matched = world.plans[task.plan_id], task.state == change.state
    behind = change.version is not None and change.version < task.version
    path = [] if matched or behind else _forward(task, change)
    if path is None:
        return _refused(task, ILLEGAL)
    for to in path:
        world.move(plan, task, to, by=change.by, inferred=True, reason="reconciled with what its agent believes")
    if path:
        after_task(world, plan, task)
    value = {"matched": matched, "applied": path, "state": task.state, "version": task.version}
    return Outcome("recorded", plan_id=plan.plan_id, task_id=task.task_id, seq=plan.seq, value=value)


def _forward(task: TaskRecord, change: Reconcile) -> list[str] | None:
    """The way on to a state: never a retry or a cancellation.

    Back to running only for who has seen more than we have.
    """
    if change.state not in TASK.states or change.state == "cancelled":
        return None
    path = TASK.path(task.state, change.state)
    ahead = change.version is not None and change.version > task.version
    if path is None or task.state in TASK.ended:
        return None
    return path if ahead or _RANK.get(change.state, 2) > _RANK.get(task.state, 2) else None


def progress(world: World, change: Progress) -> Outcome:
    """The latest progress and message of an open task; said again without a difference it leaves no row."""
    task = world.task(scope_of(change), change.task_id)
    if task is None:
        return Outcome("unknown", task_id=change.task_id)
    plan = world.plans[task.plan_id]
    if task.state in TASK.ended:
        return _refused(task, ENDED)
    given = {"progress": change.progress, "message": change.message}
    new: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    progressed = change.progress is not None and change.progress != task.progress
    row = world.note(plan, task, by=change.by, told={"data": change.data} if change.data is not None else None, **new)
    liveness.heard(world, task, by=change.by, progressed=progressed)
    value = {"state": task.state, "version": task.version, "progress": task.progress, "message": task.message or None}
    return Outcome(
        "recorded", plan_id=plan.plan_id, task_id=task.task_id, seq=row.seq if row else plan.seq, value=value
    )


def _known(world: World, task: TaskRecord, steps: list[Step]) -> dict[str, RowRecord]:
    """Transitions of the task that were recorded under these event ids, also by this batch."""
    ids = sorted({step.event_id for step in steps} - {""})
    if not ids:
        return {}
    stored = sql.select(
        RowRecord, f"task_id = %s AND kind = 'transition' AND event_id IN ({sql.marks(ids)})", [task.id, *ids]
    )
    here = [r for r in world.rows if r.task_id == task.id and r.kind == "transition" and r.event_id in ids]
    return {row.event_id: row for row in (*stored, *here)}


def _apply(world: World, plan: PlanRecord, task: TaskRecord, step: Step, by: str) -> RowRecord:
    changed: dict[str, Any] = {"error": step.error} if step.error else {}
    if step.to == "pending":
        changed = _anew(world, task)
    told = {"result": step.result} if step.result is not None else None
    row = world.move(
        plan,
        task,
        step.to,
        by=by,
        reason=step.reason,
        occurred_at=step.at,
        event_id=step.event_id,
        told=told,
        **changed,
    )
    after_task(world, plan, task)
    return row


def start_anew(world: World, plan: PlanRecord, task: TaskRecord, *, by: str, reason: str) -> RowRecord:
    """The next attempt of a task that failed or stalled: its request is handed over again."""
    row = world.move(plan, task, "pending", by=by, reason=reason, **_anew(world, task))
    after_task(world, plan, task)
    return row


def _anew(world: World, task: TaskRecord) -> dict[str, Any]:
    """What a new attempt changes; one that had not ended is given up on, and may still answer."""
    fresh = {"error": "", "progress": None, "started_at": None, "agent": "", "agent_id": ""}
    given_up = {} if task.state in TASK.ended else {"given_up": task.attempt}
    world.ask_again(task, given_up.get("given_up", task.given_up))
    return {"attempt": task.attempt + 1, **given_up, **fresh}


def _done(plan: PlanRecord, task: TaskRecord, row: RowRecord) -> Outcome:
    value = {"from_state": row.from_state, "to_state": row.to_state, "version": row.version}
    return Outcome("recorded", row.event_id, plan.plan_id, task.task_id, row.seq, value=value)


def _again(plan: PlanRecord, task: TaskRecord, step: Step, row: RowRecord) -> Outcome:
    """The first answer once more; refused when the key was used for something else."""
    said = json.loads(row.data)
    first = row.to_state, row.reason, said.get("error") or "", said.get("result")
    if first != (step.to, step.reason, step.error, step.result):
        return _refused(task, REUSED)
    return _done(plan, task, row)


def _refused(task: TaskRecord, why: str, **more: Any) -> Outcome:
    return Outcome("refused", task_id=task.task_id, detail=why, value=picture(task) | more)
