"""Counting tasks: which ends they came to, how long they waited and were worked on, the percentiles of both. Pure.

Times are whole microseconds since 1970, durations whole milliseconds, rounded down, never negative.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, isqrt
from typing import NamedTuple

from tracker.states import TASK

QUANTILES = (0.5, 0.95, 0.99)
SMALL = 20_000  # values that are simply sorted
STRIDE = 64  # of each sorted list, every so manieth value is looked at first


class Fact(NamedTuple):
    """What counts of a task."""

    id: int
    tenant_id: str
    agent: str
    agent_id: str
    event_type: str
    goal: str
    state: str
    attempt: int
    stalled: bool
    created: int
    started: int | None
    ended: int | None
    stalls: int

    @property
    def work(self) -> int | None:
        """Microseconds from its start to its end, of a completed task."""
        if self.state != "completed" or self.started is None or self.ended is None:
            return None
        return max(0, self.ended - self.started)

    @property
    def queue(self) -> int | None:
        """Microseconds from its creation to its start."""
        return None if self.started is None else max(0, self.started - self.created)


@dataclass(slots=True)
class Tally:
    """Tasks counted. `work` and `queue` are sorted lists of milliseconds, as many as were folded into it."""

    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TASK.states, 0))
    retries: int = 0
    stalled: int = 0
    stalls: int = 0
    work_us: int = 0
    work: list[Sequence[int]] = field(default_factory=list)
    queue: list[Sequence[int]] = field(default_factory=list)

    def add(self, facts: Iterable[Fact]) -> None:
        """Count these tasks as well."""
        work, queue = [], []
        for fact in facts:
            self.states[fact.state] += 1
            self.retries += fact.attempt - 1
            self.stalled += fact.stalled
            self.stalls += fact.stalls
            if (took := fact.work) is not None:
                self.work_us += took
                work.append(took // 1000)
            if (waited := fact.queue) is not None:
                queue.append(waited // 1000)
        self.work.append(sorted(work))
        self.queue.append(sorted(queue))

    def take(self, other: "Tally") -> None:
        """Count what another tally has counted as well."""
        for state, number in other.states.items():
            self.states[state] += number
        self.retries += other.retries
        self.stalled += other.stalled
        self.stalls += other.stalls
        self.work_us += other.work_us
        self.work += other.work
        self.queue += other.queue

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.states.values())


def pack(values: Iterable[int]) -> bytes:
    """A sorted list as bytes: four for each value, or eight if one of them needs so many."""
    ordered = sorted(values)
    return array("I" if not ordered or ordered[-1] < 2**32 else "Q", ordered).tobytes()


def unpack(packed: bytes | memoryview, count: int) -> Sequence[int]:
    """The sorted list of so many values that `pack` made bytes of."""
    values = array("I" if len(packed) == 4 * count else "Q")
    values.frombytes(packed)
    return values


def percentiles(lists: Iterable[Sequence[int]], quantiles: Sequence[float] = QUANTILES) -> list[int | None]:
    """Of the values in these sorted lists, the smallest that is not below so large a part of them (nearest rank).

    Exact, without sorting a million values: a sample tells near which value the rank lies, counting proves it, and only
    what lies between is sorted. None for each where there are no values.
    """
    some = [values for values in lists if len(values)]
    total = sum(map(len, some))
    if not total:
        return [None] * len(quantiles)
    ranks = [max(0, ceil(quantile * total) - 1) for quantile in quantiles]
    if total <= SMALL:
        ordered = sorted(value for values in some for value in values)
        return [ordered[rank] for rank in ranks]
    # Each list from another place on: lists of one length would all leave out the same ranks.
    sample = sorted(v for number, values in enumerate(some) for v in values[number * 37 % STRIDE :: STRIDE])
    return [_ranked(some, sample, rank, total) for rank in ranks]


def _ranked(lists: list[Sequence[int]], sample: list[int], rank: int, total: int) -> int:
    """The value of this rank, from 0."""
    near = rank * len(sample) // total
    margin = 8 + isqrt(len(lists))  # the sample is hardly ever farther off
    while True:
        low = sample[near - margin] if near >= margin else 0
        high = sample[near + margin] if near + margin < len(sample) else max(values[-1] for values in lists)
        starts = [bisect_left(values, low) for values in lists]
        ends = [bisect_right(values, high) for values in lists]
        below = sum(starts)
        if below <= rank < sum(ends):
            between: list[int] = []
            for values, start, end in zip(lists, starts, ends, strict=True):
                between += values[start:end]
            between.sort()
            return between[rank - below]
        margin *= 4
