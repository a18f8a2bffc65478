"""Figures of agents, kinds of tasks, goals and the workspace. One path: what the SDK asks of an agent, and reports."""

from datetime import UTC, datetime
from typing import Literal

from django.http import HttpResponse
from ninja import Query, Router, Schema
from pydantic import AwareDatetime, Field

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, CallerRequest, answer
from tracker.errors import Invalid
from tracker.metrics import agent_metrics, period_length, report
from tracker.schemas import Tenant

router = Router(tags=["metrics"])
DAY = "1d"


class Percentiles(Schema):
    """Seconds, to the millisecond; null where nothing was timed."""

    p50: float | None
    p95: float | None
    p99: float | None


class Work(Percentiles):
    """The same with the mean."""

    avg: float | None


class Figures(Schema):
    """Of tasks created in a time: work is start to end of completed ones, queue is creation to start."""

    total_tasks: int
    completed_tasks: int
    failed_tasks: int
    cancelled_tasks: int
    open_tasks: int
    success_rate: float = Field(ge=0, le=1)
    throughput_per_hour: float
    retries: int
    stalls: int
    stalled_tasks: int
    work_seconds: Work
    queue_seconds: Percentiles


class AgentMetrics(Figures):
    """How an agent did in a period."""

    agent_id: str
    period: str
    avg_duration_seconds: float


class Bucket(Figures):
    """The tasks created in the time that begins then."""

    at: datetime


class Group(Figures):
    """The tasks of one name. `series`: its buckets, those with tasks, if one was asked for."""

    name: str
    series: list[Bucket] = []


class Report(Schema):
    """Figures by name, most tasks first."""

    by: str
    since: datetime
    until: datetime
    bucket: str | None
    items: list[Group]


class Asked(Schema):
    """What is asked: an agent's figures of a period, or a report."""

    agent_id: str | None = Field(None, description="an agent's name or an instance's id; with `period`")
    period: str | None = Field(None, description="15m, 1h, 7d, 2w: back from now, or from `until`")
    by: Literal["agent", "task_type", "goal", "workspace"] | None = Field(None, description="a report by these")
    since: AwareDatetime | None = Field(None, description="of a report; else `period`, else a day")
    until: AwareDatetime | None = Field(None, description="of a report; else now")
    bucket: str | None = Field(None, description="of a report: also in times of whole hours, as in 1h, 1d")
    limit: int = Field(50, ge=1, le=200, description="names in a report")


@router.get("/tracker/metrics", response={200: AgentMetrics | Report, **MISSING})
@needs("read")
def metrics(request: CallerRequest, asked: Query[Asked], tenant: Tenant = None) -> HttpResponse:
    """With `agent_id` and `period` an agent's figures; with `by` those of every name, of any time, also in buckets."""
    seen = sight(request, tenant)
    if asked.by is None:
        missing = [name for name in ("agent_id", "period") if getattr(asked, name) is None]
        if missing:
            faults = [{"pointer": f"/{name}", "detail": "is required without `by`"} for name in missing]
            raise Invalid("say which agent and which period, or `by` what to report", errors=faults)
        return answer(agent_metrics(seen, asked.agent_id or "", asked.period or ""))
    until = asked.until or datetime.now(UTC)
    since = asked.since or until - period_length(asked.period or DAY)
    told = report(seen, asked.by, since, until, asked.bucket, asked.limit)
    if asked.by == "workspace":
        for item in told["items"]:
            item["name"] = request.caller.workspace
    return answer(told)
