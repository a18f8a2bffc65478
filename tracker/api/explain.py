"""What went wrong in a plan, and a plan to take away. An id may hold slashes: these come before `/plans/{id}`."""

import re
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import orjson
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, CallerRequest, answer
from tracker.errors import NotFound
from tracker.explain import explain
from tracker.models import Plan
from tracker.projections import export
from tracker.projections.evidence import evidence_of
from tracker.projections.lookup import Sight, one_moment
from tracker.projections.story import markdown
from tracker.schemas import JsonObject, Tenant

router = Router(tags=["plans"])
GONE = "there is no plan with this id"


class Counted(Schema):
    """Some of what there is, and how much there is."""

    count: int
    items: list[JsonObject]


class FirstBad(Schema):
    """The first bad transition, in the order of causes. `plan_id`: of the sub-plan it lies in, or of the plan."""

    kind: Literal["failed", "cancelled", "stalled"]
    plan_id: str
    task_id: str | None = Field(description="null: the plan itself was ended")
    task: str | None
    event_type: str | None
    state: str
    agent: str | None
    agent_id: str | None
    attempt: int | None
    attempts: list[JsonObject] = Field(description="all that went wrong with the task: attempt, kind, seq, recorded_at")
    error: str | None
    reason: str | None
    by: str | None
    seq: int | None
    event_id: str | None
    occurred_at: datetime
    recorded_at: datetime
    payload: JsonObject | None = Field(description="the last one before: seq, type, source, size, data or beginning")
    kin: JsonObject | None = Field(description="failures of its kind: fingerprint, count, plans, first_seen, last_seen")


class Option(Schema):
    """Something that can be done, or why it cannot."""

    do: str
    subject: str
    id: str
    name: str
    legal: bool = Field(description="the state table allows it now")
    why: str = Field(description="what it does, or what it would need")
    call: str | None = Field(description="the request that does it")


class Story(Schema):
    """What went wrong in a plan, or how it stands. `root` is null when nothing is wrong now."""

    plan_id: str
    goal_event: str
    state: str
    seq: int = Field(description="head of the log that it tells of")
    verdict: str = Field(description="one sentence")
    root: FirstBad | None
    consequences: Counted = Field(
        description="what failed, was cancelled, waits or was left open because of it, folded"
    )
    others: Counted = Field(description="what went wrong by itself besides")
    waits: Counted = Field(description="what waits now, on what, and since when, folded")
    mended: Counted = Field(description="tasks that failed and were tried again, or whose failure did not count")
    refused: Counted = Field(description="messages that the state table refused")
    above: JsonObject | None = Field(description="the plan and task that this plan works for")
    last_success: JsonObject | None = Field(
        description="the newest other plan of this goal that completed: same, divergence, pairs"
    )
    options: list[Option]


class AsText(Schema):
    """In which form."""

    format: Literal["", "json", "markdown"] = Field("", description="else by the Accept header")
    tenant: Tenant = None


class AsFile(Schema):
    """In which form."""

    format: Literal["json", "ndjson"] = Field("json", description="the whole plan, or its log with one row a line")
    tenant: Tenant = None


class Exported(Schema):
    """The whole plan, true at `seq`."""

    exported_at: datetime
    seq: int
    plan: JsonObject
    tasks: list[JsonObject]
    links: list[JsonObject] = Field(description="how messages found the plan and its tasks")
    sub_plans: list[JsonObject]


MARKDOWN = "text/markdown; charset=utf-8"
NDJSON = "application/x-ndjson"


@router.get("/tracker/plans/{id:plan_id}/explain", response={200: Story, **MISSING})
@needs("read")
def plan_explain(request: CallerRequest, plan_id: str, which: Query[AsText]) -> HttpResponse:
    """What went wrong, what came of it, what waits on what, and what can be done. As Markdown if asked for it."""
    story = story_of(sight(request, which.tenant), plan_id)
    if which.format == "markdown" or (not which.format and _wants_markdown(request)):
        response = HttpResponse(markdown(story), content_type=MARKDOWN)
    else:
        response = answer(story)
    response["Vary"] = "Accept"
    return response


def story_of(seen: Sight, plan_id: str) -> dict[str, Any]:
    """The story of a plan in sight; raises NotFound."""
    with one_moment():
        return explain(evidence_of(seen.plan(plan_id)))


def _wants_markdown(request: HttpRequest) -> bool:
    accepted = request.get_preferred_type(["application/json", "text/markdown"])
    return accepted == "text/markdown"


@router.get("/tracker/plans/{id:plan_id}/export", response={200: Exported, **MISSING})
@needs("read")
def plan_export(request: CallerRequest, plan_id: str, which: Query[AsFile]) -> HttpResponse | StreamingHttpResponse:
    """The whole plan as a file; `format=ndjson`: its log up to now, `Soorma-Plan-Seq` says to which row."""
    plan = sight(request, which.tenant).plan(plan_id)
    response: HttpResponse | StreamingHttpResponse
    if which.format == "ndjson":
        response = StreamingHttpResponse(export.log_lines(plan), content_type=NDJSON)
        response["Soorma-Plan-Seq"] = str(plan.seq)
    else:
        try:
            whole = export.document(plan)
        except Plan.DoesNotExist as error:
            raise NotFound(GONE) from error
        response = HttpResponse(orjson.dumps(whole), content_type="application/json")
        response["Soorma-Plan-Seq"] = str(whole["seq"])
    response["Content-Disposition"] = _attachment(plan_id, which.format)
    return response


def _attachment(plan_id: str, suffix: str) -> str:
    """A file name that any system can have, and beside it the id as it is."""
    plain = re.sub(r"[^\w.-]+", "-", plan_id, flags=re.ASCII).strip(".-")[:80] or "plan"
    whole = quote(f"plan-{plan_id[:80]}.{suffix}", safe="")
    return f"attachment; filename=\"plan-{plain}.{suffix}\"; filename*=UTF-8''{whole}"
