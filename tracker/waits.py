"""What a plan waits for now: its open tasks by what would move them on, and what the plan itself waits for. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracker.causes import SubPlan, TaskFact
from tracker.states import PLAN

NAMED = 5  # tasks of one kind that are named
MOST = 50  # kinds
# What wants a person's eye comes first.
ORDER = (
    "stalled", "nobody_listens", "held", "paused", "approval", "agent_away", "sub_plan", "in_review", "waiting",
    "sub_tasks", "queued", "running", "planner",
)  # fmt: skip


class Listener(NamedTuple):
    """A registered agent name that consumes a type, and whether an instance of it was heard lately."""

    name: str
    there: bool
    heard_at: str


@dataclass(slots=True, kw_only=True)
class Situation:
    """What is known of a plan's open tasks. Keys are primary keys of tasks; times RFC 3339 texts in UTC."""

    state: str
    held: bool
    waiting_for: str
    planner: str
    governed: bool
    unseen: int  # tasks that were announced and not asked for yet
    paused_at: str
    paused_by: str
    entered: Mapping[int, str] = field(default_factory=dict)  # when an open task came into its state
    stalls: Mapping[int, tuple[str, str]] = field(default_factory=dict)  # since when, and why
    listeners: Mapping[str, list[Listener]] = field(default_factory=dict)  # by event type
    asked: Mapping[int, dict[str, Any]] = field(default_factory=dict)  # payloads of requests for a decision
    sub_plans: Iterable[SubPlan] = ()


def waits(now: Situation, tasks: Iterable[TaskFact]) -> list[dict[str, Any]]:
    """[{kind, on, name, count, since, task_ids}], folded by task name and by what they wait for; the gravest first.

    `since`: of the one that has waited longest; `task_ids`: the first five.
    """
    if now.state in PLAN.ended:
        return []
    tasks = list(tasks)
    still_open = [task for task in tasks if task.is_open]
    busy: dict[int, int] = {}
    for task in still_open:
        if task.parent is not None:
            busy[task.parent] = busy.get(task.parent, 0) + 1
    carried = {sub.task: sub for sub in now.sub_plans if sub.task is not None and sub.state not in PLAN.ended}
    folded: dict[tuple[str, str, str], dict[str, Any]] = {}
    for task in still_open:
        kind, on = _of_task(now, task, busy.get(task.key, 0), carried.get(task.key))
        since = now.stalls[task.key][0] if kind == "stalled" and task.key in now.stalls else now.entered.get(task.key)
        _fold(folded, kind, on, task, since or task.created_at)
    found = [*_of_plan(now, still_open), *folded.values()]
    return sorted(found, key=lambda one: (ORDER.index(one["kind"]), one["since"] or "9999"))


def _fold(folded: dict[tuple[str, str, str], dict[str, Any]], kind: str, on: str, task: TaskFact, since: str) -> None:
    blank = {"kind": kind, "on": on, "name": task.label, "count": 0, "since": since, "task_ids": []}
    one = folded.setdefault((kind, on, task.label), blank)
    one["count"] += 1
    one["since"] = min(one["since"], since)
    if len(one["task_ids"]) < NAMED:
        one["task_ids"].append(task.task_id)


def _of_task(now: Situation, task: TaskFact, below: int, sub_plan: SubPlan | None) -> tuple[str, str]:
    holder = task.agent or "its agent"
    if task.stalled:
        why = now.stalls.get(task.key, ("", ""))[1]
        return "stalled", f"{holder}, which does not get on with it" + (f": {why}" if why else "")
    if sub_plan:
        return "sub_plan", f"plan {sub_plan.plan_id}, which carries it out and is {sub_plan.state.replace('_', ' ')}"
    match task.state:
        case "pending":
            return _of_pending(now, task)
        case "awaiting_approval":
            return "approval", _who_decides(now.asked.get(task.key, {}))
        case "delegated":
            some = f"{below} sub-task{'s' if below != 1 else ''}" if below else "sub-tasks that are not known yet"
            return "sub_tasks", some
        case "in_review":
            return "in_review", "a review"
        case "waiting":
            return "waiting", f"something that {holder} waits for"
    return "running", f"{holder}, which works on it"


def _of_pending(now: Situation, task: TaskFact) -> tuple[str, str]:
    if now.held:
        return "held", "an operator, who holds back what no agent has yet"
    found = now.listeners.get(task.event_type, [])
    there = sorted({one.name for one in found if one.there})
    if there:
        return "queued", f"{there[0]}, which consumes {task.event_type} and has not taken it yet"
    if found:
        last = max(found, key=lambda one: one.heard_at)
        return "agent_away", f"{last.name}, which consumes {task.event_type} and was last heard at {last.heard_at}"
    return "nobody_listens", f"an agent: no registered agent consumes {task.event_type}"


def _who_decides(asked: dict[str, Any]) -> str:
    named = asked.get("assignees")
    people = [str(one)[:100] for one in named[:5]] if isinstance(named, list) else []
    return f"the decision of {' or '.join(people)}" if people else "somebody's decision"


def _of_plan(now: Situation, still_open: list[TaskFact]) -> list[dict[str, Any]]:
    since = now.paused_at or None
    blank = {"name": "", "count": 1, "since": since, "task_ids": []}
    if now.state == "paused":
        if now.held:
            who = now.paused_by.removeprefix("user:") if now.paused_by.startswith("user:") else "an operator"
            return [{"kind": "held", "on": f"{who}, who paused the plan", **blank}]
        what = now.waiting_for or "its planner, which paused it"
        return [{"kind": "paused", "on": what, **blank}]
    if still_open:
        return []
    if now.unseen:
        on = f"{now.unseen} of the announced tasks, which nobody has asked for yet"
    else:
        on = f"{now.planner or 'its planner'}, which has not said how it goes on"
    return [{"kind": "planner", "on": on, **blank, "since": None}]
