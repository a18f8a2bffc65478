"""Group commit: one thread writes for the whole server process; what waits goes into one transaction.

No delay is added: an idle writer takes a change at once, and while it commits, the next ones gather. Every caller is
answered only after the commit that holds its change. Outside the server process (commands, tests) `record` commits
directly.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, connection

from tracker import observers, pool
from tracker.changes import Batch, Change, Outcome
from tracker.errors import Unavailable

log = logging.getLogger(__name__)
MOST = 500  # changes in one transaction
Outcomes = list[Outcome]


@dataclass(slots=True)
class _Job:
    """Changes of one caller and how to answer it.

    With outcomes, or with the error that kept them from being recorded.
    """

    changes: Sequence[Change]
    answer: Callable[[Outcomes | Exception], None]
    on_loop: bool  # the answer belongs on the event loop


class Writer:
    """The writer thread. `committed` is called on the event loop with each batch, before its callers are answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, committed: Callable[[Batch], None]) -> None:
        self._loop = loop
        self._committed = committed
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below; callers are many threads
        self._count = 0  # changes that wait or are being written
        self._closed = False
        self.failing = False  # the last commit failed by the database
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    async def commit(self, changes: Sequence[Change]) -> Outcomes:
        """Record changes; returns after their commit.

        Raises Unavailable when too much waits, the database does not answer or the server ends.
        """
        future: asyncio.Future[Outcomes] = self._loop.create_future()

        def answer(result: Outcomes | Exception) -> None:
            if not future.done():
                future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)

        self._put(_Job(changes, answer, on_loop=True))
        return await future

    def commit_from_thread(self, changes: Sequence[Change]) -> Outcomes:
        """The same for synchronous code in another thread."""
        future: Future[Outcomes] = Future()

        def answer(result: Outcomes | Exception) -> None:
            future.set_exception(result) if isinstance(result, Exception) else future.set_result(result)

        self._put(_Job(changes, answer, on_loop=False))
        return future.result()

    def close(self) -> None:
        """Write what waits, then end the thread; from now on Unavailable is raised. Blocks until then."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise Unavailable("the server is ending; try again", retry_after=1)
            if self._count and self._count + len(job.changes) > settings.WRITER_QUEUE:
                raise Unavailable("too many changes wait to be written; try again", retry_after=1)
            self._count += len(job.changes)
            self._waiting.put(job)

    def _release(self, jobs: list[_Job]) -> None:
        """Make room for others; before the jobs' callers are answered, who may come back at once."""
        with self._lock:
            self._count -= sum(len(job.changes) for job in jobs)

    def _run(self) -> None:
        more = True
        while more:
            jobs, more = self._gather()
            if jobs:
                self._write(jobs)
        connection.close()

    def _gather(self) -> tuple[list[_Job], bool]:
        """All jobs that wait, up to `MOST` changes; waits for the first. False when the writer is to end."""
        first = self._waiting.get()
        if first is None:
            return [], False
        jobs, size = [first], len(first.changes)
        while size < MOST:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return jobs, True
            if job is None:
                return jobs, False
            jobs.append(job)
            size += len(job.changes)
        return jobs, True

    def _write(self, jobs: list[_Job]) -> None:
        try:
            batch = observers.record([change for job in jobs for change in job.changes])
        except Exception as error:
            self._failed(jobs, error)
            return
        self._release(jobs)
        self.failing = False
        answers, start = [], 0
        for job in jobs:
            answers.append(batch.outcomes[start : start + len(job.changes)])
            start += len(job.changes)
        for job, answer in zip(jobs, answers, strict=True):
            if not job.on_loop:
                job.answer(answer)
        self._loop.call_soon_threadsafe(
            self._tell, batch, [(j, a) for j, a in zip(jobs, answers, strict=True) if j.on_loop]
        )

    def _tell(self, batch: Batch, answers: list[tuple[_Job, Outcomes]]) -> None:
        for job, answer in answers:
            job.answer(answer)
        self._committed(batch)

    def _failed(self, jobs: list[_Job], error: Exception) -> None:
        """The batch was not committed.

        A database that is away concerns everybody; any other error only the job that brings it.
        """
        away = isinstance(error, DatabaseError) and not isinstance(error, DataError | IntegrityError)
        known, self.failing = away and self.failing, away
        try:
            connection.close()
            pool.renew()
        except Exception:
            # Whatever it is: without its thread nothing would be written, and nobody answered, ever again.
            log.exception("the writer's connection cannot be closed")
        if len(jobs) > 1 and not away:
            for job in jobs:
                self._write([job])
            return
        self._release(jobs)
        log.error(
            "%d changes not recorded: %s: %s",
            sum(len(j.changes) for j in jobs),
            type(error).__name__,
            error,
            exc_info=None if known else error,  # a disk that is full need not be told at length each time
        )
        told = Unavailable("the database does not take this right now", retry_after=1) if away else error
        for job in jobs:
            if job.on_loop:
                self._loop.call_soon_threadsafe(job.answer, told)
            else:
                job.answer(told)


_current: Writer | None = None


def start(loop: asyncio.AbstractEventLoop, committed: Callable[[Batch], None]) -> Writer:
    """Start the writer of this process."""
    global _current
    _current = Writer(loop, committed)
    return _current


def stop() -> None:
    """End the writer of this process; what waits is written first."""
    global _current
    if _current:
        writer, _current = _current, None
        writer.close()


def failing() -> bool:
    """Whether the last commit of this process failed by the database."""
    return _current is not None and _current.failing


def waiting() -> int:
    """Changes that wait for this process's writer, or are being written."""
    return 0 if _current is None else _current._count


def record(changes: Sequence[Change]) -> Outcomes:
    """Record changes from synchronous code: through this process's writer when there is one, else directly."""
    if _current is None:
        return observers.record(changes).outcomes
    return _current.commit_from_thread(changes)


async def commit(changes: Sequence[Change]) -> Outcomes:
    """Record changes from the event loop of the server process."""
    if _current is None:
        raise Unavailable("the server is ending; try again", retry_after=1)
    return await _current.commit(changes)
