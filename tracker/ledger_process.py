"""The ledger in a process of its own: two threads of Python share one core, two processes have one each.

The server's writer gives it a batch and goes on with other things until it hears what came of it. It is forked from
the server before that has threads or connections, and ends when its end of the socket between them does: it never
outlives its server. When it dies, a thread of the server does its work.
"""

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
import struct
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import cast

import orjson
from django.db import OperationalError, connections

from tracker import ledger, pool, telling
from tracker.changes import Batch, Change, Outcome

LENGTH = struct.Struct("!I")  # of an answer, before it
END_SECONDS = 10


class Ended(OperationalError):
    """The process has ended, and what it was recording may be recorded or not."""


class LedgerProcess(asyncio.Protocol):
    """The server's side of it, which takes one batch at a time. After `connect`, it belongs on the event loop."""

    def __init__(self, earlier: Sequence["LedgerProcess"] = ()) -> None:
        """Forks: the caller has no other threads, and no connections to the database. `earlier`: those it has."""
        self._socket, theirs = socket.socketpair()
        servers = [self._socket, *(one._socket for one in earlier)]
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(theirs, servers, os.getpid()), name="ledger", daemon=True
        )
        self._process.start()
        theirs.close()
        self._transport: asyncio.WriteTransport | None = None
        self._read = bytearray()
        self._answer: asyncio.Future[Batch] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._process.pid

    @property
    def there(self) -> bool:
        """Whether it can be given a batch."""
        return self._transport is not None

    async def connect(self) -> None:
        """Speak to it from the running event loop."""
        self._lost = asyncio.Event()
        await asyncio.get_running_loop().create_connection(lambda: self, sock=self._socket)

    async def record(self, changes: Sequence[Change], *, listened: bool) -> Batch:
        """`ledger.record` over there; raises what that raises, Ended when the process does meanwhile.

        `listened`: whether anybody listens to what is recorded; if not, rows and messages stay where they are.
        """
        if self._transport is None:
            raise Ended("the ledger's process has ended")
        asked = pickle.dumps((changes, listened), pickle.HIGHEST_PROTOCOL)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(asked)
        return await self._answer

    async def disconnect(self) -> None:
        """Speak to it no more: it ends."""
        if self._transport:
            self._transport.close()
        await self._lost.wait()

    def end(self) -> None:
        """End the process, connected or not; blocks until it has, which takes as long as what it is recording."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closed it may stay open in the event loop
        self._socket.close()
        self._process.join(END_SECONDS)

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop holds the socket."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """A part of an answer, mostly all of it."""
        self._read += data
        if len(self._read) >= LENGTH.size and len(self._read) == LENGTH.size + LENGTH.unpack_from(self._read)[0]:
            text, self._read = memoryview(self._read)[LENGTH.size :], bytearray()
            try:
                answer = pickle.loads(text)  # noqa: S301  (our own process)
            except Exception as error:
                answer = error  # whatever it is: somebody waits
            self._give(answer if isinstance(answer, Exception) else _batch(*answer))

    def connection_lost(self, error: Exception | None) -> None:
        """The process has ended, or the event loop does."""
        self._transport = None
        self._lost.set()
        self._give(Ended("the ledger's process has ended"))

    def _give(self, answer: Batch | Exception) -> None:
        future, self._answer = self._answer, None
        if future and not future.done():
            future.set_exception(answer) if isinstance(answer, Exception) else future.set_result(answer)


def _batch(outcomes: list[Outcome], counts: tuple[int, int, int], due_at: datetime | None, told: bytes | None) -> Batch:
    if told is None:
        return Batch(outcomes, [], [], *counts, due_at=due_at, complete=False)
    parts = cache(lambda: telling.decode(*orjson.loads(told)))
    return Batch(outcomes, lambda: parts()[0], lambda: parts()[1], *counts, due_at=due_at)


# --- the process ------------------------------------------------------------------------------------------------------


def _serve(ours: socket.socket, servers: Sequence[socket.socket], server: int) -> None:
    """Record batch after batch until the server ends."""
    # A terminal and a service manager tell all processes to end; this one does when the server has no more to record.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for one in servers:  # held here too, they would not end with the server
        one.close()
    asked = ours.makefile("rb")
    with suppress(EOFError, OSError, pickle.UnpicklingError):
        while True:
            changes, listened = pickle.load(asked)  # noqa: S301  (our own server)
            if os.getppid() != server:  # nobody waits for it any more, and another server may be there
                break
            answer = _answer(changes, listened)
            ours.sendall(LENGTH.pack(len(answer)) + answer)
    connections.close_all()


def _answer(changes: Sequence[Change], listened: bool) -> bytes:
    try:
        batch = ledger.record(changes)
        counts = batch.row_count, batch.plan_count, batch.head
        answer = batch.outcomes, counts, batch.due_at, telling.encode(batch) if listened else None
        return pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        pool.forget()
        error.add_note(traceback.format_exc())
        return _error(error)


def _error(error: Exception) -> bytes:
    """An error that can be raised over there; one that does not survive the way goes as its text."""
    try:
        text = pickle.dumps(error)
        pickle.loads(text)  # noqa: S301  (it was ours a moment ago)
    except Exception:
        return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return text
