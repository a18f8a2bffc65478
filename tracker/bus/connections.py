"""One agent's event stream: what waits to be sent on it, and when it ends."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from tracker.bus.topics import matched
from tracker.changes import Delivery

_turns = itertools.count()
ROOM_CHARACTERS = 4_000_000  # of messages that may wait, besides their number
SEND_CHARACTERS = 64_000  # sent at once: what is sent can no longer go to another connection


@dataclass(eq=False)
class Connection:
    """A connected stream.

    `room` bounds what may wait: a group that is served from the log waits for room, others lose the oldest.
    """

    workspace_id: int
    tenant_id: str  # of the key; empty: the whole workspace
    agent_id: str
    name: str
    patterns: list[str]
    room: int
    id: str = field(default_factory=lambda: str(uuid4()))
    consumed: frozenset[str] = frozenset()
    turn: int = field(default_factory=lambda: next(_turns))
    ending: bool = False
    enrolled: bool = False  # the ledger has been told of it
    on_room: Callable[[], None] | None = None
    cut: Callable[[], None] | None = None  # ends it whether or not its reader takes what is sent
    on_answers: Callable[[list[int]], None] | None = None  # the server's own answers (log rows) have been sent

    def __post_init__(self) -> None:
        self.topics = matched(self.patterns)
        self.wake = asyncio.Event()
        self.waiting: deque[Delivery] = deque()
        self.sending: list[Delivery] = []
        self._size = 0  # characters of what waits

    @property
    def full(self) -> bool:
        """Whether no more should be put in."""
        return len(self.waiting) + len(self.sending) >= self.room or self._size >= ROOM_CHARACTERS

    def put(self, delivery: Delivery) -> None:
        """Queue a message to be sent; beyond twice the room the oldest are dropped, as the SDK's users know it."""
        self.turn = next(_turns)
        self.waiting.append(delivery)
        self._size += len(delivery.frame)
        while len(self.waiting) > 2 * self.room or (self._size > 2 * ROOM_CHARACTERS and len(self.waiting) > 1):
            self._size -= len(self.waiting.popleft().frame)
        self.wake.set()

    def take(self) -> list[Delivery]:
        """What is to be sent now, a little at a time. Call `sent` when it has been."""
        size = 0
        while self.waiting and size < SEND_CHARACTERS:
            self.sending.append(self.waiting.popleft())
            size += len(self.sending[-1].frame)
        self._size -= size
        if not self.waiting:
            self.wake.clear()
        return self.sending

    def sent(self) -> None:
        """What was taken has been sent."""
        answers = [delivery.row_id for delivery in self.sending if delivery.own]
        self.sending = []
        if answers and self.on_answers:
            self.on_answers(answers)
        if self.on_room:
            self.on_room()

    def unsent(self) -> list[Delivery]:
        """Messages that have certainly not reached the agent: they never left."""
        return list(self.waiting)

    def end(self) -> None:
        """End the stream cleanly as soon as what waits has been sent."""
        self.ending = True
        self.wake.set()
