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
    """Have `observer(changes, batch, seconds)` called after each commit, on the event loop of a server.

    Whatever it raises, the commit stands. It has to be quick: all wait for it.
    """
    if observer not in _observers:
        _observers.append(observer)


def record(changes: Sequence[Change]) -> Batch:
    """`ledger.record`, seen by the observers."""
    begun = perf_counter()
    batch = ledger.record(changes)
    tell(changes, batch, begun)
    return batch


def tell(changes: Sequence[Change], batch: Batch, begun: float) -> None:
    """Have the observers see a commit that was begun at this time of `perf_counter` and has just come to its end."""
    batch.committed_at = perf_counter()
    for observer in _observers:
        try:
            observer(changes, batch, batch.committed_at - begun)
        except Exception:
            log.exception("a commit could not be observed")
