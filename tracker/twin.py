"""A plan beside one of the same goal that went well, up to where they part. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

SHOWN_BEFORE, SHOWN_AFTER = 4, 3  # pairs of tasks around the place where the plans part


class Step(NamedTuple):
    """A task of either plan, in order of arrival. Times are RFC 3339 texts in UTC."""

    name: str
    state: str
    agent: str
    created_at: str
    ended_at: str | None


def compare(ours: Sequence[Step], theirs: Sequence[Step]) -> dict[str, Any]:
    """{same, divergence, pairs}: how many tasks went alike, where the plans part, and what stands around that place.

    `divergence` is None when all is alike, else {place, kind, ours, theirs}, kind: state (it went otherwise), missing
    (the other plan had a task here that this one has not), extra (the other way round), order.
    """
    mine, other = {step.name: step for step in ours}, {step.name: step for step in theirs}
    for place in range(max(len(ours), len(theirs))):
        ahead = _at(ours, place), _at(theirs, place)
        if found := _parts(*ahead, mine, other):
            kind, left, right = found
            return {
                "same": place,
                "divergence": {"place": place + 1, "kind": kind, "ours": _shown(left), "theirs": _shown(right)},
                "pairs": _around(ours, theirs, place),
            }
    return {"same": len(ours), "divergence": None, "pairs": _around(ours, theirs, len(ours))}


def _at(steps: Sequence[Step], place: int) -> Step | None:
    return steps[place] if place < len(steps) else None


def _parts(
    left: Step | None, right: Step | None, mine: dict[str, Step], other: dict[str, Step]
) -> tuple[str, Step | None, Step | None] | None:
    """How the plans part at this place, if they do: (kind, our task, theirs)."""
    if left is None:
        return None if right is None or right.name in mine else ("missing", None, right)
    twin = other.get(left.name)
    if twin is None:
        return "extra", left, right
    if left.state != twin.state:
        return "state", left, twin
    if right is None or right.name == left.name:
        return None
    if right.name not in mine:
        return "missing", left, right
    # What ran side by side may arrive in either order; what followed upon the other's end may not.
    in_turn = right.ended_at is not None and right.ended_at <= twin.created_at
    return ("order", left, right) if in_turn else None


def _around(ours: Sequence[Step], theirs: Sequence[Step], place: int) -> list[dict[str, Any]]:
    first, last = max(0, place - SHOWN_BEFORE), min(max(len(ours), len(theirs)), place + SHOWN_AFTER)
    return [
        {"place": at + 1, "ours": _shown(_at(ours, at)), "theirs": _shown(_at(theirs, at))} for at in range(first, last)
    ]


def _shown(step: Step | None) -> dict[str, Any] | None:
    return {"task": step.name, "state": step.state, "agent": step.agent or None} if step else None
