"""Batches that are recorded side by side, told in the order in which they were committed.

The keys of log rows rise in that order within a workspace, and who serves agents counts on it: a cursor passes over
what it is told of too late.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tracker.changes import Batch

UnderWay = object  # a batch that is being recorded


@dataclass(slots=True)
class _Held:
    batch: Batch
    awaited: set[UnderWay]  # what was under way when it came: it may have been committed before


class InOrder:
    """Holds a batch until all that may have been committed before it has come."""

    def __init__(self, tell: Callable[[Batch], None]) -> None:
        """`tell` is called by `tell_ready` alone."""
        self._tell = tell
        self._under_way: set[UnderWay] = set()
        self._held: list[_Held] = []

    def begin(self) -> UnderWay:
        """A batch is about to be recorded; it has to end, whatever becomes of it."""
        one = object()
        self._under_way.add(one)
        return one

    def end(self, one: UnderWay, batch: Batch | None = None) -> None:
        """It has come, recorded as `batch` or not at all."""
        self._under_way.discard(one)
        for held in self._held:
            held.awaited.discard(one)
        if batch:
            self._held.append(_Held(batch, set(self._under_way)))
            self._held.sort(key=lambda held: held.batch.head)

    def tell_ready(self) -> None:
        """Tell of all batches before which no other one can come any more."""
        while self._held and not self._held[0].awaited:
            self._tell(self._held.pop(0).batch)
