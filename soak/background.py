"""An event loop in a thread of its own: clients live there while the main thread breaks things."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """`with Background() as background:`; at its end what still runs is cancelled, and an error is raised there."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="background", daemon=True)
        self._ready = threading.Event()
        self._tasks: list[Future[Any]] = []

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
        """Run a coroutine there and give its answer."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let a coroutine run there."""
        self._tasks.append(asyncio.run_coroutine_threadsafe(work, self.loop))

    def check(self) -> None:
        """Raise the error of what has ended with one."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.check()
        for task in self._tasks:
            task.cancel()
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    async def _run(self) -> None:
        self.loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._over.wait()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # so that what was cancelled ends first
