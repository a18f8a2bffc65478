"""Between server processes: each tells the others of its commits, through Redis. A hint, never the truth.

What is told is what was committed, so that the others need not read it. What is lost (Redis restarts, a process lags)
is noticed by looking at the log's head every few seconds, and read from the log. Without `REDIS_URL` there is one
process and nothing to do.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import redis.asyncio as redis
from django.conf import settings

from tracker.bus import mailbox
from tracker.changes import Batch, Delivery, Recorded
from tracker.reader import Reader

log = logging.getLogger(__name__)
CHANNEL = "soorma:commits"
LARGEST = 1_000_000  # bytes of one telling; what is larger is read from the log
LOOK_SECONDS = 2.0  # between two looks at the log's head
RETRY_SECONDS = 0.5


class Relay:
    """Tells and hears of commits. `heard`: another process committed this; `missed`: something was not heard of."""

    def __init__(self, heard: Callable[[Batch], None], missed: Callable[[], None]) -> None:
        self.lag = 0.0  # seconds the newest telling took, by the clocks of both processes
        self._heard, self._missed = heard, missed
        self._me = uuid4().hex
        self._out: asyncio.Queue[bytes] = asyncio.Queue(maxsize=10_000)
        self._reader = Reader(threads=1, name="relay-read")
        self._head = 0  # newest log row that this process knows of
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def shared(self) -> bool:
        """Whether there may be other processes."""
        return bool(settings.REDIS_URL)

    def start(self) -> None:
        """Begin to tell and to listen."""
        if self.shared:
            work = (self._tell_all(), self._listen(), self._look())
            self._tasks = [asyncio.create_task(one, name="relay") for one in work]

    async def stop(self) -> None:
        """Tell what is left (a moment), and end."""
        if self._tasks:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._out.join(), 1)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._reader.close()

    def tell(self, batch: Batch) -> None:
        """This process committed a batch."""
        if not (self._tasks and (batch.rows or batch.due_at)):
            return
        self._head = max((self._head, *(row.row_id for row in batch.rows)))
        with suppress(asyncio.QueueFull):  # the others will see it by the head
            self._out.put_nowait(encode(self._me, batch))

    async def _tell_all(self) -> None:
        client = redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2)
        try:
            while True:
                text = await self._out.get()
                try:
                    await client.publish(CHANNEL, text)
                except redis.RedisError as error:
                    log.warning("the other processes were not told of a commit: %s", error)
                    await asyncio.sleep(RETRY_SECONDS)
                finally:
                    self._out.task_done()
        finally:
            await client.aclose()

    async def _listen(self) -> None:
        while True:
            client = redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, health_check_interval=5)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    self._missed()
                    async for message in channel.listen():
                        self._take(message["data"])
            except (redis.RedisError, OSError) as error:
                log.warning("not hearing of other processes' commits: %s; the log is looked at instead", error)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                with suppress(redis.RedisError, OSError):
                    await client.aclose()

    def _take(self, text: bytes) -> None:
        sender, batch = decode(text)
        if sender == self._me:
            return
        if batch is None:
            self._missed()
            return
        self._head = max((self._head, *(row.row_id for row in batch.rows)))
        if batch.rows:
            written_at = datetime.fromisoformat(batch.rows[-1].row["recorded_at"])
            self.lag = (datetime.now(UTC) - written_at).total_seconds()
        self._heard(batch)

    async def _look(self) -> None:
        while True:
            head = await self._reader.read(mailbox.head)
            if head > self._head:
                # Either lost, or still on its way: reading the log is right in both cases.
                self._head = head
                self._missed()
            await asyncio.sleep(LOOK_SECONDS)


def encode(sender: str, batch: Batch) -> bytes:
    """A batch as it is told; without its content when that is too large."""
    rows = [(r.row_id, r.workspace_id, r.tenant_id, r.plan_key, r.plan_id, r.row) for r in batch.rows]
    messages = [
        (d.row_id, d.workspace_id, d.tenant_id, d.topic, d.type, d.frame, d.again, d.own, d.avoid)
        for d in batch.messages
    ]
    text = orjson.dumps([sender, rows, messages, batch.due_at])
    return text if len(text) <= LARGEST else orjson.dumps([sender, None, None, None])


def decode(text: bytes) -> tuple[str, Batch | None]:
    """Who told, and what; None when it was too large to be told."""
    sender, rows, messages, due_at = orjson.loads(text)
    if rows is None:
        return sender, None
    recorded = [Recorded(*row) for row in rows]
    deliveries: list[Any] = [Delivery(*message) for message in messages]
    due = datetime.fromisoformat(due_at) if due_at else None
    return sender, Batch([], recorded, deliveries, row_count=len(recorded), due_at=due)
