"""When API keys were used last: gathered in memory by whoever checks a key, written down now and then."""

import asyncio
import contextlib

from accounts.auth import write_uses
from tracker.reader import Reader

EVERY_SECONDS = 60.0
PATIENCE_SECONDS = 2.0  # of a server that ends, with a database that does not answer


class KeyUses:
    """Writes them once a minute and at the end, in a thread of its own."""

    def __init__(self) -> None:
        self._reader = Reader(threads=1, name="key-uses")
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write them, in the running loop."""
        self._writing = asyncio.create_task(self._run(), name="key-uses")

    async def stop(self) -> None:
        """Write what is left and end."""
        if self._writing:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._reader.read(write_uses)
        self._reader.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            await self._reader.read(write_uses)
