"""What a plan's story is made of, read with a number of queries that does not depend on the plan's size."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Case, F, Q, QuerySet, When
from django.db.models.functions import Length, Substr
from django.utils import timezone

from tracker.causes import Asked, Bad, Causes, MoveFact, PlanFact, SubPlan, TaskFact, Trace
from tracker.explain import SHOWN, Evidence
from tracker.failures import kin
from tracker.models import Agent, LogRow, Plan, Task
from tracker.projections.instants import Moment
from tracker.projections.lookup import log_of
from tracker.projections.rows import moment
from tracker.states import PLAN, TASK
from tracker.twin import Step, compare
from tracker.waits import Listener, Situation

DEEPEST = 4  # sub-plans below each other that are followed
MOST_PLANS = 200  # sub-plans, and agents that are looked at
MOST_ASKED = 20  # requests for a decision whose payload is looked at
PAYLOAD = 4000  # characters of the last payload that are shown

TASK_COLUMNS = (
    "id", "task_id", "name", "label", "event_type", "state", "attempt", "agent", "agent_id", "parent_id", "stalled",
    "error", "position", Moment("created_at"), Moment("started_at"), Moment("ended_at"),
)  # fmt: skip
MOVE_COLUMNS = (
    "seq", "task_id", "type", "from_state", "to_state", "by", "reason", "event_id", Moment("occurred_at"),
    Moment("recorded_at"),
)  # fmt: skip
# Into an end that is not good, and back; the plan's own moves; marks of liveness.
MOVED = Q(kind=LogRow.Kind.TRANSITION) & (
    Q(task=None) | Q(to_state__in=("failed", "cancelled")) | Q(to_state="pending", from_state__isnull=False)
)
MARKED = Q(kind=LogRow.Kind.NOTE, type__in=("task.stalled", "task.alive"))


def evidence_of(plan: Plan) -> Evidence:
    """All that explains the plan, at one moment: call it inside `one_moment()`."""
    evidence = _evidence(plan, DEEPEST)
    evidence.above = _above(plan)
    evidence.twin = _twin(plan, evidence.tasks)
    return evidence


def _evidence(plan: Plan, deep: int) -> Evidence:
    tasks = [TaskFact(*row) for row in Task.objects.filter(plan=plan).order_by("position").values_list(*TASK_COLUMNS)]
    moves = [MoveFact(*row) for row in log_of(plan).filter(MOVED | MARKED).values_list(*MOVE_COLUMNS)]
    sub_plans = _sub_plans(plan)
    fact = PlanFact(plan.pk, plan.plan_id, plan.state, plan.closed_by, plan.error)
    trace = Causes(fact, tasks, moves, _asked_later(plan), sub_plans).find()
    refused = log_of(plan).filter(refused=True)
    found = [MoveFact(*row) for row in refused.values_list(*MOVE_COLUMNS)[:SHOWN]]
    evidence = Evidence(
        plan=fact,
        goal=plan.goal_event,
        seq=plan.seq,
        now=_situation(plan, tasks, moves, sub_plans, trace),
        tasks=tasks,
        trace=trace,
        started_at=moment(plan.started_at),
        completed_at=moment(plan.completed_at),
        refused=found,
        refused_count=refused.count() if len(found) == SHOWN else len(found),
    )
    if trace.sub_plan and deep:
        evidence.inside = _evidence(Plan.objects.get(pk=trace.sub_plan.key), deep - 1)
    elif trace.roots:
        evidence.detail = _detail(plan, trace.roots[0])
    return evidence


def _sub_plans(plan: Plan) -> list[SubPlan]:
    """The plans that this one set off, by what they say of themselves and by the tasks that they carry out."""
    family = Plan.objects.filter(workspace_id=plan.workspace_id, tenant_id=plan.tenant_id)
    # The index leaves out plans without a parent, and SQLite uses it only if the query says so too.
    said = family.filter(parent_plan_id=plan.plan_id).exclude(parent_plan_id="").exclude(pk=plan.pk)
    # By their goal tasks alone: with the workspace in it, SQLite would walk through all of its plans.
    carried = Plan.objects.filter(goal_task__in=Task.objects.filter(plan=plan).order_by()).exclude(pk=plan.pk)
    columns = ("id", "plan_id", "state", "goal_task_id", Moment("completed_at"))
    rows: dict[int, SubPlan] = {}
    for found in (said, carried):
        rows |= {row[0]: SubPlan(*row) for row in found.order_by("id").values_list(*columns)[:MOST_PLANS]}
    return list(rows.values())


def _asked_later(plan: Plan) -> list[Asked]:
    """The first request of each task that names what it answers to, or that the server itself made."""
    asked = log_of(plan).filter(kind=LogRow.Kind.MESSAGE, topic="action-requests", task__isnull=False)
    followed = asked.exclude(parent_event_id="", by__startswith="agent:").order_by("-seq")
    rows = followed.values_list("task_id", "seq", "by", "parent_event_id", Moment("recorded_at"))
    return list({row[0]: Asked(*row) for row in rows}.values())


# --- how it stands ---


def _situation(
    plan: Plan, tasks: list[TaskFact], moves: list[MoveFact], sub_plans: list[SubPlan], trace: Trace
) -> Situation:
    paused = next((m for m in reversed(moves) if m.task is None and m.to_state == "paused"), None)
    now = Situation(
        state=plan.state,
        held=plan.held,
        waiting_for=plan.waiting_for,
        planner=plan.planner,
        governed=plan.governed,
        unseen=max(0, (plan.total_actions or 0) - plan.task_count),
        paused_at=paused.recorded_at if paused else "",
        paused_by=paused.by if paused else "",
        stalls={key: (bad.recorded_at, bad.reason) for key, bad in trace.stalls.items()},
        sub_plans=sub_plans,
    )
    if plan.state not in PLAN.ended:
        now.entered = _entered(plan)
        now.listeners = _listeners(plan, {task.event_type for task in tasks if task.state == "pending"})
        now.asked = _asked([task.key for task in tasks if task.state == "awaiting_approval"][:MOST_ASKED])
    return now


def _entered(plan: Plan) -> dict[int, str]:
    """When each open task came into the state that it is in."""
    still_open = Q(task__state__in=TASK.open_states, version=F("task__version"))
    rows = log_of(plan).filter(still_open, kind=LogRow.Kind.TRANSITION)
    return dict(rows.values_list("task_id", Moment("recorded_at")))


def _listeners(plan: Plan, types: set[str]) -> dict[str, list[Listener]]:
    """Who is registered for these event types."""
    agents = Agent.objects.filter(workspace_id=plan.workspace_id, tenant_id__in=("", plan.tenant_id))
    alive_since = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    found: dict[str, list[Listener]] = {}
    rows = agents.order_by("-heartbeat_at").values_list("base_name", "consumed_events", "signed_off_at", "heartbeat_at")
    for name, consumed, signed_off, heard in rows[:MOST_PLANS]:
        there = signed_off is None and heard > alive_since
        for kind in types.intersection(one for one in orjson.loads(consumed) if isinstance(one, str)):
            found.setdefault(kind, []).append(Listener(name, there, moment(signed_off or heard) or ""))
    return found


def _asked(keys: list[int]) -> dict[int, dict[str, Any]]:
    """The payloads of the requests of these tasks, where they are of a size that people read."""
    rows = LogRow.objects.filter(task_id__in=keys, kind=LogRow.Kind.MESSAGE, topic="action-requests")
    sized = rows.annotate(size=Length("data")).filter(size__lte=10 * PAYLOAD)
    return {key: orjson.loads(data) for key, data in sized.order_by("-seq").values_list("task_id", "data")}


# --- the first failure ---


def _detail(plan: Plan, bad: Bad) -> dict[str, Any]:
    """{error, payload, kin, agent, agent_id}: what was said of it, and who held the task then."""
    said = log_of(plan).filter(seq=bad.seq).values_list("data", flat=True).first()
    error = orjson.loads(said).get("error") if said else None
    if not error and bad.task is None:
        error = plan.error
    messages = log_of(plan).filter(kind=LogRow.Kind.MESSAGE)
    if bad.task is None:
        payload = _payload(messages.filter(event_id=bad.event_id), bad)
        return {"error": _cut(error), "payload": payload, "kin": kin(plan.pk, bad.seq)}
    before = LogRow.objects.filter(task_id=bad.task, seq__lte=bad.seq or plan.seq)
    held = before.exclude(kind=LogRow.Kind.MESSAGE).filter(data__contains='"agent":').order_by("-seq")
    named = held.values_list("data", flat=True).first()
    holder = orjson.loads(named) if named else {}
    return {
        "error": _cut(error),
        "payload": _payload(before.filter(kind=LogRow.Kind.MESSAGE), bad),
        "agent": holder.get("agent"),
        "agent_id": holder.get("agent_id"),
        "kin": kin(plan.pk, bad.seq),
    }


def _cut(error: object) -> str | None:
    return str(error)[:PAYLOAD] if error else None


def _payload(messages: QuerySet[LogRow], bad: Bad) -> dict[str, Any] | None:
    """The message that told it, else the last one before."""
    columns = ("seq", "type", "source", Length("data"), Substr("data", 1, PAYLOAD))
    told = Case(When(event_id=bad.event_id, then=1), default=0)
    row = messages.order_by(told.desc(), "-seq").values_list(*columns).first() if bad.event_id or bad.task else None
    if row is None:
        return None
    seq, kind, source, size, text = row
    whole = size <= PAYLOAD
    return {
        "seq": seq,
        "type": kind,
        "source": source,
        "size": size,
        "data": orjson.Fragment(text) if whole else None,
        "beginning": None if whole else text,
    }


# --- around it ---


def _above(plan: Plan) -> dict[str, Any] | None:
    """The task of another plan that this one carries out, or the plan that it says it belongs to."""
    if plan.goal_task_id:
        task = Task.objects.filter(pk=plan.goal_task_id).select_related("plan").first()
        if task:
            return {"plan_id": task.plan.plan_id, "state": task.plan.state, "task_id": task.task_id, "task": task.name}
    if not plan.parent_plan_id or plan.parent_plan_id == plan.plan_id:
        return None
    family = Plan.objects.filter(workspace_id=plan.workspace_id, tenant_id=plan.tenant_id)
    state = family.filter(plan_id=plan.parent_plan_id).values_list("state", flat=True).first()
    return {"plan_id": plan.parent_plan_id, "state": state, "task_id": None, "task": None}


def _twin(plan: Plan, tasks: Iterable[TaskFact]) -> dict[str, Any] | None:
    """The newest other plan of the same goal that completed, beside this one up to where they part."""
    if not plan.goal_event:
        return None
    same = Plan.objects.filter(
        workspace_id=plan.workspace_id, tenant_id=plan.tenant_id, goal_event=plan.goal_event, state="completed"
    )
    twin = same.exclude(pk=plan.pk).order_by("-id").first()
    if twin is None:
        return None
    columns = ("name", "state", "agent", Moment("created_at"), Moment("ended_at"))
    theirs = [Step(*row) for row in Task.objects.filter(plan=twin).order_by("position").values_list(*columns)]
    ours = [Step(task.name, task.state, task.agent, task.created_at, task.ended_at) for task in tasks]
    return {"plan_id": twin.plan_id, "completed_at": moment(twin.completed_at), **compare(ours, theirs)}
