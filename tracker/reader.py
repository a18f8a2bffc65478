"""Reads for the event loop: a few threads with database connections of their own, outside Django's requests."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from django.db import Error, close_old_connections

from tracker import pool

log = logging.getLogger(__name__)
T = TypeVar("T")
P = ParamSpec("P")
RETRY_SECONDS = 1.0


class Reader:
    """A few threads of its own, each of which gives its database connection back after every read.

    When the database cannot be reached it is asked again until it can: who waits for the answer may be cancelled.
    """

    def __init__(self, threads: int = 4, name: str = "live-read") -> None:
        """`threads`: how many reads run at once; `name`: of the threads."""
        self._name = name
        self.count = 0
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._flights: dict[Hashable, asyncio.Future[Any]] = {}

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's answer."""
        while True:
            try:
                return await self.once(function, *args, **kwargs)
            except Error:
                log.warning("%s: cannot read the database, trying again", self._name, exc_info=True)
                await self.once(pool.renew)
                await asyncio.sleep(RETRY_SECONDS)

    async def once(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's answer, or what the database raises, without a second try."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=self._name)
        self.count += 1
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: _with_connection(function, *args, **kwargs))

    async def shared(self, key: Hashable, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's answer, or that of a call with the same key that has not answered yet."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.ensure_future(self.read(function, *args, **kwargs))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        # One who leaves does not take the answer from the others.
        answer: T = await asyncio.shield(flight)
        return answer

    def close(self) -> None:
        """End the threads once they have finished what they do."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None


def _with_connection(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    finally:
        close_old_connections()
