"""What keeps the counts of `tracker.rollups` up to date in a server process: after commits, in a thread of its own.

Between commits it sleeps. Several processes may do so beside each other; whoever is late finds nothing to do.
"""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from django.db import DatabaseError

from tracker import rollups
from tracker.reader import Reader

log = logging.getLogger(__name__)
PACE_SECONDS = 1.0  # between two looks at a log that grows
REST_SECONDS = 0.02  # between two blocks: the ledger writes meanwhile
RETRY_SECONDS = 5.0


class Roller:
    """The background task. All of it belongs on the event loop."""

    def __init__(self) -> None:
        self._reader = Reader(threads=1, name="rollup")
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin with what changed while no process ran."""
        self._ending.clear()
        self._wake.set()
        self._task = asyncio.create_task(self._run(), name="roller")

    async def stop(self) -> None:
        """End, once the block that is being counted is finished."""
        self._ending.set()
        self._wake.set()
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._reader.close()

    def told(self) -> None:
        """Something was committed."""
        self._wake.set()

    async def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._wake.clear()
                more = await self._reader.once(rollups.follow)
                while not (more or self._woken):
                    await self._count()
                await self._rest(REST_SECONDS if more else PACE_SECONDS)
            except Exception as error:
                log.warning("counts of tasks are late: %s", error, exc_info=not isinstance(error, DatabaseError))
                await self._rest(RETRY_SECONDS)

    @property
    def _woken(self) -> bool:
        return self._wake.is_set() or self._ending.is_set()

    async def _count(self) -> None:
        """Count a block that is due; without one wait until one is, or until there is a commit."""
        block, seconds = await self._reader.once(rollups.due, datetime.now(UTC))
        if block is not None:
            await self._reader.once(rollups.count, block)
            await self._rest(REST_SECONDS)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if seconds == float("inf") else seconds):
                    await self._wake.wait()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ending.wait()
