"""Failures by kind: kept when they happen, in the transaction of the ledger that records them; counted when asked."""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import BigIntegerField, Count, ExpressionWrapper, F, Max, Min, QuerySet, Window
from django.db.models.functions import RowNumber

from tracker.fingerprints import kind_of
from tracker.models import Failure
from tracker.projections.instants import EpochMs
from tracker.projections.rows import moment
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.world import World

LONGEST_ERROR = 1000  # characters of an error that are kept with a failure; the log has it whole
BARS = 24  # of a sparkline
NEWEST = 20  # failures of a kind among which its newest plans are looked for
PLANS = 3  # that are named with a kind


def keep(world: World) -> None:
    """A witness of each batch: write down what failed in it. Costs nothing while nothing fails."""
    failed: list[Failure] = []
    begun_again: dict[int | None, int] = defaultdict(int)  # attempts that were begun later in this very batch
    for row in reversed(world.rows):
        if row.kind != "transition" or row.to_state not in {"failed", "pending"}:
            continue
        task = world.task_by_key(row.task_id)
        if row.to_state == "pending":
            begun_again[row.task_id] += row.from_state is not None
        elif task:
            failed.append(_of_task(row, task, task.attempt - begun_again[row.task_id]))
        elif json.loads(row.data).get("closed_by") != "rule":  # what follows from its tasks is told by them
            failed.append(_of_plan(row, world.plans[row.plan_id or 0]))
    if failed:
        Failure.objects.bulk_create(reversed(failed))


def _of_task(row: RowRecord, task: TaskRecord, attempt: int) -> Failure:
    failure = _failure(row, task.event_type)
    failure.task_id, failure.attempt, failure.agent = task.id, attempt, task.agent
    return failure


def _of_plan(row: RowRecord, plan: PlanRecord) -> Failure:
    failure = _failure(row, plan.goal_event)
    failure.agent = row.by.removeprefix("agent:") if row.by.startswith("agent:") else ""
    return failure


def _failure(row: RowRecord, task_type: str) -> Failure:
    error = str(json.loads(row.data).get("error") or row.reason)
    kind = kind_of(task_type, error)
    return Failure(
        workspace_id=row.workspace_id,
        tenant_id=row.tenant_id,
        plan_id=row.plan_id or 0,
        seq=row.seq or 0,
        type=task_type,
        fingerprint=kind.fingerprint,
        error_type=kind.error_type,
        message=kind.message,
        error=error[:LONGEST_ERROR],
        failed_at=row.recorded_at,
    )


# --- asked ---


def kinds(
    failures: QuerySet[Failure], start: datetime | None, end: datetime, *, below: int | None, limit: int
) -> list[dict[str, Any]]:
    """Kinds of these failures, the one that was met last first; four queries, whatever there is.

    `start` and `end` bound the sparkline (None: from its first failure on); `below`: only kinds whose newest failure
    has a smaller key, which each item says as `key`.
    """
    counted = (
        failures.order_by()
        .values("fingerprint")
        .annotate(
            count=Count("id"),
            plans=Count("plan", distinct=True),
            first=Min("failed_at"),
            last=Max("failed_at"),
            key=Max("id"),
        )
    )
    if below is not None:
        counted = counted.filter(key__lt=below)
    groups = list(counted.order_by("-key")[:limit])
    if not groups:
        return []
    some = failures.filter(fingerprint__in=[group["fingerprint"] for group in groups])
    examples = {failure.pk: failure for failure in with_relatives(failures.filter(pk__in=[g["key"] for g in groups]))}
    bars = _bars(some, start or min(group["first"] for group in groups), end)
    plans = _newest_plans(some)
    return [
        _kind(group, examples[group["key"]], bars[group["fingerprint"]], plans[group["fingerprint"]])
        for group in groups
    ]


def _kind(group: dict[str, Any], example: Failure, bars: list[int], plans: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "key": group["key"],
        "fingerprint": group["fingerprint"],
        "error_type": example.error_type or None,
        "message": example.message,
        "type": example.type,
        "of": "task" if example.task_id else "plan",
        "count": group["count"],
        "plan_count": group["plans"],
        "first_seen": moment(group["first"]),
        "last_seen": moment(group["last"]),
        "example": one(example),
        "plans": plans,
        "bars": bars,
    }


def one(failure: Failure) -> dict[str, Any]:
    """One failure in its public shape; wants `plan` and `task` read with it."""
    return {
        "fingerprint": failure.fingerprint,
        "plan_id": failure.plan.plan_id,
        "goal_event": failure.plan.goal_event,
        "plan_state": failure.plan.state,
        "task_id": failure.task.task_id if failure.task else None,
        "task": failure.task.name if failure.task else None,
        "state": failure.task.state if failure.task else failure.plan.state,
        "type": failure.type,
        "agent": failure.agent or None,
        "attempt": failure.attempt,
        "error_type": failure.error_type or None,
        "error": failure.error or None,
        "seq": failure.seq,
        "failed_at": moment(failure.failed_at),
    }


def with_relatives(failures: QuerySet[Failure]) -> QuerySet[Failure]:
    """The failures with their plan and task read along, without the long texts of these."""
    return failures.select_related("plan", "task").defer(
        "plan__goal_data", "plan__error", "task__error", "task__message"
    )


def _bars(failures: QuerySet[Failure], start: datetime, end: datetime) -> dict[str, list[int]]:
    """How many there were of each kind in each of the equal parts of the time from `start` to `end`."""
    first = round(start.timestamp() * 1000)
    width = max(1, -(-(round(end.timestamp() * 1000) + 1 - first) // BARS))
    place = ExpressionWrapper((EpochMs("failed_at") - first) / width, output_field=BigIntegerField())
    bars: dict[str, list[int]] = defaultdict(lambda: [0] * BARS)
    counted = failures.order_by().annotate(place=place).values("fingerprint", "place").annotate(count=Count("id"))
    for kind, at, count in counted.values_list("fingerprint", "place", "count"):
        bars[kind][min(max(at, 0), BARS - 1)] += count
    return bars


def _newest_plans(failures: QuerySet[Failure]) -> dict[str, list[dict[str, Any]]]:
    """The plans that met each kind last."""
    ranked = failures.annotate(rank=Window(RowNumber(), partition_by=F("fingerprint"), order_by=F("id").desc())).filter(
        rank__lte=NEWEST
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = ("fingerprint", "plan__plan_id", "plan__goal_event", "plan__state", "rank")
    for kind, plan_id, goal, state, _ in ranked.order_by("fingerprint", "rank").values_list(*columns):
        if len(found[kind]) < PLANS and all(plan["plan_id"] != plan_id for plan in found[kind]):
            found[kind].append({"plan_id": plan_id, "goal_event": goal, "state": state})
    return found


def types(failures: QuerySet[Failure], most: int = 200) -> Sequence[str]:
    """The types of what failed, in the order of the alphabet."""
    return list(failures.order_by("type").values_list("type", flat=True).distinct()[:most])


def kin(plan_key: int, seq: int) -> dict[str, Any] | None:
    """Of the failure that this row of a plan's log tells: how often its kind was met, in how many plans, since when."""
    failure = Failure.objects.filter(plan_id=plan_key, seq=seq).first()
    if failure is None:
        return None
    same = Failure.objects.filter(
        workspace_id=failure.workspace_id, tenant_id=failure.tenant_id, fingerprint=failure.fingerprint
    )
    found = same.aggregate(
        count=Count("id"), plans=Count("plan", distinct=True), first=Min("failed_at"), last=Max("failed_at")
    )
    return {
        "fingerprint": failure.fingerprint,
        "error_type": failure.error_type or None,
        "message": failure.message,
        "count": found["count"],
        "plan_count": found["plans"],
        "first_seen": moment(found["first"]),
        "last_seen": moment(found["last"]),
    }
