"""Between server processes: each tells the others of its commits, through Redis. A hint, never the truth.

What is told is what was committed, so that the others need not read it. Each process keeps the keys of the log rows of
the last seconds that it has heard of, and looks at the log every second: what is there and was not heard of (Redis was
away, a process lagged) it reads, and hears of it so. Without `REDIS_URL` there is one process and nothing to do.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import redis.asyncio as redis
from django.conf import settings

from tracker import telling, unheard
from tracker.bus import mailbox
from tracker.bus.group import Key
from tracker.changes import Batch
from tracker.reader import Reader

log = logging.getLogger(__name__)
CHANNEL = "soorma:commits"
LARGEST = 1_000_000  # bytes of one telling; what is larger is read from the log
LOOK_SECONDS = 1.0  # between two looks at the log
LOOKS = 5  # a row whose key is lower than one that was seen before it has so many looks to appear in
PAGE = 500  # rows read at once
SILENT_SECONDS = 5.0  # without a word from Redis: ask whether it is there
RETRY_SECONDS = 0.5


class Relay:
    """Tells and hears of commits. All of it belongs on the event loop."""

    def __init__(
        self, heard: Callable[[Batch], None], missed: Callable[[], None], left: Callable[[Key, list[int]], None]
    ) -> None:
        """Calls `heard` with what another process committed, once each row.

        `missed`: some of it was not told, so its deadlines and what it handed over are not known. `left`: no agent of a
        queue group is connected to another process any more, which has served these messages of late.
        """
        self.lag = 0.0  # seconds the newest telling took, by the clocks of both processes
        self.missed_rows = 0  # read from the log, since nobody told of them
        self._heard, self._missed, self._left = heard, missed, left
        self._me = uuid4().hex
        self._out: asyncio.Queue[bytes] = asyncio.Queue(maxsize=10_000)
        self._reader = Reader(threads=1, name="relay-read")
        self._known: set[int] = set()  # keys of rows of the last looks that this process has heard of
        self._heads: deque[int] = deque(
            maxlen=LOOKS
        )  # newest key, once a second; up to the oldest of so many, all was heard of
        self._next_head_at = 0.0
        self._doubt = asyncio.Event()  # something was not told
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def shared(self) -> bool:
        """Whether there may be other processes."""
        return bool(settings.REDIS_URL)

    def start(self) -> None:
        """Begin to tell and to listen."""
        if self.shared:
            self._doubt = asyncio.Event()  # of the loop that runs now
            work = (self._tell_all(), self._listen(), self._look())
            self._tasks = [asyncio.create_task(one, name="relay") for one in work]

    async def stop(self) -> None:
        """Tell what is left (a moment), and end."""
        if self._tasks:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._out.join()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._reader.close()

    def tell(self, batch: Batch) -> None:
        """This process committed a batch."""
        if self._tasks and (batch.rows or batch.due_at):
            self._say(encode(self._me, batch))

    def tell_left(self, key: Key, served: list[int]) -> None:
        """No agent of a queue group is connected here any more; these messages were served here of late."""
        if self._tasks:
            self._say(orjson.dumps([self._me, "left", key, served]))

    def _say(self, text: bytes) -> None:
        with suppress(asyncio.QueueFull):  # the others will see it in the log
            self._out.put_nowait(text)

    async def _tell_all(self) -> None:
        client = redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
        try:
            while True:
                text = await self._out.get()
                try:
                    await client.publish(CHANNEL, text)
                except Exception as error:
                    # Whatever it is: without this task the others would never be told again.
                    log.warning("the other processes were not told of a commit: %s", error)
                    while not self._out.empty():  # they see it in the log
                        self._out.get_nowait()
                        self._out.task_done()
                    await asyncio.sleep(RETRY_SECONDS)
                finally:
                    self._out.task_done()
        finally:
            await client.aclose()

    async def _listen(self) -> None:
        while True:
            client = redis.from_url(settings.REDIS_URL, socket_connect_timeout=2)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    self._doubt.set()
                    await self._hear(channel)
            except Exception as error:
                log.warning("not hearing of other processes' commits: %s; the log is looked at instead", error)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                with suppress(redis.RedisError, OSError):
                    await client.aclose()

    async def _hear(self, channel: Any) -> None:
        """Take what comes; ConnectionError when Redis does not answer any more, though the connection is open."""
        asked = False
        while True:
            message = await channel.get_message(timeout=SILENT_SECONDS)
            if message is None and asked:
                raise redis.ConnectionError("no answer")
            asked = message is None
            if asked:
                await channel.ping()
            elif message["type"] == "message":
                self._take(message["data"])

    def _take(self, text: bytes) -> None:
        sender, what, *more = orjson.loads(text)
        if sender == self._me:
            return
        if what == "left":
            (workspace_id, tenant_id, name), served = more
            self._left((workspace_id, tenant_id, name), served)
        elif what == "large":
            self._doubt.set()
        else:
            batch = decode(*more)
            if batch.rows:
                written_at = datetime.fromisoformat(batch.rows[-1].row["recorded_at"])
                self.lag = (datetime.now(UTC) - written_at).total_seconds()
            self._heard(self.news(batch))

    def news(self, batch: Batch) -> Batch:
        """What of a batch, committed here or elsewhere, has not been heard of (nearly always all); from now on it has.

        Rows that found their plan have old keys: they are told anew, which does no harm.
        """
        if not self._tasks:
            return batch
        settled = self._heads[0] if len(self._heads) == LOOKS else 0
        keys = {row.row_id for row in batch.rows}
        old = {key for key in keys if key <= settled or key in self._known}
        self._known |= keys - old
        if not old:
            return batch
        rows = [row for row in batch.rows if row.row_id not in old or row.row["kind"] == "message"]
        messages = [message for message in batch.messages if message.row_id not in old or message.again]
        return Batch([], rows, messages, row_count=len(rows), plan_count=batch.plan_count, due_at=batch.due_at)

    async def _look(self) -> None:
        while True:
            try:
                await self._look_once()
            except Exception:
                # Whatever it is: without this task a telling that is lost would stay so.
                log.exception("the log could not be looked at; trying again")
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._doubt.wait()

    async def _look_once(self) -> None:
        doubt = self._doubt.is_set()
        self._doubt.clear()
        head = await self._reader.read(mailbox.head)
        if self._heads:
            # What was committed a moment ago may still be on its way.
            await self._read_unheard(self._heads[0], head if doubt else self._heads[-1])
        now = asyncio.get_running_loop().time()
        if now >= self._next_head_at:
            self._heads.append(head)
            self._next_head_at = now + LOOK_SECONDS
        self._known = {key for key in self._known if key > self._heads[0]}

    async def _read_unheard(self, after: int, upto: int) -> None:
        if upto <= after or await self._reader.read(unheard.count, after, upto) == self._known_between(after, upto):
            return
        keys = [key for key in await self._reader.read(unheard.keys, after, upto) if key not in self._known]
        for start in range(0, len(keys), PAGE):
            batch = self.news(await self._reader.read(unheard.batch, keys[start : start + PAGE]))
            self.missed_rows += len(batch.rows)
            self._heard(batch)
        if keys:
            log.info("%d log rows of other processes were not told of in time and have been read", len(keys))
            self._missed()

    def _known_between(self, after: int, upto: int) -> int:
        return sum(after < key <= upto for key in self._known)


def encode(sender: str, batch: Batch) -> bytes:
    """A batch as it is told; without its content when that is too large."""
    text = telling.encode(batch)
    return orjson.dumps([sender, "commit", orjson.Fragment(text)] if len(text) <= LARGEST else [sender, "large"])


def decode(told: list[Any]) -> Batch:
    """What was told of a commit."""
    rows, messages, due_at = telling.decode(*told)
    return Batch([], rows, messages, row_count=len(rows), due_at=due_at)
