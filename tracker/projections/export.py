"""A plan to take away: all of it as one JSON document, or its log as one row a line."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from asgiref.sync import sync_to_async
from django.db.models import F
from django.utils import timezone

from tracker.models import Link, Plan, Task
from tracker.projections.lookup import log_of, one_moment, with_relatives
from tracker.projections.rows import moment, public_row
from tracker.projections.snapshots import plan_snapshot

PAGE_ROWS = 500  # of a log in one read
PAGE_BYTES = 1024 * 1024  # of their data, about; a page has at least one row
LINKS = ("kind", "key", "task__task_id", "context_key", "group_id", "done")


class CutShort(Exception):
    """The log went away while it was being read: what was sent so far must not pass for the whole."""


def document(plan: Plan) -> dict[str, Any]:
    """{"exported_at", "seq", "plan", "tasks", "links", "sub_plans"}, all true at `seq`, for orjson.

    Raises Plan.DoesNotExist if the plan is gone meanwhile.
    """
    with one_moment():
        picture = plan_snapshot(plan, log_rows=0)
        tasks = with_relatives(Task.objects.filter(plan=plan)).order_by("position")
        links = Link.objects.filter(plan=plan).order_by("id").values_list(*LINKS)
        family = Plan.objects.filter(workspace_id=plan.workspace_id, tenant_id=plan.tenant_id)
        subs = family.filter(parent_plan_id=plan.plan_id).exclude(parent_plan_id="").order_by("id")
        return {
            "exported_at": moment(timezone.now()),
            "seq": picture["plan"]["seq"],
            "plan": picture["plan"],
            "tasks": [shown | _more(task) for shown, task in zip(picture["tasks"], tasks, strict=True)],
            "links": [_link(*row) for row in links],
            "sub_plans": [
                {"plan_id": plan_id, "goal_event": goal, "state": state}
                for plan_id, goal, state in subs.values_list("plan_id", "goal_event", "state")
            ],
        }


def _more(task: Task) -> dict[str, Any]:
    """What a page does not show of a task."""
    return {
        "agent_id": task.agent_id or None,
        "correlation_id": task.correlation_id or None,
        "response_event": task.response_event or None,
        "request_event_id": task.request_event_id or None,
        "updated_at": moment(task.updated_at),
    }


def _link(kind: str, key: str, task_id: str | None, context_key: str, group_id: str, done: bool) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": key,
        "task_id": task_id,
        "context_id": context_key or None,
        "group_id": group_id or None,
        "done": done,
    }


async def log_lines(plan: Plan) -> AsyncIterator[bytes]:
    """The rows 1 to `plan.seq` of the plan's log as NDJSON, in pieces of about a megabyte.

    Raises CutShort when the plan goes away on the way.
    """
    done = 0
    while done < plan.seq:
        done, lines = await sync_to_async(_page)(plan, done)
        yield lines


def _page(plan: Plan, after: int) -> tuple[int, bytes]:
    """The rows after a seq, as many as go into one piece: (the last one's seq, the lines)."""
    lines: list[bytes] = []
    size = 0
    rows = log_of(plan).filter(seq__gt=after, seq__lte=plan.seq).annotate(wire_task=F("task__task_id"))[:PAGE_ROWS]
    for row in rows.iterator(chunk_size=50):
        after += 1
        if row.seq != after:
            break
        lines.append(orjson.dumps(public_row(row, row.wire_task), option=orjson.OPT_APPEND_NEWLINE))
        size += len(lines[-1])
        if size > PAGE_BYTES:
            break
    if not lines or (row.seq or 0) != after:
        raise CutShort(f"row {after + 1} of {plan.seq} is not there any more")
    return after, b"".join(lines)
