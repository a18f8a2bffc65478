"""What another process committed and this one was not told of: read from the log, as it would have been told."""

from collections.abc import Sequence
from functools import partial

from tracker import sql
from tracker.changes import Batch, Recorded
from tracker.models import LogRow, Plan, Task
from tracker.projections.rows import public_row
from tracker.records import RowRecord
from tracker.wire import delivery


def count(after: int, upto: int) -> int:
    """How many log rows have keys beyond `after` and not beyond `upto`."""
    return LogRow.objects.filter(id__gt=after, id__lte=upto).count()


def keys(after: int, upto: int) -> list[int]:
    """Their keys, in order."""
    return list(LogRow.objects.filter(id__gt=after, id__lte=upto).order_by("id").values_list("id", flat=True))


def batch(row_ids: Sequence[int]) -> Batch:
    """These log rows as a commit; of deadlines, and of what is handed over again, it knows nothing."""
    where, values = sql.among({"id": row_ids})
    rows = sql.select(RowRecord, where, values, tail="ORDER BY id")
    plans = dict(Plan.objects.filter(pk__in={row.plan_id for row in rows}).values_list("pk", "plan_id"))
    tasks = dict(Task.objects.filter(pk__in={row.task_id for row in rows}).values_list("pk", "task_id"))
    recorded = [
        Recorded(
            row.id, row.workspace_id, row.tenant_id, row.plan_id, plans[row.plan_id] if row.plan_id else "",
            partial(public_row, row, tasks[row.task_id] if row.task_id else None),
        )
        for row in rows
    ]  # fmt: skip
    messages = [delivery(row) for row in rows if row.kind == LogRow.Kind.MESSAGE]
    return Batch([], recorded, messages, row_count=len(rows), plan_count=len(plans))
