"""The page of metrics: how the workspace has done in a time, by agent, kind of task or goal, as charts and tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.auth import MemberRequest, member_required
from tracker import charts
from tracker.metrics import figures, report
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment
from tracker.tallies import Tally

# Name, words, length, bucket in hours, how a bucket is called.
PERIODS = (
    ("1d", "24 hours", timedelta(days=1), 1, "%H:%M"),
    ("7d", "7 days", timedelta(days=7), 6, "%d %b %H:%M"),
    ("30d", "30 days", timedelta(days=30), 24, "%d %b"),
)
BY = (("agent", "Agents"), ("task_type", "Task types"), ("goal", "Goals"))
ENDS = ("completed", "failed", "cancelled", "open")
NAMES = 50


@never_cache
@require_GET
@member_required
def metrics(request: MemberRequest) -> HttpResponse:
    """`period` (1d, 7d, 30d) and `by` (agent, task_type, goal) choose what is shown."""
    period = _chosen(request, "period", [one[0] for one in PERIODS])
    by = _chosen(request, "by", [one[0] for one in BY])
    _, words, length, hours, pattern = next(one for one in PERIODS if one[0] == period)
    sight, each = Sight.of(request.caller), timedelta(hours=hours)
    until = _end_of_bucket(datetime.now(UTC), each)
    since = until - length
    whole = report(sight, "workspace", since, until, f"{hours}h", 1)["items"]
    series = {bucket["at"]: bucket for bucket in (whole[0]["series"] if whole else [])}
    rows = [_row(since + number * each, series, pattern) for number in range(length // each)]
    context = {
        "whole": whole[0] if whole else figures(Tally(), length),
        "rows": rows,
        "charts": _charts(rows) if whole else [],
        "ticks": charts.ticks([row["label"] for row in rows]),
        "items": report(sight, by, since, until, None, NAMES)["items"],
        "periods": [one[:2] for one in PERIODS],
        "bys": BY,
        "period": period,
        "by": by,
        "by_words": dict(BY)[by],
        "words": words,
        "section": "metrics",
    }
    return render(request, "tracker/metrics.html", context)


def _chosen(request: HttpRequest, name: str, known: list[str]) -> str:
    asked = request.GET.get(name, "")
    return asked if asked in known else known[0]


def _end_of_bucket(at: datetime, each: timedelta) -> datetime:
    beginning = datetime(1970, 1, 1, tzinfo=UTC)
    return beginning + ((at - beginning) // each + 1) * each


def _row(at: datetime, series: dict[str, Any], pattern: str) -> dict[str, Any]:
    """A bucket as the tables show it."""
    found = series.get(moment(at) or "") or figures(Tally(), timedelta(hours=1))
    return {"at": moment(at), "label": at.strftime(pattern), **found}


def _charts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    outcomes = [[row[f"{end}_tasks"] for end in ENDS] for row in rows]
    work = [[row["work_seconds"][name] for name in ("p50", "p95")] for row in rows]
    queue = [[row["queue_seconds"][name] for name in ("p50", "p95")] for row in rows]
    labels = [row["label"] for row in rows]
    return [
        _chart("Tasks created, by what became of them", "tasks", ENDS, labels, outcomes, stacked=True),
        _chart("Time of work, of completed tasks", "seconds", ("p50", "p95"), labels, work),
        _chart("Time of waiting for an agent", "seconds", ("p50", "p95"), labels, queue),
    ]


def _chart(
    title: str, unit: str, names: tuple[str, ...], labels: list[str], rows: list[list[Any]], *, stacked: bool = False
) -> dict[str, Any]:
    shape = charts.stacked(rows, names) if stacked else charts.lines(rows, names)
    table = [{"label": label, "values": row} for label, row in zip(labels, rows, strict=True)]
    return {"title": title, "unit": unit, "names": names, "table": table, "stacked": stacked, **shape}
