"""Tasks marked as stalled, as whoever watches over agents does it, without waiting for a deadline."""

from dataclasses import dataclass

from tracker import liveness
from tracker.changes import Change, Outcome
from tracker.known import scope_of
from tracker.ledger import register_change


@dataclass(slots=True, kw_only=True)
class Stall(Change):
    """Marks a task as stalled, or takes the mark back."""

    task_id: str
    stalled: bool = True


def _stall(world, change):
    task = world.task(scope_of(change), change.task_id)
    if change.stalled:
        liveness.mark(world, task, liveness.DISCONNECTED, "the connection of its agent was lost")
    else:
        liveness.unmark(world, task, "it was heard of")
    return Outcome("recorded")


register_change(Stall, _stall)
