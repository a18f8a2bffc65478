"""What a machine orders: the ledger asks for a step, gives up on one, waits, ends. Pure data; `visit`: of the state."""

from dataclasses import dataclass
from typing import Any, Literal

from planner.definition import StateAction


@dataclass(frozen=True, slots=True)
class Enter:
    """A state was entered: from which one, on what."""

    state: str
    visit: int
    source: str
    why: str
    timeout: float | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for an attempt of an action."""

    visit: int
    step: str
    attempt: int
    action: StateAction
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait so many seconds before the next attempt."""

    visit: int
    step: str
    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """An attempt whose task is still open is given up on, and has failed."""

    visit: int
    step: str
    error: str


@dataclass(frozen=True, slots=True)
class Drop:
    """A step is not wanted any more."""

    visit: int
    step: str
    why: str


@dataclass(frozen=True, slots=True)
class End:
    """The plan is over. `why`: in words, for its log."""

    state: Literal["completed", "failed"]
    error: str
    why: str


Order = Enter | Ask | Rest | GiveUp | Drop | End
