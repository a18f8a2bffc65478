"""What can be done about a plan now, and under which conditions: read from the state table. Pure."""

from typing import Any
from urllib.parse import quote

from tracker.causes import PlanFact, TaskFact
from tracker.states import PLAN, TASK
from tracker.waits import Situation

PLAN_VERBS = {"resume": "in_progress", "pause": "paused", "cancel": "cancelled"}
SHOWN = 5  # tasks of one kind


def options(
    plan: PlanFact, now: Situation, scene: tuple[PlanFact, TaskFact | None], waiting: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """[{do, subject, id, name, legal, why, call}]: what would help first, then the plan's own controls.

    `legal`: the state table allows it now; `why`: what it does, or what it would need; `call`: the request that does
    it, null when it is done elsewhere. `scene`: where the first failure lies, which may be a sub-plan.
    """
    where, task = scene
    found = _of_task(where, task) if task else []
    for one in waiting:
        found += _of_wait(one)
    return [*found, *_of_plan(plan, now)]


def _option(
    do: str, subject: str, id: str, name: str, legal: bool, why: str, call: str | None = None
) -> dict[str, Any]:
    return {"do": do, "subject": subject, "id": id, "name": name, "legal": legal, "why": why, "call": call}


def _of_task(plan: PlanFact, task: TaskFact) -> list[dict[str, Any]]:
    found = []
    for verb, target in (("retry", "pending"), ("cancel", "cancelled")):
        legal = TASK.move(task.state, target, stalled=task.stalled) is not None
        if legal or verb == "retry":
            why = _if_retried(plan, task, legal) if verb == "retry" else "ends it; its sub-tasks go on"
            call = f"POST /v1/tracker/tasks/{quote(task.task_id, safe='')}/{verb}" if legal else None
            found.append(_option(verb, "task", task.task_id, task.name, legal, why, call))
    return found


def _if_retried(plan: PlanFact, task: TaskFact, legal: bool) -> str:
    if not legal:
        needs = " or ".join(
            f"{m.source}{' and stalled' if m.only_stalled else ''}" for m in TASK.moves if m.verb == "retry"
        )
        return f"only a task that is {needs} can be retried; this one is {words(task.state)}"
    again = f"its request is handed over again, as attempt {task.attempt + 1}"
    if plan.state not in PLAN.ended:
        return again
    if plan.closed_by == "rule" and PLAN.move(plan.state, "in_progress"):
        return f"{again}; the plan, which had closed on its own, is open again"
    return f"{again}; the plan was ended by somebody and stays {plan.state}"


def _of_wait(one: dict[str, Any]) -> list[dict[str, Any]]:
    match one["kind"]:
        case "approval":
            return [
                _option("decide", "approval", task_id, one["name"], True, f"it waits for {one['on']}")
                for task_id in one["task_ids"][:SHOWN]
            ]
        case "nobody_listens" | "agent_away":
            why = (
                one["on"].removeprefix("an agent: ") if one["kind"] == "nobody_listens" else f"it waits for {one['on']}"
            )
            return [_option("connect", "agent", "", one["name"], True, why)]
        case "paused" if not one["name"]:
            return [_option("answer", "event", one["on"], "", True, f"the plan goes on when {one['on']} comes")]
    return []


def _of_plan(plan: PlanFact, now: Situation) -> list[dict[str, Any]]:
    found = []
    for verb, target in PLAN_VERBS.items():
        legal = plan.state not in PLAN.ended and PLAN.move(plan.state, target) is not None
        call = f"POST /v1/plans/{quote(plan.plan_id, safe='')}/{verb}" if legal else None
        why = _WHAT_IT_DOES[verb] if legal else f"a plan that is {words(plan.state)} cannot be {_DONE[verb]}"
        if verb == "resume" and legal and not now.held:
            why = "it paused itself; resuming goes over the head of its planner"
        if legal or (verb != "resume" and plan.state not in PLAN.ended):
            found.append(_option(verb, "plan", plan.plan_id, "", legal, why, call))
    return found


_WHAT_IT_DOES = {
    "resume": "hands over what was held back",
    "pause": "holds back the requests that no agent has yet",
    "cancel": "ends all its open tasks and tells the agents",
}
_DONE = {"resume": "resumed", "pause": "paused", "cancel": "cancelled"}


def words(state: str) -> str:
    """A state as people write it."""
    return state.replace("_", " ")
