"""What another process serves, kept for a moment: if that one lets go, this one goes on where it stopped."""

import asyncio
from collections import deque

from tracker.changes import Delivery

SECONDS = 3.0
MOST = 500
CHARACTERS = 4_000_000


class Aside:
    """Messages of the last seconds, within bounds."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, Delivery]] = deque()
        self._size = 0  # characters

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self._kept)

    def put(self, delivery: Delivery) -> None:
        """Keep a message for a while."""
        self._kept.append((asyncio.get_running_loop().time(), delivery))
        self._size += len(delivery.frame)
        self._prune()

    def take(self) -> list[Delivery]:
        """Give what is kept, and keep nothing."""
        self._prune()
        taken = [delivery for _, delivery in self._kept]
        self._kept.clear()
        self._size = 0
        return taken

    def _prune(self) -> None:
        oldest = asyncio.get_running_loop().time() - SECONDS
        while self._kept and (self._size > CHARACTERS or len(self._kept) > MOST or self._kept[0][0] < oldest):
            self._size -= len(self._kept.popleft()[1].frame)
