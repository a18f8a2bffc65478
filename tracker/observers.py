"""Who looks on while the ledger writes: what the metrics and the log of the server are made from, after each commit."""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter

from tracker import ledger
from tracker.changes import Batch, Change

log = logging.getLogger(__name__)
Observer = Callable[[Sequence[Change], Batch, float], None]
_observers: list[Observer] = []


def register_observer(observer: Observer) -> None:
    """Have `observer(changes, batch, seconds)` called after each commit, in the thread that commits.

    Whatever it raises, the commit stands. It has to be quick: callers wait for it.
    """
    if observer not in _observers:
        _observers.append(observer)


def record(changes: Sequence[Change]) -> Batch:
    """`ledger.record`, seen by the observers."""
    begun = perf_counter()
    batch = ledger.record(changes)
    batch.committed_at = perf_counter()
    seconds = batch.committed_at - begun
    for observer in _observers:
        try:
            observer(changes, batch, seconds)
        except Exception:
            log.exception("a commit could not be observed")
    return batch
