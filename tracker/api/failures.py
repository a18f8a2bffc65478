"""Failures by kind, and one by one."""

from datetime import datetime
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema
from pydantic import BeforeValidator, Field

from accounts.auth import needs
from tracker.api.paging import cursor_after, key_of, page, page_body
from tracker.api.reading import sight
from tracker.api.wire import REFUSALS, CallerRequest, answer
from tracker.envelope import Moment, Text
from tracker.failures import BARS, kinds, one, with_relatives
from tracker.models import Failure
from tracker.projections.lookup import Sight
from tracker.schemas import JsonObject, Page, _none_if_blank

router = Router(tags=["failures"])


class FailureFilter(Page):
    """Which failures; conditions that are not given let all pass."""

    since: Annotated[Moment | None, BeforeValidator(_none_if_blank)] = Field(None, description="then or later")
    until: Annotated[Moment | None, BeforeValidator(_none_if_blank)] = Field(None, description="before then")
    type: Text = Field("", description="the task's event type, or the goal of a plan that was ended as failed")
    agent: Text = Field("", description="name of the agent that held the task")
    plan: Text = Field("", description="id of the plan")
    fingerprint: Text = Field("", description="of one kind")


class FailureItem(Schema):
    """A failure of a task, once for each attempt that failed; or of a plan that somebody ended as failed (no task)."""

    fingerprint: str
    plan_id: str
    goal_event: str
    plan_state: str = Field(description="of the plan now")
    task_id: str | None
    task: str | None
    state: str = Field(description="of the task now, or of the plan")
    type: str
    agent: str | None
    attempt: int | None
    error_type: str | None
    error: str | None = Field(description="the beginning of its text")
    seq: int = Field(description="of the row of the plan's log that tells it")
    failed_at: datetime


class FailureKind(Schema):
    """Failures with the same type of error, the same message but for what differs each time, and the same type."""

    fingerprint: str
    error_type: str | None
    message: str = Field(description="without numbers, ids, quoted values, paths, addresses and times")
    type: str
    of: str = Field(description="task or plan")
    count: int
    plan_count: int
    first_seen: datetime
    last_seen: datetime
    example: FailureItem = Field(description="the newest")
    plans: list[JsonObject] = Field(description="the three that met it last: plan_id, goal_event, state")
    bars: list[int] = Field(description=f"how many in each of {BARS} equal parts of the period")


class FailureKinds(Schema):
    """Kinds of failures, the one that was met last first."""

    items: list[FailureKind]
    next_cursor: str | None


class FailurePage(Schema):
    """Failures, newest first."""

    items: list[FailureItem]
    next_cursor: str | None


@router.get("/tracker/failures", response={200: FailureKinds, **REFUSALS})
@needs("read")
def failure_kinds(request: CallerRequest, which: Query[FailureFilter]) -> HttpResponse:
    """What fails, by kind; the kind that was met last first."""
    items, cursor = page_of_kinds(sight(request, which.tenant), which)
    return answer(page_body(items, cursor))


@router.get("/tracker/failures/each", response={200: FailurePage, **REFUSALS})
@needs("read")
def each_failure(request: CallerRequest, which: Query[FailureFilter]) -> HttpResponse:
    """Failures one by one, newest first; those of one kind by its `fingerprint`."""
    failures = with_relatives(chosen(sight(request, which.tenant), which))
    found, cursor = page("failures", failures, which.cursor, which.limit)
    return answer(page_body([one(failure) for failure in found], cursor))


def chosen(seen: Sight, which: FailureFilter) -> QuerySet[Failure]:
    """Those of the failures in sight that the filter lets pass."""
    exact = {"type": which.type, "agent": which.agent, "plan__plan_id": which.plan, "fingerprint": which.fingerprint}
    bounds = {"failed_at__gte": which.since, "failed_at__lt": which.until}
    wanted = {name: value for name, value in (exact | bounds).items() if value}
    return seen.within(Failure.objects.filter(**wanted))


def page_of_kinds(seen: Sight, which: FailureFilter) -> tuple[list[dict[str, Any]], str | None]:
    """One page of kinds, and the next one's cursor."""
    below = key_of("failure-kinds", which.cursor) if which.cursor else None
    end = which.until or timezone.now()
    found = kinds(chosen(seen, which), which.since, end, below=below, limit=which.limit + 1)
    shown = found[: which.limit]
    cursor = cursor_after("failure-kinds", shown[-1]["key"]) if len(found) > which.limit else None
    for item in shown:
        del item["key"]
    return shown, cursor
