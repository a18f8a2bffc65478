"""What the push reads from the database, always off the event loop. Each function is blocking and for one thread."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import F

from accounts.auth import Caller
from tracker.live.protocol import Frame, Rows, encode, now
from tracker.models import Plan
from tracker.projections.lookup import find_plan, log_of
from tracker.projections.rows import public_row
from tracker.projections.snapshots import plan_snapshot

PAGE_ROWS = 1000
PAGE_BYTES = 128 * 1024  # in one page, about; a page has at least one row
ROW_BYTES = 500  # of a row, beside its data and envelope


def plan_key(caller: Caller, plan_id: str) -> int | None:
    """The primary key of a plan that the caller may see, else None."""
    plan = find_plan(caller.workspace_id, caller.tenant_id, plan_id)
    return None if plan is None else plan.pk


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A plan's whole picture at `seq`, as a frame."""

    seq: int
    frame: Frame


def snapshot(key: int, stream: str) -> Snapshot | None:
    """The plan's picture; None if the plan is gone."""
    try:
        data = plan_snapshot(Plan(pk=key))
    except Plan.DoesNotExist:
        return None
    seq = data["plan"]["seq"]
    return Snapshot(seq, encode("snapshot", stream=stream, seq=seq, data=data, time=now()))


@dataclass(frozen=True, slots=True)
class Page:
    """The log's head, and what of the log follows a seq (None: nothing)."""

    head: int
    rows: Rows | None


def page(key: int, stream: str, after: int) -> Page | None:
    """The rows after a seq, as many as go into one frame; None if the plan is gone."""
    head = Plan.objects.filter(pk=key).values_list("seq", flat=True).first()
    if head is None:
        return None
    rows: list[dict[str, Any]] = []
    size = 0
    if head > after:
        found = log_of(Plan(pk=key)).filter(seq__gt=after).annotate(wire_task=F("task__task_id"))[:PAGE_ROWS]
        for row in found.iterator(chunk_size=100):
            rows.append(public_row(row, row.wire_task))
            size += len(row.data) + len(row.envelope) + ROW_BYTES
            if size > PAGE_BYTES:
                break
    return Page(head, Rows.of(stream, rows, head) if rows else None)


def heads(keys: Iterable[int]) -> dict[int, int]:
    """The head of each plan's log by primary key; a plan that is gone is missing."""
    return dict(Plan.objects.filter(pk__in=list(keys)).values_list("pk", "seq"))
