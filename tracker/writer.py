"""Group commit: what waits goes into one transaction, for the whole server process.

No delay is added: an idle lane takes a change at once, and while it commits, the next ones gather. Every caller is
answered only after the commit that holds its change, while the next commit is under way. Outside the server process
(commands, tests) `record` commits directly.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from zlib import crc32

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, connections

from tracker import ledger, observers, pool
from tracker.changes import Batch, Change, Message, Outcome
from tracker.errors import Unavailable
from tracker.in_order import InOrder
from tracker.ledger_process import Ended, LedgerProcess

log = logging.getLogger(__name__)
MOST = 500  # changes in one transaction
DOUBT_SECONDS = 1.0  # for a commit whose end nobody heard of to be seen in the log
Outcomes = list[Outcome]


@dataclass(slots=True)
class _Job:
    """Changes of one caller, and where its answer goes: outcomes, or the error that kept them from being recorded."""

    changes: Sequence[Change]
    answer: asyncio.Future[Outcomes] | Future[Outcomes]

    def tell(self, result: Outcomes | Exception) -> None:
        """Answer the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(result) if isinstance(result, Exception) else self.answer.set_result(result)


class Writer:
    """What waits to be recorded, and how it is. On the event loop, but for `commit_from_thread`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        committed: Callable[[Batch], None],
        listening: Callable[[], bool] = lambda: True,
        processes: Sequence[LedgerProcess] = (),
        missed: Callable[[], None] = lambda: None,
    ) -> None:
        """`committed` is called with each batch, in the order of the log.

        `missed` is, when something may have been committed of which nothing is known: the database, or a process, went
        away before it could say so. `listening` says whether `committed` wants to hear of rows and messages. A lane for
        each of the ledger's processes, one if there is none.
        """
        self._loop, self._listening, self._missed = loop, listening, missed
        self._doubt: asyncio.TimerHandle | None = None
        self._order = InOrder(committed)
        self.count = 0  # changes that wait or are being written
        self.failing = False  # the last commit failed by the database
        self._closed = False
        self._lock = threading.Lock()  # between `close` and the threads that commit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger-writer")
        self._lanes = [_Lane(self, process) for process in processes] or [_Lane(self, None)]
        self._work = [loop.create_task(lane.run(), name="ledger-writer") for lane in self._lanes]

    async def commit(self, changes: Sequence[Change]) -> Outcomes:
        """Record changes; returns after their commit.

        Raises Unavailable when too much waits, the database does not answer or the server ends.
        """
        job = _Job(changes, answer := self._loop.create_future())
        self._put(job)
        outcomes: Outcomes = await answer
        return outcomes

    def commit_from_thread(self, changes: Sequence[Change]) -> Outcomes:
        """The same for synchronous code in another thread."""
        job = _Job(changes, answer := Future[Outcomes]())
        with self._lock:
            if self._closed:
                raise Unavailable("the server is ending; try again", retry_after=1)
            self._loop.call_soon_threadsafe(self._put_or_tell, job)
        return answer.result()

    async def close(self) -> None:
        """Write what waits, then end; from now on Unavailable is raised."""
        with self._lock:
            self._closed = True
        for lane in self._lanes:
            lane.close()
        await asyncio.gather(*self._work)
        if self._doubt:
            self._doubt.cancel()
        await self._loop.run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown()

    def _put_or_tell(self, job: _Job) -> None:
        try:
            self._put(job)
        except Unavailable as error:
            job.tell(error)

    def _put(self, job: _Job) -> None:
        if self._closed:
            raise Unavailable("the server is ending; try again", retry_after=1)
        if self.count and self.count + len(job.changes) > settings.WRITER_QUEUE:
            raise Unavailable("too many changes wait to be written; try again", retry_after=1)
        self.count += len(job.changes)
        self._lanes[crc32(_about(job).encode()) % len(self._lanes)].put(job)

    async def record(self, changes: Sequence[Change], process: LedgerProcess | None) -> Batch:
        """Have changes recorded: by the process if it can, else by a thread."""
        begun, under_way = perf_counter(), self._order.begin()
        try:
            if process and process.there and not any(change.at_home or change.write for change in changes):
                batch = await process.record(changes, listened=self._listening())
            else:
                batch = await self._loop.run_in_executor(self._thread, _record, changes)
        except BaseException:
            self._order.end(under_way)
            raise
        self._order.end(under_way, batch)
        self.failing = False
        observers.tell(changes, batch, begun)
        return batch

    def answer(self, jobs: Sequence[_Job], outcomes: Outcomes) -> None:
        """The jobs were committed: make room, answer their callers, tell of it."""
        self.count -= len(outcomes)
        start = 0
        for job in jobs:
            job.tell(outcomes[start : start + len(job.changes)])
            start += len(job.changes)
        self._order.tell_ready()

    def refuse(self, jobs: Sequence[_Job], error: Exception, *, away: bool) -> None:
        """The jobs were not committed; `away`: for the database, which tells nobody more than that."""
        known, self.failing = away and self.failing, away
        if away:
            self._doubt = self._doubt or self._loop.call_later(DOUBT_SECONDS, self._look)
        log.error(
            "%d changes not recorded: %s: %s",
            sum(len(job.changes) for job in jobs),
            type(error).__name__,
            error,
            # A disk that is full need not be told at length each time.
            exc_info=None if known or isinstance(error, Ended) else error,
        )
        told = Unavailable("the database does not take this right now", retry_after=1) if away else error
        self.count -= sum(len(job.changes) for job in jobs)
        for job in jobs:
            job.tell(told)
        self._order.tell_ready()

    def _look(self) -> None:
        self._doubt = None
        self._missed()


class _Lane:
    """One batch after the other."""

    def __init__(self, writer: Writer, process: LedgerProcess | None) -> None:
        self._writer, self._process = writer, process
        self._waiting: deque[_Job] = deque()
        self._some = asyncio.Event()
        self._closed = False

    def put(self, job: _Job) -> None:
        """Let it wait for the next batch."""
        self._waiting.append(job)
        self._some.set()

    def close(self) -> None:
        """End when nothing waits any more."""
        self._closed = True
        self._some.set()

    async def run(self) -> None:
        """Until it is closed."""
        if self._process:
            await self._process.connect()
        while self._waiting or not self._closed:
            if self._waiting:
                await self._write(self._gather())
            else:
                self._some.clear()
                await self._some.wait()
        if self._process:
            await self._process.disconnect()

    def _gather(self) -> list[_Job]:
        """All jobs that wait, up to `MOST` changes."""
        jobs = [self._waiting.popleft()]
        size = len(jobs[0].changes)
        while self._waiting and size < MOST:
            jobs.append(self._waiting.popleft())
            size += len(jobs[-1].changes)
        return jobs

    async def _write(self, jobs: list[_Job]) -> None:
        """Record jobs together.

        A database that is away concerns all of them; any other error only the job that brings it.
        """
        try:
            batch = await self._writer.record([change for job in jobs for change in job.changes], self._process)
        except Exception as error:
            away = isinstance(error, DatabaseError) and not isinstance(error, DataError | IntegrityError)
            if away or len(jobs) == 1:
                self._writer.refuse(jobs, error, away=away)
            else:
                for job in jobs:
                    await self._write([job])
        else:
            # Soon: the next batch goes first, so that it is recorded while these callers are answered.
            asyncio.get_running_loop().call_soon(self._writer.answer, jobs, batch.outcomes)


def _about(job: _Job) -> str:
    """What decides over a job's lane: messages of one plan mostly take the same, all else takes one and the same."""
    first = job.changes[0]
    if not isinstance(first, Message):
        return ""
    said = first.envelope
    return str(said.data.get("plan_id") or said.plan_id or said.correlation_id)


def _record(changes: Sequence[Change]) -> Batch:
    try:
        return ledger.record(changes)
    except Exception:
        pool.forget()
        raise


_current: Writer | None = None


def start(
    loop: asyncio.AbstractEventLoop,
    committed: Callable[[Batch], None],
    listening: Callable[[], bool],
    processes: Sequence[LedgerProcess],
    missed: Callable[[], None],
) -> Writer:
    """Start the writer of this process."""
    global _current
    _current = Writer(loop, committed, listening, processes, missed)
    return _current


async def stop() -> None:
    """End the writer of this process; what waits is written first."""
    global _current
    if _current:
        writer, _current = _current, None
        await writer.close()


def failing() -> bool:
    """Whether the last commit of this process failed by the database."""
    return _current is not None and _current.failing


def waiting() -> int:
    """Changes that wait for this process's writer, or are being written."""
    return 0 if _current is None else _current.count


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
