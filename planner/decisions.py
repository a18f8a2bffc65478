"""What people decide: votes, what they settle, and the answer to the agent that asked.

Every change here holds the lock of the approval's plan, so that of several people at once one is first. Refusals leave
no row.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from planner.models import Approval, Vote
from tracker.changes import Change, Message, Outcome
from tracker.envelope import TRACKER, Envelope, dumps
from tracker.plan_facts import arrived
from tracker.projections.rows import moment
from tracker.records import PlanRecord, TaskRecord
from tracker.rules import after_task
from tracker.wire import heard_of, row_of
from tracker.world import World

AWAITING = "awaiting_approval"
DEADLINE = "approval"  # the kind; its subject is the approval
PENDING, DECIDED, EXPIRED, WITHDRAWN = Approval.State
DONE = {DECIDED: "already-decided", EXPIRED: "expired", WITHDRAWN: "withdrawn"}  # why it is too late
VERSION, REUSED, STRANGER, VOTED, NO_VOTE = (
    "version-conflict", "key-reused", "not-assigned", "already-voted", "no-vote",
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class ApprovalChange(Change):
    """Common to all: of which approval (primary key)."""

    approval: int


@dataclass(slots=True, kw_only=True)
class Decide(ApprovalChange):
    """Somebody decides, or with others: votes. `payload` is JSON text; under the same `key` it is said once."""

    decision: str
    comment: str = ""
    payload: str = "null"
    expected_version: int | None = None
    key: str = ""


@dataclass(slots=True, kw_only=True)
class TakeVoteBack(ApprovalChange):
    """Somebody changes their mind before it is settled."""


@dataclass(slots=True, kw_only=True)
class Withdraw(ApprovalChange):
    """The agent takes its question back."""

    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Verdict:
    """How a question ends: what was decided, by whom and why."""

    decision: str
    by: str
    comment: str = ""
    payload: str = "null"

    @property
    def success(self) -> bool:
        """Whether the agent may go on."""
        return self.decision != "reject"


def held(world: World, key: int) -> Approval | None:
    """The approval as it stands under the lock of its plan; None when there is none."""
    plan = Approval.objects.filter(pk=key).values_list("plan_id", flat=True).first()
    world.load_plan_keys([plan])
    return Approval.objects.filter(pk=key).first() if plan else None


def decide(world: World, change: Decide) -> Outcome:
    """A vote, and what it settles. `value`: where the approval stands."""
    row = held(world, change.approval)
    if row is None:
        return Outcome("unknown")
    task = world.task_by_key(row.task_id)
    assert task
    mine = row.votes.filter(by=change.by).first()
    if mine and change.key and mine.key == change.key:
        return _recorded(row) if _same(mine, change) else _refused(row, REUSED)
    if row.state == PENDING and task.state != AWAITING:
        withdraw(world, row, task, by="system", reason=f"its task is {task.state}")
    if why := _why_not(row, change, mine):
        return _refused(row, why)
    said = Verdict(decision=change.decision, by=change.by, comment=change.comment, payload=change.payload)
    _vote(world, row, task, said, change.key)
    return _recorded(row)


def _why_not(row: Approval, change: Decide, mine: Vote | None) -> str:
    if row.state != PENDING:
        return DONE[Approval.State(row.state)]
    names = json.loads(row.assignees)
    if names and change.by.removeprefix("user:") not in names:
        return STRANGER
    if change.expected_version not in {None, row.version}:
        return VERSION
    return VOTED if mine else ""


def _same(vote: Vote, change: Decide) -> bool:
    return (vote.decision, vote.comment, vote.payload) == (change.decision, change.comment, change.payload)


def _vote(world: World, row: Approval, task: TaskRecord, said: Verdict, key: str) -> None:
    row.votes.create(
        by=said.by, decision=said.decision, comment=said.comment, payload=said.payload, key=key, at=world.now
    )
    if _settles(row, said):
        settle(world, row, task, said, DECIDED)
        return
    _keep(row, version=row.version + 1)
    told = {"approval_id": row.approval_id, "decision": said.decision, "votes": row.votes.count()}
    world.note(world.plans[task.plan_id], task, by=said.by, type="approval.voted", reason=said.comment, told=told)


def _settles(row: Approval, said: Verdict) -> bool:
    """Whether enough people want just this, whoever said it last."""
    votes = Counter((v.decision, _canonical(v.payload)) for v in row.votes.all())
    if said.decision == "reject":
        return sum(count for (decision, _), count in votes.items() if decision == "reject") >= row.reject_quorum
    return votes[said.decision, _canonical(said.payload)] >= row.quorum


def _canonical(payload: str) -> str:
    return dumps(json.loads(payload), sort=True)


def settle(world: World, row: Approval, task: TaskRecord, verdict: Verdict, state: Approval.State) -> None:
    """It is decided: the task ends, and whoever asked is answered."""
    plan = world.plans[task.plan_id]
    _close(world, row, state, verdict)
    told = {
        "approval_id": row.approval_id,
        "decision": verdict.decision,
        "waited_seconds": round((world.now - row.requested_at).total_seconds(), 3),
    }
    _end(world, plan, task, verdict, told)
    answer(world, plan, task, json.loads(row.request), row.approval_id, verdict)


def _end(world: World, plan: PlanRecord, task: TaskRecord, verdict: Verdict, told: dict[str, Any]) -> None:
    more: dict[str, Any] = {} if verdict.success else {"error": _error(verdict)}
    to = "completed" if verdict.success else "failed"
    world.move(plan, task, to, by=verdict.by, reason=verdict.comment, told=told, **more)


def _error(verdict: Verdict) -> str:
    if verdict.by == "system":
        return verdict.comment
    said = f": {verdict.comment}" if verdict.comment else ""
    return f"rejected by {verdict.by.removeprefix('user:')}{said}"


def answer(
    world: World, plan: PlanRecord, task: TaskRecord, request: dict[str, Any], event_id: str, verdict: Verdict
) -> None:
    """The answer to a request that wants one, as a message of the server's own; then what follows from the task's end.

    `request`: see `remembered`. The event's id makes it one message, however often it is delivered.
    """
    if task.response_event:
        message = _message(plan, task, request, event_id, verdict, world)
        row = row_of(message, world.now)
        row.task_id = task.id
        world.add_row(row, plan)
        arrived(world, plan, heard_of(message))
    after_task(world, plan, task)


def _message(
    plan: PlanRecord, task: TaskRecord, request: dict[str, Any], event_id: str, verdict: Verdict, world: World
) -> Message:
    said = {"decision": verdict.decision, "comment": verdict.comment or None, "payload": json.loads(verdict.payload)}
    data = {
        **said,
        "decided_by": verdict.by,
        "success": verdict.success,
        "status": "completed" if verdict.success else "failed",
        "result": said,
        "task_id": request["task_id"],
        "action_id": request["action_id"],
    }
    envelope = Envelope.model_construct(
        id=event_id,
        source=TRACKER,
        type=task.response_event,
        topic="action-results",
        time=world.now,
        data=data,
        correlation_id=task.correlation_id,
        tenant_id=plan.tenant_id,
        **request["envelope"],
    )
    return Message(
        workspace_id=plan.workspace_id,
        tenant_id=plan.tenant_id,
        by=verdict.by,
        envelope=envelope,
        workspace=request["workspace"],
    )


def take_vote_back(world: World, change: TakeVoteBack) -> Outcome:
    """A vote is gone as if it had not been given; the log tells of both."""
    row = held(world, change.approval)
    if row is None:
        return Outcome("unknown")
    if row.state != PENDING:
        return _refused(row, DONE[Approval.State(row.state)])
    gone, _ = row.votes.filter(by=change.by).delete()
    if not gone:
        return _refused(row, NO_VOTE)
    _keep(row, version=row.version + 1)
    task = world.task_by_key(row.task_id)
    assert task
    told = {"approval_id": row.approval_id, "votes": row.votes.count()}
    world.note(world.plans[row.plan_id], task, by=change.by, type="approval.vote_withdrawn", told=told)
    return _recorded(row)


def take_back(world: World, change: Withdraw) -> Outcome:
    """The question needs no answer any more: its task is cancelled."""
    row = held(world, change.approval)
    if row is None:
        return Outcome("unknown")
    if row.state != PENDING:
        return _refused(row, DONE[Approval.State(row.state)])
    task = world.task_by_key(row.task_id)
    assert task
    reason = change.reason or "taken back"
    withdraw(world, row, task, by=change.by, reason=reason)
    if task.state == AWAITING:
        world.move(world.plans[row.plan_id], task, "cancelled", by=change.by, reason=reason)
        after_task(world, world.plans[row.plan_id], task)
    return _recorded(row)


def withdraw(world: World, row: Approval, task: TaskRecord, *, by: str, reason: str) -> None:
    """Nobody need decide any more; whoever tries is told so."""
    _close(world, row, WITHDRAWN, Verdict(decision="", by=by, comment=reason))
    told = {"approval_id": row.approval_id}
    world.note(world.plans[row.plan_id], task, by=by, type="approval.withdrawn", reason=reason, told=told)


def _close(world: World, row: Approval, state: Approval.State, verdict: Verdict) -> None:
    world.deadlines[DEADLINE, row.pk] = None
    _keep(
        row,
        state=state,
        version=row.version + 1,
        decision=verdict.decision,
        decided_by=verdict.by,
        decided_at=world.now,
        comment=verdict.comment,
        payload=verdict.payload,
    )


def _keep(row: Approval, **changed: Any) -> None:
    for name, value in changed.items():
        setattr(row, name, value)
    row.save(update_fields=list(changed))


def _recorded(row: Approval) -> Outcome:
    return Outcome("recorded", value=picture(row))


def _refused(row: Approval, why: str) -> Outcome:
    return Outcome("refused", detail=why, value=picture(row))


def picture(row: Approval) -> dict[str, Any]:
    """What whoever is refused needs to know."""
    return {
        "state": str(row.state),
        "version": row.version,
        "decision": row.decision or None,
        "decided_by": row.decided_by or None,
        "decided_at": moment(row.decided_at),
    }
