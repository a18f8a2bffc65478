"""Waiting for a condition, with a deadline: the one place of the tests that sleeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
INTERVAL = 0.02


def wait_until(check: Callable[[], T], seconds: float = 10, what: str | Callable[[], str] = "") -> T:
    """The first true value of `check()`, tried every 20 ms; after `seconds` an AssertionError that names `what`."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, _complaint(check, seconds, what, value)
        time.sleep(INTERVAL)
    return value


async def wait_until_async(
    check: Callable[[], Awaitable[T]], seconds: float = 10, what: str | Callable[[], str] = ""
) -> T:
    """`wait_until` for a coroutine function, without blocking the event loop."""
    deadline = time.monotonic() + seconds
    while not (value := await check()):
        assert time.monotonic() < deadline, _complaint(check, seconds, what, value)
        await asyncio.sleep(INTERVAL)
    return value


def _complaint(check: Callable[[], object], seconds: float, what: str | Callable[[], str], value: object) -> str:
    told = what() if callable(what) else what
    return f"not within {seconds:g} s: {told or check} (last: {value!r})"
