"""How agents, kinds of tasks, goals and the workspace have done: counted and timed, from kept counts, exactly."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet

from tracker import rollups
from tracker.errors import Invalid, NotFound
from tracker.models import Rollup, Task
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment
from tracker.rollups import HOUR, Found, Which, micros
from tracker.tallies import QUANTILES, Tally, percentiles

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3650)
MOST_BUCKETS = 1000
BY = {"agent": Rollup.Kind.AGENT, "task_type": Rollup.Kind.TASK_TYPE, "goal": Rollup.Kind.GOAL}
Figures = dict[str, Any]


def period_length(period: str, at: str = "period") -> timedelta:
    """The length of a period written as 15m, 1h, 7d or 2w, up to ten years; raises Invalid, which names `at`."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", period, re.ASCII)
    length = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > LONGEST:
        raise _unreadable(at, "a number and m, h, d or w, as in 15m, 1h, 7d; at most 3650d")
    return length


def _unreadable(at: str, detail: str) -> Invalid:
    return Invalid(f"the {at} cannot be read", errors=[{"pointer": f"/{at}", "detail": detail}])


# --- whose tasks ------------------------------------------------------------------------------------------------------


def _known_as(sight: Sight, agent: str) -> tuple[list[str], list[str]]:
    """The names that an agent's name or id stands for, and names of which it is one instance."""
    registered = (
        sight.agents().filter(Q(agent_id=agent) | Q(name=agent)).values_list("agent_id", "base_name").distinct()
    )
    names = {agent} | {base_name for agent_id, base_name in registered if agent_id != agent}
    return sorted(names), sorted({base_name for agent_id, base_name in registered if agent_id == agent})


def tasks_of(sight: Sight, agent: str) -> QuerySet[Task]:
    """The tasks that an agent held: all of a name (with or without its version), or those of one instance."""
    if "\x00" in agent:
        return Task.objects.none()
    names, hosts = _known_as(sight, agent)
    # An instance by the name as well: that is what the index begins with.
    return sight.tasks().filter(Q(agent__in=names) | Q(agent__in=hosts, agent_id=agent))


def _tally_of(sight: Sight, agent: str, since: int) -> Tally:
    names, hosts = _known_as(sight, agent)
    asked = [Which(sight, Rollup.Kind.AGENT, tuple(names), since=since)]
    if others := tuple(sorted(set(hosts) - set(names))):
        asked.append(Which(sight, Rollup.Kind.INSTANCE, others, agent, since=since))
    return merged(found.of(0) for which in asked for found in rollups.read(which).values())


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of these together."""
    whole = Tally()
    for tally in tallies:
        whole.take(tally)
    return whole


# --- figures ----------------------------------------------------------------------------------------------------------


def agent_metrics(sight: Sight, agent: str, period: str) -> Figures:
    """The agent's tasks that were created in the last `period`; the rate is that of completed to completed and failed.

    Raises Invalid for a period that cannot be read, NotFound for an agent that neither registered nor held a task.
    """
    length = period_length(period)
    tally = Tally() if "\x00" in agent else _tally_of(sight, agent, micros(datetime.now(UTC) - length))
    if not tally.total and not tasks_of(sight, agent).exists() and not _registered(sight, agent):
        raise NotFound("there is no agent with this id or name")
    told = figures(tally, length)
    return {"agent_id": agent, "period": period, **told, "avg_duration_seconds": told["work_seconds"]["avg"] or 0.0}


def _registered(sight: Sight, agent: str) -> bool:
    named = Q(agent_id=agent) | Q(base_name=agent) | Q(name=agent)
    return "\x00" not in agent and sight.agents().filter(named).exists()


def figures(tally: Tally, length: timedelta) -> Figures:
    """What is said of tasks that were created within a time of this length; seconds are None where nothing was timed.

    {total_tasks, completed_tasks, failed_tasks, cancelled_tasks, open_tasks, success_rate, throughput_per_hour (of
    completed ones), retries, stalls (how often one stalled), stalled_tasks (now), work_seconds: {avg, p50, p95, p99}
    (start to end, of completed ones), queue_seconds: {p50, p95, p99} (creation to start)}.
    """
    states = tally.states
    completed, failed, cancelled = (states[state] for state in ("completed", "failed", "cancelled"))
    judged = completed + failed
    worked = sum(map(len, tally.work))
    return {
        "total_tasks": tally.total,
        "completed_tasks": completed,
        "failed_tasks": failed,
        "cancelled_tasks": cancelled,
        "open_tasks": tally.total - judged - cancelled,
        "success_rate": completed / judged if judged else 0.0,
        "throughput_per_hour": completed / (length / timedelta(hours=1)),
        "retries": tally.retries,
        "stalls": tally.stalls,
        "stalled_tasks": tally.stalled,
        "work_seconds": {"avg": tally.work_us / worked / 1e6 if worked else None, **_percentiles(tally.work)},
        "queue_seconds": _percentiles(tally.queue),
    }


def _percentiles(lists: list[Any]) -> dict[str, float | None]:
    found = zip(QUANTILES, percentiles(lists), strict=True)
    return {f"p{round(100 * quantile)}": None if ms is None else ms / 1000 for quantile, ms in found}


def report(sight: Sight, by: str, since: datetime, until: datetime, bucket: str | None, limit: int) -> Figures:
    """Figures by `agent`, `task_type`, `goal` or `workspace`, of tasks created from `since` until before `until`.

    {by, since, until, bucket, items: [{name, figures ..., series: [{at, figures ...}]}]}, those with most tasks first;
    `series` only with a bucket (whole hours, as in 1h, 1d), of the buckets in which there are tasks. Buckets begin at
    whole multiples of their length since 1970. Raises Invalid.
    """
    if not since < until:
        raise _unreadable("since", "must be before `until`")
    length, size = until - since, _size(bucket, until - since)
    found = rollups.read(
        Which(sight, BY.get(by, Rollup.Kind.TASK_TYPE), since=micros(since), until=micros(until)), size
    )
    if by == "workspace":
        found = {"": _all(found.values())} if found else {}
    totals = {name: merged(one.buckets.values()) for name, one in found.items()}
    names = sorted(found, key=lambda name: (-totals[name].total, name))[:limit]
    items = [{"name": name, **figures(totals[name], length), **_series(found[name], size)} for name in names]
    return {"by": by, "since": moment(since), "until": moment(until), "bucket": bucket, "items": items}


def _size(bucket: str | None, length: timedelta) -> int:
    if bucket is None:
        return 0
    each = period_length(bucket, "bucket")
    if each % timedelta(hours=1) or length / each > MOST_BUCKETS:
        raise _unreadable("bucket", f"whole hours, and at most {MOST_BUCKETS} of them in the period")
    return each // timedelta(hours=1) * HOUR


def _all(some: Iterable[Found]) -> Found:
    whole = Found()
    for found in some:
        for number, tally in found.buckets.items():
            whole.of(number).take(tally)
    return whole


def _series(found: Found, size: int) -> Figures:
    if not size:
        return {}
    beginning, each = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=size)
    buckets = sorted(found.buckets.items())
    return {"series": [{"at": moment(beginning + number * each), **figures(tally, each)} for number, tally in buckets]}
