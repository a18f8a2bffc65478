"""Which server process serves a queue group with all that is not handed over.

One at a time, held by a lock in PostgreSQL.

Requests are claimed one by one in the ledger, so every process hands them to its own connections. All else goes to
one connection of the group, and only a process that owns the group may choose it. A process that dies loses its locks
at once.
"""

import asyncio
import logging

import psycopg
from django.conf import settings
from django.db import connection

from tracker.locks import hash_bucket

log = logging.getLogger(__name__)
Key = tuple[int, str, str]  # of a group
_SPACE = 7703


class Alone:
    """There is one process: it owns every group."""

    shared = False

    async def own(self, key: Key) -> bool:
        """Whether this process serves the group."""
        return True

    async def release(self, key: Key) -> None:
        """Let another process serve the group."""

    async def close(self) -> None:
        """Let go of everything."""


class Shared(Alone):
    """Several processes: session locks on one connection that is kept for them."""

    shared = True

    def __init__(self) -> None:
        self._held: set[Key] = set()
        self._one = asyncio.Lock()  # one question at a time: who asks first opens the connection
        self._connection: psycopg.AsyncConnection | None = None

    async def own(self, key: Key) -> bool:
        """Whether this process serves the group: it has the lock, or gets it now.

        False while the database does not answer.
        """
        # Who asks may be cancelled; a lock that was taken without our knowing would be held for ever.
        return await asyncio.shield(self._own(key))

    async def _own(self, key: Key) -> bool:
        async with self._one:
            try:
                link = await self._link()
                if key not in self._held:
                    row = await (
                        await link.execute("SELECT pg_try_advisory_lock(%s, %s)", (_SPACE, _number(key)))
                    ).fetchone()
                    if row and row[0]:
                        self._held.add(key)
                else:
                    await link.execute("SELECT 1")  # the lock is ours as long as this connection lives
            except psycopg.Error as error:
                await self._lost(error)
            return key in self._held

    async def release(self, key: Key) -> None:
        """Let another process serve the group."""
        async with self._one:
            if key in self._held:
                self._held.discard(key)
                try:
                    await (await self._link()).execute("SELECT pg_advisory_unlock(%s, %s)", (_SPACE, _number(key)))
                except psycopg.Error as error:
                    await self._lost(error)

    async def close(self) -> None:
        """Let go of everything."""
        self._held.clear()
        if self._connection:
            await self._connection.close()
            self._connection = None

    async def _link(self) -> psycopg.AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._held.clear()
            self._connection = await psycopg.AsyncConnection.connect(
                settings.DATABASE_URL, autocommit=True, connect_timeout=3
            )
        return self._connection

    async def _lost(self, error: Exception) -> None:
        log.warning("the locks of the queue groups are gone with their connection: %s", error)
        await self.close()


def _number(key: Key) -> int:
    return hash_bucket("/".join(map(str, key)), 2**31 - 1)


def ownership() -> Alone:
    """What fits the settings."""
    return Shared() if settings.REDIS_URL and connection.vendor == "postgresql" else Alone()
