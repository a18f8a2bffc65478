"""Approvals as the API, the pages and the push show them."""

from collections.abc import Collection
from typing import Any

import orjson
from django.db.models import Case, Prefetch, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Length, StrIndex
from django.db.models.lookups import GreaterThan

from planner.models import Approval, Vote
from tracker.envelope import dumps
from tracker.errors import NotFound
from tracker.live.list_stream import View
from tracker.live.protocol import Item, stamp_of
from tracker.models import LogRow
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment

LONG = ("description", "args", "options", "response_schema", "payload")
LONGEST = 16_000  # characters of each of these in a list; the card by itself has it whatever its size
LONGEST_LIST = 1000  # of the stream
_NOTHING = {"description": "", "args": "null", "options": "null", "response_schema": "null", "payload": "null"}

CardRows = QuerySet[Approval]


def seen(sight: Sight) -> CardRows:
    """The approvals in sight, with what a card shows of their plans, tasks and votes."""
    votes = Prefetch("votes", Vote.objects.order_by("id"))
    rows = sight.within(Approval.objects.all()).select_related("plan", "task").prefetch_related(votes)
    return rows.only(*_COLUMNS, *_OF_PLAN, *_OF_TASK)


def one(sight: Sight, approval_id: str) -> Approval:
    """The approval of this id, or the newest of the task of this id; raises NotFound."""
    rows = seen(sight).order_by("-id")
    found = None
    if "\x00" not in approval_id:
        found = rows.filter(approval_id=approval_id).first() or rows.filter(task__task_id=approval_id).first()
    if found is None:
        raise NotFound("there is no approval with this id")
    return found


_COLUMNS = [field.name for field in Approval._meta.concrete_fields if field.name != "workspace"]
_OF_PLAN = ("plan__plan_id", "plan__goal_event", "plan__state")
_OF_TASK = ("task__task_id", "task__name", "task__response_event", "task__correlation_id")


def shortened(rows: CardRows) -> CardRows:
    """The same for lists: long values are left in the database, and named by `left_out`."""
    short = {
        f"short_{name}": Case(
            When(Q(**{f"length_{name}__lte": LONGEST}), then=name), default=Value(""), output_field=TextField()
        )
        for name in LONG
    }
    rows = rows.annotate(**{f"length_{name}": Length(name) for name in LONG}).annotate(**short)
    return rows.defer(*LONG)


def assigned(name: str) -> Q:
    """Those that name this person."""
    # Not LIKE, which looks at no case in SQLite.
    return Q(GreaterThan(StrIndex("assignees", Value(dumps(name.removeprefix("user:")))), 0))


def card(row: Approval) -> dict[str, Any]:
    """One approval in full, for orjson."""
    return _card(row, {name: getattr(row, name) for name in LONG}, [])


def short_card(row: Approval) -> dict[str, Any]:
    """An approval of a list; `left_out` names what is too long for it."""
    left_out = [name for name in LONG if getattr(row, f"length_{name}") > LONGEST]
    short = {name: _NOTHING[name] if name in left_out else getattr(row, f"short_{name}") for name in LONG}
    return _card(row, short, left_out)


def _card(row: Approval, long: dict[str, str], left_out: list[str]) -> dict[str, Any]:
    json = {name: orjson.Fragment(text) for name, text in long.items() if name != "description"}
    return _line(row) | {
        "description": long["description"],
        "left_out": left_out,
        **json,
        "votes": [_vote(vote) for vote in row.votes.all()],
        "response_event": row.task.response_event or None,
        "correlation_id": row.task.correlation_id or None,
        "decision": row.decision or None,
        "decided_by": row.decided_by or None,
        "decided_at": moment(row.decided_at),
        "comment": row.comment or None,
        "delivered_at": moment(row.delivered_at),
    }


def _line(row: Approval) -> dict[str, Any]:
    return {
        "id": row.approval_id,
        "plan_id": row.plan.plan_id,
        "goal_event": row.plan.goal_event,
        "task_id": row.task.task_id,
        "task_name": row.task.name,
        "state": row.state,
        "version": row.version,
        "title": row.title,
        "action": row.action or None,
        "risk": row.risk,
        "allow": orjson.Fragment(row.allow),
        "assignees": orjson.Fragment(row.assignees),
        "quorum": row.quorum,
        "reject_quorum": row.reject_quorum,
        "reject_needs_comment": row.reject_needs_comment,
        "blocks": row.blocks or None,
        "requested_by": row.requested_by,
        "requested_at": moment(row.requested_at),
        "expires_at": moment(row.expires_at),
        "on_expiry": row.on_expiry,
        "escalate_to": orjson.Fragment(row.escalate_to),
        "tenant_id": row.tenant_id,
    }


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        "by": vote.by,
        "decision": vote.decision,
        "comment": vote.comment or None,
        "payload": orjson.Fragment(vote.payload),
        "at": moment(vote.at),
    }


def answered(row: Approval) -> dict[str, Any] | None:
    """The plan's next step: the first message of the asking agent that came after the decision.

    `{seq, type, at}`, None while there is none.
    """
    if row.decided_at is None or row.state == Approval.State.WITHDRAWN:
        return None
    later = LogRow.objects.filter(plan_id=row.plan_id, kind=LogRow.Kind.MESSAGE, recorded_at__gt=row.decided_at)
    mine = later.filter(source=row.requested_by.removeprefix("agent:")).order_by("seq")
    found = mine.values_list("seq", "type", "recorded_at").first()
    return {"seq": found[0], "type": found[1], "at": moment(found[2])} if found else None


class Waiting:
    """The list stream `approvals`: those that wait for a decision, the oldest first; an item's id is the approval's."""

    whole = True

    def window(self, view: View) -> list[Item]:
        """All of them."""
        rows = seen(view.sight).filter(state=Approval.State.PENDING).defer(*LONG).order_by("id")[:LONGEST_LIST]
        return [_item(row) for row in rows]

    def changed(self, view: View, keys: Collection[int]) -> tuple[list[Item], list[str]]:
        """Not asked for: the window is the whole list."""
        return self.window(view), []


def _item(row: Approval) -> Item:
    votes = [{"by": vote.by, "decision": vote.decision} for vote in row.votes.all()]
    body = _line(row) | {"votes": votes}
    stamp = stamp_of(body)
    return Item(row.approval_id, stamp, {**body, "stamp": stamp})


def moved(row: dict[str, Any]) -> bool:
    """Whether a row of a log, in its public shape, may concern an approval."""
    states = row["from_state"], row["to_state"]
    return "awaiting_approval" in states or str(row["type"]).startswith("approval.")
