"""What went wrong in a plan, and if nothing did, how it stands: one story from its rows and tasks. Pure.

Everything in it is bounded, whatever the size of the plan: counts tell how much was left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracker.causes import CANCELLED, FAILED, STALLED, Bad, MoveFact, PlanFact, TaskFact, Trace
from tracker.options import options
from tracker.states import PLAN
from tracker.waits import MOST, NAMED, Situation, waits

SHOWN = 10  # other failures, mended ones, refused messages


@dataclass(slots=True, kw_only=True)
class Evidence:
    """A plan, its tasks in order of arrival, what its log tells of them, and what came of looking into it.

    `inside`: the evidence of the sub-plan in which the first failure lies; `detail`: of the first failure itself
    (error, payload, kin); `above`: the task of another plan that this one carries out.
    """

    plan: PlanFact
    goal: str
    seq: int
    now: Situation
    tasks: Sequence[TaskFact]
    trace: Trace
    started_at: str | None
    completed_at: str | None
    refused: Sequence[MoveFact] = ()
    refused_count: int = 0
    detail: dict[str, Any] = field(default_factory=dict)
    inside: "Evidence | None" = None
    above: dict[str, Any] | None = None
    twin: dict[str, Any] | None = None

    _by_key: dict[int, TaskFact] = field(init=False)

    def __post_init__(self) -> None:
        self._by_key = {task.key: task for task in self.tasks}

    def task(self, key: int | None) -> TaskFact | None:
        """The task with this primary key."""
        return self._by_key.get(key or 0)


def explain(evidence: Evidence) -> dict[str, Any]:
    """The story as the API tells it; `docs/api.md` names its members."""
    root = first_bad(evidence)
    waiting = waits(evidence.now, evidence.tasks)
    followed = consequences(evidence)
    mended = [_attempts(evidence, key) for key in (*evidence.trace.mended, *evidence.trace.excused)[:SHOWN]]
    story = {
        "plan_id": evidence.plan.plan_id,
        "goal_event": evidence.goal,
        "state": evidence.plan.state,
        "seq": evidence.seq,
        "verdict": "",
        "root": root,
        "consequences": {"count": sum(one["count"] for one in followed), "items": followed[:MOST]},
        "others": _listed(
            [_brief(evidence, bad) for bad in evidence.trace.roots[1 : SHOWN + 1]], len(evidence.trace.roots) - 1
        ),
        "waits": {"count": sum(one["count"] for one in waiting), "items": waiting[:MOST]},
        "mended": _listed(mended, len(evidence.trace.mended) + len(evidence.trace.excused)),
        "refused": _listed([_refusal(evidence, row) for row in evidence.refused[:SHOWN]], evidence.refused_count),
        "above": evidence.above,
        "last_success": evidence.twin,
        "options": options(evidence.plan, evidence.now, _scene(evidence), waiting),
    }
    story["verdict"] = verdict(evidence, story)
    return story


def _listed(items: list[Any], count: int) -> dict[str, Any]:
    return {"count": max(count, 0), "items": items}


def _scene(evidence: Evidence) -> tuple[PlanFact, TaskFact | None]:
    """The plan and the task in which the first failure lies."""
    while evidence.inside:
        evidence = evidence.inside
    roots = evidence.trace.roots
    return evidence.plan, evidence.task(roots[0].task) if roots else None


def first_bad(evidence: Evidence) -> dict[str, Any] | None:
    """The first bad transition: in this plan, or in the sub-plan that it comes from."""
    if evidence.inside and (root := first_bad(evidence.inside)):
        return root
    if not evidence.trace.roots:
        return None
    bad = evidence.trace.roots[0]
    task = evidence.task(bad.task)
    return {
        "kind": bad.kind,
        "plan_id": evidence.plan.plan_id,
        "task_id": task.task_id if task else None,
        "task": task.name if task else None,
        "event_type": task.event_type if task else None,
        "state": task.state if task else evidence.plan.state,
        "agent": evidence.detail.get("agent") or (task.agent if task else _agent(bad.by)) or None,
        "agent_id": evidence.detail.get("agent_id") or None,
        "attempt": bad.attempt or None,
        "attempts": _attempts(evidence, bad.task)["attempts"] if task else [],
        "error": evidence.detail.get("error"),
        "reason": bad.reason or None,
        "by": bad.by or None,
        "seq": bad.seq or None,
        "event_id": bad.event_id or None,
        "occurred_at": bad.occurred_at,
        "recorded_at": bad.recorded_at,
        "payload": evidence.detail.get("payload"),
        "kin": evidence.detail.get("kin"),
    }


def _agent(by: str) -> str:
    return by.removeprefix("agent:") if by.startswith("agent:") else ""


def _brief(evidence: Evidence, bad: Bad) -> dict[str, Any]:
    task = evidence.task(bad.task)
    return {
        "kind": bad.kind,
        "task_id": task.task_id if task else None,
        "task": task.name if task else None,
        "agent": (task.agent or None) if task else None,
        "error": ((task.error if task else evidence.plan.error) or bad.reason)[:500] or None,
        "seq": bad.seq or None,
        "recorded_at": bad.recorded_at,
    }


def _attempts(evidence: Evidence, key: int | None) -> dict[str, Any]:
    """A task and all that went wrong with it, attempt by attempt."""
    task, series = evidence.task(key), evidence.trace.series.get(key or 0, [])
    return {
        "task_id": task.task_id if task else None,
        "task": task.name if task else None,
        "state": task.state if task else None,
        "attempt": task.attempt if task else None,
        "excused": key in evidence.trace.excused,
        "attempts": [
            {"attempt": bad.attempt, "kind": bad.kind, "seq": bad.seq, "recorded_at": bad.recorded_at}
            for bad in series[-SHOWN:]
        ],
    }


def _refusal(evidence: Evidence, row: MoveFact) -> dict[str, Any]:
    task = evidence.task(row.task)
    return {
        "seq": row.seq,
        "type": row.type,
        "by": row.by,
        "task": task.name if task else None,
        "reason": row.reason[:500],
        "recorded_at": row.recorded_at,
    }


def consequences(evidence: Evidence) -> list[dict[str, Any]]:
    """What failed, was cancelled, waits or was left open only because of the first failure: [{what, name, count, ...}].

    Folded by what happened and by the tasks' name without its number; the most numerous first.
    """
    if not evidence.trace.roots:
        return []
    root = evidence.trace.roots[0]
    above = set(_ancestors(evidence, root.task))
    folded: dict[tuple[str, str], dict[str, Any]] = {}
    for task in evidence.tasks:
        what = _what_became(evidence, task, root, above)
        if what:
            blank = {"what": what, "name": task.label, "state": task.state, "count": 0, "task_ids": []}
            one = folded.setdefault((what, task.label), blank)
            one["count"] += 1
            if len(one["task_ids"]) < NAMED:
                one["task_ids"].append(task.task_id)
    return sorted(folded.values(), key=lambda one: -one["count"])


def _what_became(evidence: Evidence, task: TaskFact, root: Bad, above: set[int]) -> str:
    trace = evidence.trace
    if task.key == root.task and not evidence.inside:
        return ""
    if task.state == FAILED:
        return "failed" if trace.root_of.get(task.key) == root.task and root.task is not None else ""
    if task.state == CANCELLED:
        cancelled = trace.cancelled.get(task.key)
        return "cancelled" if cancelled and cancelled.seq > root.seq else ""
    if not task.is_open:
        return ""
    if evidence.plan.state in PLAN.ended:
        return "left_open"
    return "waits" if task.key in above or task.key == root.task else ""


def _ancestors(evidence: Evidence, key: int | None) -> Iterable[int]:
    parents = {task.key: task.parent for task in evidence.tasks}
    seen: set[int] = set()
    above = parents.get(key or 0)
    while above is not None and above not in seen:
        seen.add(above)
        yield above
        above = parents.get(above)


# --- the verdict ---


def verdict(evidence: Evidence, story: dict[str, Any]) -> str:
    """One sentence."""
    if story["root"] is None:
        return _sound(evidence, story)
    return _what_happened(evidence, story["root"]) + _and_then(evidence, story["consequences"]["items"]) + "."


def _what_happened(evidence: Evidence, root: dict[str, Any]) -> str:
    where = f" of plan {root['plan_id']}" if root["plan_id"] != evidence.plan.plan_id else ""
    if root["task"] is None:
        return _own_end(evidence, root, where)
    who = f" at {root['agent']}" if root["agent"] else ""
    nth = f" on attempt {root['attempt']}" if (root["attempt"] or 1) > 1 or len(root["attempts"]) > 1 else ""
    if root["kind"] == STALLED:
        why = f": {root['reason']}" if root["reason"] else ""
        return f"{root['task']}{where} is stalled{who} since {clock(root['recorded_at'])}{why}"
    if root["kind"] == CANCELLED:
        why = f": {short(root['reason'])}" if root["reason"] else ""
        return f"{person(root['by'])} cancelled {root['task']}{where}{why}"
    why = short(root["error"] or root["reason"] or "no error text was given")
    again = f", and was tried {len(root['attempts'])} times" if len(root["attempts"]) > 1 else ""
    return f"{root['task']}{where} failed{who}{nth}: {why}{again}"


def _own_end(evidence: Evidence, root: dict[str, Any], where: str) -> str:
    plan = f"plan {root['plan_id']}" if where else "the plan"
    why = short(root["error"] or root["reason"] or "")
    why = f": {why}" if why else ""
    if root["kind"] == CANCELLED:
        return f"{person(root['by'])} cancelled {plan}{why}"
    count = len(evidence.tasks)
    all_done = not where and count and all(task.state == "completed" for task in evidence.tasks)
    although = f", although {_all(count)} completed" if all_done else ", and none of its tasks did"
    return f"{person(root['by'])} said that {plan} failed{although if not where else ''}{why}"


def _all(count: int) -> str:
    return {1: "its only task", 2: "both of its tasks"}.get(count, f"all {count} tasks")


_SAID = {"failed": "failed", "cancelled": "were cancelled", "waits": "wait", "left_open": "were left open"}
_SAID_OF_ONE = {"failed": "failed", "cancelled": "was cancelled", "waits": "waits", "left_open": "was left open"}


def _and_then(evidence: Evidence, items: list[dict[str, Any]]) -> str:
    totals: dict[str, int] = {}
    for one in items:
        totals[one["what"]] = totals.get(one["what"], 0) + one["count"]
    parts = [f"{n} {'task' if n == 1 else 'tasks'} {(_SAID_OF_ONE if n == 1 else _SAID)[w]}" for w, n in totals.items()]
    parts = [f"{joined(parts)} because of it"] if parts else []
    others = len(evidence.trace.roots) - 1
    if others > 0:
        parts.append(f"{others} more went wrong by {'itself' if others == 1 else 'themselves'}")
    if evidence.plan.state == "completed":
        parts.append("the plan completed all the same")
    return "".join(f"; {part}" for part in parts)


def _sound(evidence: Evidence, story: dict[str, Any]) -> str:
    """What is to be said of a plan in which nothing is wrong now."""
    state, tasks = evidence.plan.state, evidence.tasks
    mended = story["mended"]["count"]
    after = f", {mended} of them after a failure" if mended and state == "completed" else ""
    if state == "completed":
        ended = f" at {clock(evidence.completed_at)}" if evidence.completed_at else ""
        done = sum(task.state == "completed" for task in tasks)
        count = f"{done} of {len(tasks)} tasks" if done != len(tasks) else f"{len(tasks)} tasks"
        return f"{'The' if after else 'Nothing went wrong: the'} plan completed{ended} with {count}{after}."
    if state in PLAN.ended:
        return f"The plan is {state}, and its log does not say why."
    first = "Nothing is failed now" if mended else "Nothing has failed"
    if mended:
        first += f"; {mended} {'task was' if mended == 1 else 'tasks were'} tried again after a failure"
    waiting = [one for one in story["waits"]["items"] if one["kind"] != "running"]
    parts = [_running(evidence), *(_waiting(one) for one in waiting[:2])]
    left = len(waiting) - 2
    more = [f"{left} more kinds of tasks wait"] if left > 0 else []
    if refused := story["refused"]["count"]:
        more.append(f"{refused} message{' was' if refused == 1 else 's were'} refused")
    return f"{first}; {joined([*filter(None, parts), *more]) or 'it has no tasks yet'}."


def _running(evidence: Evidence) -> str:
    running = [task for task in evidence.tasks if task.state == "running"]
    if not running:
        return ""
    entered = evidence.now.entered
    since = min(entered.get(task.key) or task.created_at for task in running)
    if len(running) == 1:
        return f"{running[0].name} runs since {clock(since)}"
    return f"{len(running)} tasks run, the longest since {clock(since)}"


def _waiting(one: dict[str, Any]) -> str:
    since = f" since {clock(one['since'])}" if one["since"] else ""
    if not one["name"]:
        return f"the plan waits for {one['on']}{since}"
    who = one["name"] if one["count"] == 1 else f"{one['count']} times {one['name']}"
    return f"{who} {'waits' if one['count'] == 1 else 'wait'} for {one['on']}{since}"


def person(by: str | None) -> str:
    """Who did it, without the word for what they are."""
    return (by or "somebody").removeprefix("user:").removeprefix("agent:").replace("system", "the server")


def short(text: str, longest: int = 200) -> str:
    """The first line of a text, not too long, without a full stop."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return (line if len(line) <= longest else line[: longest - 1] + "\u2026").rstrip(".")


def clock(at: str | None) -> str:
    """A time for people: to the second, in UTC."""
    return f"{at[:10]} {at[11:19]} UTC" if at else "an unknown time"


def joined(parts: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    *first, last = parts or [""]
    return f"{', '.join(first)} and {last}" if first else last
