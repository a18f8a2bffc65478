"""Secrets: how they are made, what is stored of them, and the short memory of who they stand for.

A token is shown once and stored as a digest. The digest is not salted: a token has 256 random bits, nothing to guess.
"""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
KEY_PREFIX = "soorma_"
SHOWN = 12  # characters of a key that stay visible, enough to tell keys apart
LONGEST = 256  # longer tokens are not ours and are not even hashed


def new_key() -> str:
    """A fresh API key: `soorma_` and 43 URL-safe characters."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def new_link() -> str:
    """A fresh secret for a sign-in link: 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token: SHA-256 of all of it, in hex."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Memory(Generic[T]):
    """A small, thread-safe, least-recently-used memory whose entries live for `ttl` seconds.

    A reader notes `generation` before it asks the database and hands it to `put`; `clear` starts a new generation, so
    that what was read before a revocation is never remembered after it.
    """

    def __init__(self, size: int, ttl: float, clock: Callable[[], float] = time.time) -> None:
        self.generation = 0
        self._size = size
        self._ttl = ttl
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def get(self, key: str) -> T | None:
        """What is remembered, or None when there is nothing or it is too old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            value, until = entry
            now = self._clock()
            # The second test is for a clock that was set back.
            if now >= until or until - now > self._ttl:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return value

    def put(self, key: str, value: T, generation: int, until: float | None = None) -> None:
        """Remember a value, at most until `until` (seconds since the epoch)."""
        with self._lock:
            if generation != self.generation:
                return
            fresh = self._clock() + self._ttl
            self._entries[key] = (value, fresh if until is None else min(fresh, until))
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, also what is being read at this moment."""
        with self._lock:
            self.generation += 1
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
