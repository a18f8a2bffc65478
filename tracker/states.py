"""The state table: which moves a task and a plan may make, and nothing else decides it.

The ledger's guard, the API's `allowed_transitions`, the buttons, the path that is walked when a step was not reported,
the database's check constraints and the diagram in the docs all read these rows.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Move:
    """One legal move. `walked`: it may be inferred when a fact proves that it happened unreported."""

    verb: str
    source: str
    target: str
    walked: bool = True
    only_stalled: bool = False


@dataclass(frozen=True, eq=False)  # compared and hashed as what it is: one of two
class Machine:
    """A subject's states and moves. `open_states` are those from which it can still end."""

    subject: str
    states: tuple[str, ...]
    ended: frozenset[str]
    moves: tuple[Move, ...]

    @property
    def open_states(self) -> frozenset[str]:
        """Every state that is not an end."""
        return frozenset(self.states) - self.ended

    def move(self, source: str, target: str, *, stalled: bool = False) -> Move | None:
        """The legal move between two states, or None."""
        move = _moves(self).get((source, target))
        return move if move and (stalled or not move.only_stalled) else None

    def targets(self, source: str, *, stalled: bool = False) -> list[str]:
        """Where a subject may go from here, in the table's order."""
        return [m.target for m in self.moves if m.source == source and (stalled or not m.only_stalled)]

    def path(self, source: str, target: str) -> list[str] | None:
        """The shortest way from source to target: one legal hop, or walked hops.

        [] when already there, None when there is none.

        Never a retry, a re-opening or a cancellation on the way; such a move counts only as the single hop that was
        asked for.
        """
        if source == target:
            return []
        if self.move(source, target):
            return [target]
        return _path(self, source, target)


@cache
def _moves(machine: Machine) -> dict[tuple[str, str], Move]:
    return {(m.source, m.target): m for m in machine.moves}


@cache
def _path(machine: Machine, source: str, target: str) -> list[str] | None:
    waiting = deque([[source]])
    seen = {source}
    while waiting:
        way = waiting.popleft()
        for move in machine.moves:
            if move.source != way[-1] or not move.walked or move.target in seen:
                continue
            if move.target == target:
                return [*way[1:], target]
            seen.add(move.target)
            waiting.append([*way, move.target])
    return None


def _rows(
    verb: str, sources: Iterable[str], target: str, *, walked: bool = True, only_stalled: bool = False
) -> list[Move]:
    return [Move(verb, source, target, walked, only_stalled) for source in sources]


_AT_WORK = ("running", "delegated", "waiting", "in_review", "awaiting_approval")

TASK = Machine(
    subject="task",
    states=("pending", *_AT_WORK, "completed", "failed", "cancelled"),
    ended=frozenset({"completed", "failed", "cancelled"}),
    moves=(
        *_rows("start", ["pending"], "running"),
        *_rows("delegate", ["running"], "delegated"),
        *_rows("wait", ["running"], "waiting"),
        *_rows("review", ["running"], "in_review"),
        *_rows("ask", ["running"], "awaiting_approval"),
        # A task that is itself a question to a person needs no worker first.
        *_rows("ask", ["pending"], "awaiting_approval", walked=False),
        *_rows("resume", _AT_WORK[1:], "running"),
        *_rows("complete", _AT_WORK, "completed"),
        *_rows("fail", _AT_WORK, "failed"),
        *_rows("cancel", ("pending", *_AT_WORK), "cancelled", walked=False),
        *_rows("retry", ["failed"], "pending", walked=False),
        *_rows("retry", ["running"], "pending", walked=False, only_stalled=True),
    ),
)

PLAN = Machine(
    subject="plan",
    states=("pending", "in_progress", "paused", "completed", "failed", "cancelled"),
    ended=frozenset({"completed", "failed", "cancelled"}),
    moves=(
        *_rows("start", ["pending"], "in_progress"),
        *_rows("pause", ["in_progress"], "paused"),
        *_rows("resume", ["paused"], "in_progress"),
        *_rows("complete", ["pending", "in_progress", "paused"], "completed"),
        *_rows("fail", ["pending", "in_progress", "paused"], "failed"),
        *_rows("cancel", ["pending", "in_progress", "paused"], "cancelled", walked=False),
        # Only a plan that had closed on its own is opened again; the ledger knows which did.
        *_rows("reopen", ["completed", "failed", "cancelled"], "in_progress", walked=False),
    ),
)


def wire_state(state: str) -> str:
    """A task's state as the published SDK can read it: it knows seven, and a person's turn is `waiting` to it."""
    return "waiting" if state in {"in_review", "awaiting_approval"} else state
