"""The mark `stalled`: nobody seems to work on a task any more, or it does not get on. A mark with a reason, no state.

Two clocks run for a task at work. The last sign of life: the connection and the heartbeats of the agent that holds it,
and any message about it. The last progress: a move, another value of its progress, a move of one of its sub-tasks.
Either may be too long ago; `tracker.presence` looks after agents, this module after the time that a task may take.
"""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tracker import deadlines, sql
from tracker.linking import Heard
from tracker.models import Presence
from tracker.records import TaskRecord
from tracker.world import QUIET, SYSTEM, WATCHED, World

DISCONNECTED, RESTARTED, SILENT, NO_PROGRESS = "disconnected", "restarted", "silent", "no-progress"
REASONS = {
    DISCONNECTED: "the connection of its agent was lost",
    RESTARTED: "its agent was started anew and knows nothing of it",
    SILENT: "nothing is heard of its agent",
    NO_PROGRESS: "no progress in the time that it has",
}
_DEAF = {DISCONNECTED, SILENT}  # what a sign of life of the agent ends
LONGEST = 10 * 365 * 86_400.0  # seconds that a task may be given


def timeout_of(data: dict[str, Any]) -> float | None:
    """How long a request lets its task go without progress: seconds in `data.timeout`, if that is a number above 0."""
    asked = data.get("timeout")
    if not isinstance(asked, int | float) or isinstance(asked, bool) or not math.isfinite(asked) or asked <= 0:
        return None
    return min(float(asked), LONGEST)


def mark(world: World, task: TaskRecord, stall: str, why: str) -> None:
    """Say that a task has stalled, once; only that its agent was started anew is worse than any other reason."""
    if task.state not in WATCHED or (task.stalled and (stall != RESTARTED or task.stalled_reason == RESTARTED)):
        return
    news: dict[str, Any] = {} if task.stalled else {"stalled": True, "stalled_at": world.now}
    world.note(
        world.plans[task.plan_id],
        task,
        by=SYSTEM,
        type="task.stalled" if news else "",
        reason=why,
        **news,
        stalled_reason=stall,
    )


def unmark(world: World, task: TaskRecord, why: str, *, by: str = SYSTEM, cause: Heard | None = None) -> None:
    """Take the mark away; the time that the task may take begins anew."""
    if task.stalled:
        gone: dict[str, Any] = {"stalled": False, "stalled_reason": "", "stalled_at": None}
        world.note(world.plans[task.plan_id], task, by=by, cause=cause, type="task.alive", reason=why, **gone)
        watch(world, task)


def watch(world: World, task: TaskRecord) -> None:
    """From now on the task has its time again."""
    if task.timeout and task.state in WATCHED:
        world.deadlines[(QUIET, task.id)] = world.now + timedelta(seconds=task.timeout)


def heard(world: World, task: TaskRecord, *, by: str, cause: Heard | None = None, progressed: bool = False) -> None:
    """Somebody said something about a task: a sign of life, and perhaps of progress."""
    if task.stalled and (progressed or task.stalled_reason != NO_PROGRESS):
        unmark(world, task, "it gets on" if progressed else "it was heard of", by=by, cause=cause)
    elif task.timeout and task.state in WATCHED and task.updated_at != world.at:
        task.updated_at = world.at
        world.mark(task)


def agent_alive(world: World, tasks: Iterable[TaskRecord], why: str) -> None:
    """An agent has given a sign of life: of what it holds, what had stalled for want of one goes on."""
    for task in tasks:
        if task.stalled_reason in _DEAF:
            unmark(world, task, why)


def sub_tasks_moved(world: World) -> None:
    """A follow-on rule: a task that had stalled gets on when one of its sub-tasks moves."""
    moved = {row.task_id for row in world.rows if row.kind == "transition" and row.task_id}
    parents = {task.parent_id for key in moved if (task := world.tasks.get(key or 0)) and task.parent_id}
    unknown = sorted(parents - set(world.tasks))
    if unknown:
        world.find_tasks(f"id IN ({sql.marks(unknown)}) AND stalled", unknown)
    for key in sorted(parents & set(world.tasks)):
        if world.tasks[key].stalled:
            unmark(world, world.tasks[key], "one of its sub-tasks has moved")


def _load(world: World, keys: list[int]) -> None:
    """Read the tasks of deadlines, and whether their agents are there, with two queries."""
    tasks = world.find_tasks(f"id IN ({sql.marks(keys)})", keys)
    there = Presence.objects.filter(agent_id__in={task.agent_id for task in tasks} - {""}).exclude(connection="")
    world.present |= set(there.filter(silent_at=None).values_list("workspace_id", "agent_id"))


def _quiet(world: World, key: int) -> None:
    """The time of a task is over, unless its sub-tasks have moved meanwhile."""
    task = world.task_by_key(key)
    if task is None or not task.timeout or task.stalled or task.state not in WATCHED:
        return
    time = timedelta(seconds=task.timeout)
    moved = _moved_below(task) if task.state != "running" else None
    if moved and moved + time > world.now:
        world.deadlines[(QUIET, key)] = moved + time
        return
    there = (task.workspace_id, task.agent_id) in world.present
    lately = sql.as_datetime(task.updated_at) + time > world.now
    if there or lately or not task.agent_id or task.state != "running":
        mark(world, task, NO_PROGRESS, f"no progress for {task.timeout:g} s")
    else:
        mark(world, task, SILENT, f"nothing heard of it, or of {task.agent_id}, for {task.timeout:g} s")


def _moved_below(task: TaskRecord) -> datetime | None:
    """When something last happened to a sub-task of this one, or to one of theirs."""
    below = """
        WITH RECURSIVE below(id) AS (
            SELECT id FROM tracker_task WHERE parent_id = %s
            UNION SELECT t.id FROM tracker_task t JOIN below ON t.parent_id = below.id
        ) SELECT max(updated_at) FROM tracker_task WHERE id IN (SELECT id FROM below)"""
    newest = sql.rows(below, [task.id])[0][0]
    return sql.as_datetime(newest) if newest else None


deadlines.register(QUIET, _quiet, load=_load)
