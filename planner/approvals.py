"""From a request to a card and to its end by the clock: what the server itself does with questions to people.

A request of type `approval.requested` makes a task like any other; no worker takes it, a person does: in the same
transaction the task becomes `awaiting_approval` and the approval is there.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from planner import cards, decisions
from planner.asking import ASKED, Wrong, question
from planner.decisions import AWAITING, DEADLINE, EXPIRED, PENDING, Verdict, answer, held, settle, withdraw
from planner.models import Approval
from tracker import deadlines, ledger
from tracker.bus import answers
from tracker.changes import Change, Outcome
from tracker.envelope import TRACKER, dumps
from tracker.linking import Heard
from tracker.live.hub import hub
from tracker.models import LogRow
from tracker.projections.rows import moment
from tracker.records import RowRecord, TaskRecord
from tracker.rules import after_task, open_plan, take
from tracker.states import PLAN
from tracker.wire import heard_again
from tracker.world import SYSTEM, World

IDS = UUID("5a3f0d8e-6a53-4d0c-9a86-2f2c4a7c9a10")  # an approval's id follows from its task and attempt
REFUSED = "approval.refused"  # the kind of deadline, at once, of a task whose question cannot be put
NEW = ("pending", "running")  # states of a task whose question is not put yet
LATE = "nobody decided in time"
_REPEATED = ("plan_id", "session_id", "goal_id")  # of the request's envelope, in its answer


@dataclass(slots=True, kw_only=True)
class AnswersSent(Change):
    """The server's own answers have left for an agent: log rows (primary keys), and the agent's name."""

    row_ids: list[int]
    name: str


def register() -> None:
    """Join the ledger, the clock, the bus and the push."""
    ledger.register_change(decisions.Decide, decisions.decide)
    ledger.register_change(decisions.TakeVoteBack, decisions.take_vote_back)
    ledger.register_change(decisions.Withdraw, decisions.take_back)
    ledger.register_change(AnswersSent, answers_sent)
    ledger.register_rule(put_questions)
    ledger.register_rule(withdraw_ended)
    deadlines.register(DEADLINE, fall_due)
    deadlines.register(REFUSED, refuse)
    answers.register(_sent)
    hub.register_list("approvals", cards.Waiting(), cards.moved)


# --- a question is put ------------------------------------------------------------------------------------------------


def put_questions(world: World) -> None:
    """Every request for an approval becomes a card, also one whose task is tried again."""
    rows = (row for some in (world.rows, world.placed_rows, world.asked_again) for row in some)
    for row in [row for row in rows if row.type == ASKED and row.topic == "action-requests"]:
        heard = heard_again(row)
        if row.plan_id is None:
            _house(world, row, heard)
        task = world.task_by_key(row.task_id)
        if task and task.state in NEW and task.event_type == ASKED:
            _put(world, row, task, heard)


def _house(world: World, row: RowRecord, heard: Heard) -> None:
    """A question that belongs to no plan opens one, so that it has a log and a page."""
    scope, name = (row.workspace_id, row.tenant_id), row.correlation_id
    plan = world.plan(scope, name) or open_plan(world, scope, name, heard)
    if row.plan_id is None:
        world.place_row(row, plan)
        take(world, plan, heard, row)


def _put(world: World, row: RowRecord, task: TaskRecord, heard: Heard) -> None:
    plan, by = world.plans[task.plan_id], f"agent:{heard.source}"
    name = _id_of(task)
    if Approval.objects.filter(approval_id=name).exists():  # of this attempt, and withdrawn
        return
    try:
        asked = question(heard.data)
    except Wrong:
        world.move(plan, task, AWAITING, by=by, cause=heard)
        world.deadlines[REFUSED, task.id] = world.now
        return
    approval = Approval.objects.create(
        workspace_id=task.workspace_id,
        tenant_id=task.tenant_id,
        approval_id=name,
        plan_id=task.plan_id,
        task_id=task.id,
        requested_by=by,
        requested_at=world.now,
        expires_at=_until(world, asked.expires_in),
        request=dumps(remembered(row, heard)),
        **asked.columns(),
    )
    _set_deadline(world, approval)
    told = {"approval_id": name, "title": asked.title, "expires_at": moment(approval.expires_at)}
    world.move(plan, task, AWAITING, by=by, cause=heard, told=told)


def _id_of(task: TaskRecord) -> str:
    return str(uuid5(IDS, f"{task.workspace_id}/{task.tenant_id}/{task.task_id}/{task.attempt}"))


def refuse(world: World, key: int) -> None:
    """A question that cannot be put: its task fails, and its agent hears why.

    Not in the batch of the request, so that rules which look at how a task ends, and run earlier, see it.
    """
    found = world.find_tasks("id = %s", [key])
    if not found or found[0].state != AWAITING:
        return
    task = found[0]
    plan = world.plans[task.plan_id]
    for row in world.kept_rows("task_id = %s AND event_id = %s AND kind = 'message'", [key, task.request_event_id]):
        heard = heard_again(row)
        verdict = Verdict(decision="reject", by=SYSTEM, comment=_why_wrong(heard.data))
        world.move(plan, task, "failed", by=SYSTEM, reason=verdict.comment, error=verdict.comment)
        answer(world, plan, task, remembered(row, heard), _id_of(task), verdict)
        return


def _why_wrong(data: dict[str, Any]) -> str:
    try:
        question(data)
    except Wrong as wrong:
        return f"the question cannot be put to anybody: {wrong}"
    return "the question could not be put to anybody"


def remembered(row: RowRecord, heard: Heard) -> dict[str, Any]:
    """Of a request what its answer repeats."""
    sent = json.loads(row.envelope)
    envelope = {name: sent.get(name) for name in _REPEATED}
    return {
        "task_id": heard.data.get("task_id"),
        "action_id": heard.data.get("action_id"),
        "workspace": sent.get("platform_tenant_id") or "",
        "envelope": {
            **envelope,
            "user_id": row.user_id,
            "parent_event_id": row.event_id,
            "trace_id": row.trace_id or None,
        },
    }


def _until(world: World, seconds: float | None) -> datetime | None:
    return None if seconds is None else world.now + timedelta(seconds=seconds)


def _set_deadline(world: World, row: Approval) -> None:
    if row.expires_at:
        world.deadlines[DEADLINE, row.pk] = row.expires_at


# --- it ends without a decision ---------------------------------------------------------------------------------------


def fall_due(world: World, key: int) -> None:
    """Nobody has decided: the next in the chain is asked, or it ends as the request says."""
    row = held(world, key)
    if row is None or row.state != PENDING or row.expires_at is None or row.expires_at > world.now:
        return
    task = world.task_by_key(row.task_id)
    assert task
    if task.state != AWAITING:
        withdraw(world, row, task, by=SYSTEM, reason=f"its task is {task.state}")
    elif row.on_expiry == "escalate" and json.loads(row.escalate_to):
        _escalate(world, row, task)
    else:
        decision = "approve" if row.on_expiry == "approve" else "reject"
        settle(world, row, task, Verdict(decision=decision, by=SYSTEM, comment=LATE), EXPIRED)


def _escalate(world: World, row: Approval, task: TaskRecord) -> None:
    """Whoever is next is asked beside those who were; where everybody could decide, it is theirs alone."""
    name, *rest = json.loads(row.escalate_to)
    assignees = list(dict.fromkeys([*json.loads(row.assignees), name]))
    row.assignees, row.escalate_to = dumps(assignees), dumps(rest)
    row.expires_at, row.version = _until(world, row.expires_in), row.version + 1
    row.save(update_fields=["assignees", "escalate_to", "expires_at", "version"])
    _set_deadline(world, row)
    told = {"approval_id": row.approval_id, "assignees": assignees, "expires_at": moment(row.expires_at)}
    plan, reason = world.plans[task.plan_id], f"{LATE}; {name} is asked"
    world.note(plan, task, by=SYSTEM, type="approval.escalated", reason=reason, told=told)


def withdraw_ended(world: World) -> None:
    """Questions whose task or plan has ended otherwise need no answer."""
    moved = [row for row in world.rows if row.kind == "transition"]
    left = {row.task_id: row for row in moved if row.task_id and row.from_state == AWAITING}
    for key in [key for key in left if not _was_asked(world, key)]:
        del left[key]
    for approval in _pending(task_id__in=list(left)) if left else ():
        row, task = left[approval.task_id], world.task_by_key(approval.task_id)
        assert task
        withdraw(world, approval, task, by=row.by, reason=row.reason or f"its task is {task.state}")
    ended = {row.plan_id for row in moved if row.task_id is None and row.plan_id and row.to_state in PLAN.ended}
    open_still = [key for key in ended if world.plans[key].state in PLAN.ended and world.plans[key].open_tasks]
    for approval in _pending(plan_id__in=open_still) if open_still else ():
        _end_with_plan(world, approval)


def _was_asked(world: World, key: int) -> bool:
    task = world.task_by_key(key)
    return task is not None and task.event_type == ASKED and task.state != AWAITING


def _pending(**which: Any) -> Iterable[Approval]:
    return list(Approval.objects.filter(state=PENDING, **which).order_by("pk"))


def _end_with_plan(world: World, approval: Approval) -> None:
    plan, task = world.plans[approval.plan_id], world.task_by_key(approval.task_id)
    assert task
    reason = f"its plan is {plan.state}"
    withdraw(world, approval, task, by=SYSTEM, reason=reason)
    if task.state == AWAITING:
        world.move(plan, task, "cancelled", by=SYSTEM, reason=reason)
        after_task(world, plan, task)


# --- the answer's own life --------------------------------------------------------------------------------------------


def _sent(workspace_id: int, name: str, row_ids: list[int]) -> Change:
    return AnswersSent(workspace_id=workspace_id, tenant_id="", by=f"agent:{name}", row_ids=row_ids, name=name)


def answers_sent(world: World, change: AnswersSent) -> Outcome:
    """Those of the decisions that have left for the agent that asked are delivered, the first time."""
    names = LogRow.objects.filter(
        pk__in=change.row_ids, workspace_id=change.workspace_id, source=TRACKER, kind=LogRow.Kind.MESSAGE
    ).values_list("event_id", flat=True)
    mine = Approval.objects.filter(approval_id__in=list(names), requested_by=f"agent:{change.name}", delivered_at=None)
    for key in list(mine.order_by("pk").values_list("pk", flat=True)):
        row = held(world, key)
        task = world.task_by_key(row.task_id) if row and row.delivered_at is None else None
        if row and task:
            row.delivered_at = world.now
            row.save(update_fields=["delivered_at"])
            told = {"approval_id": row.approval_id}
            world.note(world.plans[row.plan_id], task, by=change.by, type="approval.delivered", told=told)
    return Outcome("recorded")
