"""What leaves the server for other systems: after the commit that made it, outside the ledger, bounded in number.

A parcel waits as a deadline. When that is due, one process claims it: inside the transaction it reserves a place here
and sets the deadline anew, as a lease; after the commit it sends, and notes the result with a change of its own. If it
dies in between, the lease falls due and the parcel is sent again, so receivers must know what they have already.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from django.db import transaction

from tracker import writer
from tracker.changes import Change
from tracker.errors import Unavailable
from tracker.runtime import runtime
from tracker.world import World

log = logging.getLogger(__name__)
AT_ONCE = 16  # that are being sent
MOST = 64  # that are claimed and not noted yet
MOST_OF_ONE = 8  # of one receiver, so that a slow one leaves room to others
LEASE = timedelta(seconds=90)  # longer than MOST / AT_ONCE sendings may take
LATER = timedelta(seconds=0.5)  # when there is no room; for every few that wait likewise as much again
NOTE_TRIES = 5
Name = tuple[str, int]  # kind of the deadline and its subject
Send = Callable[[], Awaitable[Change]]  # sends the parcel, and gives the change that notes what came of it


@dataclass(slots=True)
class _Claim:
    receiver: Hashable
    until: float  # on the monotonic clock; a claim whose transaction failed must not stay
    running: bool = False


class Outbox:
    """The parcels that this process has claimed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # claims are made in the writer's thread and end on the event loop
        self._claims: dict[Name, _Claim] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room: asyncio.Semaphore | None = None

    def claim(self, world: World, name: Name, receiver: Hashable, send: Send) -> None:
        """Inside the transaction: send it after the commit if there is room for this receiver, else try again soon."""
        if self._reserve(name, receiver):
            world.deadlines[name] = world.now + LEASE
            transaction.on_commit(partial(self._begin, name, send))
        else:
            ahead = sum(kind == name[0] for kind, _ in world.deadlines)
            world.deadlines[name] = world.now + LATER * (1 + ahead // MOST_OF_ONE)

    def _reserve(self, name: Name, receiver: Hashable) -> bool:
        now = time.monotonic()
        with self._lock:
            others = [c for n, c in self._claims.items() if n != name and (c.running or c.until > now)]
            mine = self._claims.get(name)
            full = len(others) >= MOST or sum(c.receiver == receiver for c in others) >= MOST_OF_ONE
            if full or (mine and mine.running):
                return False
            self._claims[name] = _Claim(receiver, now + LEASE.total_seconds())
            return True

    def _begin(self, name: Name, send: Send) -> None:
        if runtime.loop is None:  # a command or a test: the lease brings it to a server
            self._release(name)
        else:
            runtime.loop.call_soon_threadsafe(self._start, name, send)

    def _start(self, name: Name, send: Send) -> None:
        with self._lock:
            if claim := self._claims.get(name):
                claim.running = True
        task = asyncio.create_task(self._run(name, send), name="outbox")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, name: Name, send: Send) -> None:
        self._room = self._room or asyncio.Semaphore(AT_ONCE)
        try:
            async with self._room:
                change = await send()
            await self._note(change)
        except Exception:
            log.exception("a %s cannot be sent; it is tried again", name[0])
        finally:
            self._release(name)

    @staticmethod
    async def _note(change: Change) -> None:
        for _ in range(NOTE_TRIES):
            with suppress(Unavailable):
                await writer.commit([change])
                return
            await asyncio.sleep(1)

    def _release(self, name: Name) -> None:
        with self._lock:
            self._claims.pop(name, None)

    async def stop(self) -> None:
        """Send no more; what is not noted is sent again by whoever runs when its lease falls due."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._room = None


outbox = Outbox()
