"""One timer for the server process: it sleeps until the nearest deadline, and acts on what is due.

Nothing is polled: between deadlines there is no query. It is told of each nearer deadline that a commit sets, here or
in another process, and looks at the clock now and then, because clocks jump.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tracker import deadlines, writer
from tracker.changes import Change, Due
from tracker.errors import Problem
from tracker.reader import Reader

log = logging.getLogger(__name__)
CLOCK_SECONDS = 30.0  # at most, between two looks at the clock (not at the database)
RETRY_SECONDS = 1.0
PACE_SECONDS = 0.05  # between two times of acting: what falls due meanwhile is one batch
PUT_OFF = timedelta(minutes=1)  # what cannot be acted upon


class Timer:
    """The timer of this process. All of it belongs on the event loop."""

    def __init__(self) -> None:
        self._reader = Reader(threads=1, name="timer-read")
        self._wake = asyncio.Event()
        self._next: datetime | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, first: Change) -> None:
        """Record a change, and begin with what fell due while no process ran."""
        self._wake = asyncio.Event()  # of the loop that runs now
        self._task = asyncio.create_task(self._begin(first), name="timer")

    async def stop(self) -> None:
        """End."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._reader.close()

    def told(self, due_at: datetime | None) -> None:
        """A commit set a deadline, its nearest one at `due_at`."""
        if due_at and (self._next is None or due_at < self._next):
            self._next = due_at
            self._wake.set()

    def look_again(self) -> None:
        """Commits may have been missed: read the nearest deadline again."""
        self._next = datetime.now(UTC)
        self._wake.set()

    async def _begin(self, first: Change) -> None:
        while True:
            try:
                await writer.commit([first])
                break
            except Exception as error:
                log.warning("the start cannot be recorded: %s; trying again", error)
                await asyncio.sleep(RETRY_SECONDS)
        await self._run()

    async def _run(self) -> None:
        self.look_again()
        while True:
            try:
                await self._sleep()
                await self._act()
                await asyncio.sleep(PACE_SECONDS)
            except Exception as error:
                # Whatever it is: without its timer nothing would ever fall due again.
                log.warning("deadlines: %s; trying again", error, exc_info=not isinstance(error, Problem))
                await asyncio.sleep(RETRY_SECONDS)
                self.look_again()

    async def _sleep(self) -> None:
        while self._next is None or (left := (self._next - datetime.now(UTC)).total_seconds()) > 0:
            seconds = CLOCK_SECONDS if self._next is None else min(left, CLOCK_SECONDS)
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wake.wait()

    async def _act(self) -> None:
        self._next = None
        while some := await self._reader.read(deadlines.overdue, datetime.now(UTC)):
            await self._commit(some)
            if len(some) < deadlines.MOST_DUE:
                break
        self.told(await self._reader.read(deadlines.nearest))

    async def _commit(self, some: list[Due]) -> None:
        try:
            await writer.commit(some)
        except Problem:
            raise
        except Exception:
            if len(some) > 1:
                for one in some:
                    await self._commit([one])
                return
            log.exception("a deadline of %s cannot be acted upon", some[0].kind)
            await self._reader.read(deadlines.put_off, some, datetime.now(UTC) + PUT_OFF)
