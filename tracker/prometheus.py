"""What Prometheus reads at `GET /metrics`: this process's own doings, and how the database stands.

Labels come from closed sets (states, sockets, kinds of changes), never from what agents say, so that no agent can make
a series. Other packages add figures of theirs by `register_collector`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count, Q
from django.utils import timezone
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tracker.changes import Batch, Change
from tracker.states import PLAN

KEPT_SECONDS = 1.0  # figures of the database are read at most so often
LOOP_SECONDS = 2.0  # that the event loop may take to say what it holds
RESULTS = frozenset({"recorded", "duplicate", "refused", "unknown"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Values = Mapping[str, float]  # by the value of the figure's one label; "" where it has none

disable_created_metrics()  # type: ignore[no-untyped-call]
registry = CollectorRegistry()
COMMIT = Histogram(
    "soorma_ledger_commit_seconds", "Time of one commit of the ledger", buckets=SECONDS, registry=registry
)
BATCH = Histogram(
    "soorma_ledger_batch_size",
    "Changes in one commit",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    registry=registry,
)
CHANGES = Counter("soorma_changes", "Changes by what came of them", ["kind", "result"], registry=registry)
ROWS = Counter("soorma_log_rows", "Rows written to the log", registry=registry)
TOLD = Histogram(
    "soorma_told_seconds",
    "From a commit until it was offered to the streams of agents (bus) or the sockets of pages (push)",
    ["to"],
    buckets=SECONDS,
    registry=registry,
)
for each in ("bus", "push"):
    TOLD.labels(each)
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)


def observe(changes: Sequence[Change], batch: Batch, seconds: float) -> None:
    """A commit, as `tracker.observers` tells of it."""
    COMMIT.observe(seconds)
    BATCH.observe(len(changes))
    ROWS.inc(batch.row_count)
    counted: dict[tuple[str, str], int] = {}
    for change, outcome in zip(changes, batch.outcomes, strict=True):
        key = type(change).__name__, outcome.result if outcome.result in RESULTS else "other"
        counted[key] = counted.get(key, 0) + 1
    for (kind, result), count in counted.items():
        CHANGES.labels(kind, result).inc(count)


def told(to: str, batch: Batch) -> None:
    """A commit was offered to the streams of agents (`bus`) or to the sockets of pages (`push`)."""
    if batch.committed_at:
        TOLD.labels(to).observe(time.perf_counter() - batch.committed_at)


# --- figures that are read when Prometheus asks -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge that is read: its name, what it means, its label if it has one, and what reads it."""

    name: str
    meaning: str
    label: str
    read: Callable[[], Values]


_figures: dict[str, Figure] = {}


def register_collector(name: str, meaning: str, read: Callable[[], Values | float], *, label: str = "") -> None:
    """Add a gauge `soorma_<name>`; `read` asks the database, with a fixed number of queries, at most once a second.

    It gives a number, or with `label` {value of the label: number}, of a set that no agent can make larger.
    """

    def values() -> Values:
        found = read()
        return found if isinstance(found, Mapping) else {"": found}

    _figures[f"soorma_{name}"] = Figure(f"soorma_{name}", meaning, label, values)


class Kept(Collector):
    """The registered figures, kept for a second, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._kept: list[tuple[Figure, Values]] = []
        self._up = False

    def collect(self) -> Iterable[Metric]:
        """The figures as Prometheus has them."""
        with self._lock:
            if time.monotonic() - self._read_at > KEPT_SECONDS:
                self._read()
                self._read_at = time.monotonic()
            found, up = self._kept, self._up
        yield GaugeMetricFamily("soorma_database_up", "Whether the database answers", value=up)
        for figure, values in found:
            yield _gauge(figure, values)

    def _read(self) -> None:
        try:
            self._kept = [(figure, figure.read()) for figure in _figures.values()]
            self._up = True
        except DatabaseError:
            # What this process knows by itself can be told all the same.
            self._kept, self._up = [], False

    def forget(self) -> None:
        """Read anew at the next scrape."""
        self._read_at = float("-inf")


def _gauge(figure: Figure, values: Values) -> Metric:
    if not figure.label:
        return GaugeMetricFamily(figure.name, figure.meaning, value=values[""])
    family = GaugeMetricFamily(figure.name, figure.meaning, labels=[figure.label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


class Held(Collector):
    """What this process holds now: sockets, streams, what waits in them and for the writer."""

    def collect(self) -> Iterator[Metric]:
        """Asked of the event loop, whose all of it is."""
        held = _on_loop(_held)
        yield GaugeMetricFamily("soorma_writer_waiting", "Changes that wait for the writer", value=held["writer"])
        yield GaugeMetricFamily(
            "soorma_ledger_processes", "Processes of the ledger that are there", value=held["ledger"]
        )
        sockets = GaugeMetricFamily("soorma_sockets", "Open connections: streams and sockets", labels=["kind"])
        for kind in ("live", "agent", "stream"):
            sockets.add_metric([kind], held[kind])
        yield sockets
        yield GaugeMetricFamily("soorma_live_subscriptions", "Streams that pages watch", value=held["subscriptions"])
        yield GaugeMetricFamily("soorma_bus_waiting", "Messages that wait in agents' streams", value=held["waiting"])
        meaning = "From a commit of another process until it was heard of, the newest one"
        yield GaugeMetricFamily("soorma_relay_lag_seconds", meaning, value=held["relay"])
        meaning = "Log rows of other processes that were not told of in time and had to be read"
        yield CounterMetricFamily("soorma_relay_missed_rows", meaning, value=held["missed"])
        yield CounterMetricFamily("soorma_live_frames", "Frames encoded for pages", value=held["frames"])


def _held() -> dict[str, float]:
    from tracker import writer
    from tracker.bus.intake import sessions
    from tracker.live.hub import hub
    from tracker.runtime import runtime

    counts = hub.counts()
    streams = [one for group in runtime.bus.groups.values() for one in group.connections]
    return {
        "writer": writer.waiting(),
        "ledger": sum(process.there for process in runtime.processes),
        "live": counts.sockets,
        "subscriptions": counts.subscriptions,
        "frames": counts.frames_encoded,
        "agent": len(sessions.open),
        "stream": len(streams),
        "relay": runtime.relay.lag,
        "missed": runtime.relay.missed_rows,
        "waiting": sum(len(one.waiting) + len(one.sending) for one in streams),
    }


def _on_loop(read: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What a function says on the server's event loop; here, if there is none."""
    from tracker.runtime import runtime

    async def reading() -> dict[str, float]:
        return read()

    if runtime.loop is None:
        return read()
    return asyncio.run_coroutine_threadsafe(reading(), runtime.loop).result(LOOP_SECONDS)


kept = Kept()
registry.register(kept)
registry.register(Held())


def exposition(accept: str) -> tuple[bytes, str]:
    """All figures in the format that the scraper's Accept header asks for, and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


# --- what the tracker itself reads ------------------------------------------------------------------------------------


def _plans() -> Values:
    from tracker.models import Plan

    found = dict(Plan.objects.order_by().values_list("state").annotate(number=Count("id")))
    return {state: found.get(state, 0) for state in PLAN.states}


def _tasks() -> Values:
    from tracker.rollups import state_counts

    return state_counts()


def _stalled() -> float:
    from tracker.models import Task

    return Task.objects.filter(stalled=True).count()


def _agents() -> Values:
    from tracker.models import Agent

    since = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    here = Q(signed_off_at=None)
    heard = Q(heartbeat_at__gt=since)
    found: dict[str, Any] = Agent.objects.aggregate(
        live=Count("id", filter=here & heard), silent=Count("id", filter=here & ~heard), away=Count("id", filter=~here)
    )
    return found


def _deadlines() -> float:
    from tracker.models import Deadline

    return Deadline.objects.count()


register_collector("plans", "Plans by state", _plans, label="state")
register_collector("tasks", "Tasks by state; those that are pending wait for an agent", _tasks, label="state")
register_collector("tasks_stalled", "Tasks on which nobody seems to work any more", _stalled)
register_collector("agents", "Instances of agents by what was last heard of them", _agents, label="presence")
register_collector("deadlines", "Deadlines that are set", _deadlines)
