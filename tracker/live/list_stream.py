"""List streams: whole items, the newest wins, and a digest by which a client knows whether it missed one.

Subscribers that see the same (workspace, tenant, filter) are one audience: what it is told is read and encoded once.
One task per audience does all of it, so that nothing older is ever told after something newer.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from tracker.live.connection import Connection
from tracker.live.protocol import Frame, Item, digest, encode, now
from tracker.projections.lookup import Sight
from tracker.reader import Reader

log = logging.getLogger(__name__)
PACE_SECONDS = 0.1  # between two patches for one audience
RETRY_SECONDS = 5.0  # after a fault of ours


@dataclass(frozen=True, slots=True)
class View:
    """What an audience sees: a window on a workspace, and which of its things (`filter`: JSON, as in Subscribe)."""

    sight: Sight
    filter: str = "{}"


class Source(Protocol):
    """Where a list comes from. Its functions are blocking."""

    whole: bool
    """Whether the window is the whole list, so that what is not in it is gone."""

    def window(self, view: View) -> list[Item]:
        """The list as a page opens it, in its order."""

    def changed(self, view: View, keys: Collection[int]) -> tuple[list[Item], list[str]]:
        """Of the things with these primary keys: the items that belong to the view, and the ids that (now) do not."""


class ListSubscription:
    """One socket on one list."""

    def __init__(self, connection: Connection, name: str) -> None:
        """`name`: of the stream."""
        self.connection = connection
        self.name = name
        self.audience: Audience | None = None
        self._waiting: asyncio.Task[None] | None = None

    def take(self, frame: Frame) -> None:
        """A patch or a head; when it does not fit, a snapshot replaces all that waits."""
        if not self.connection.offer(self.name, frame):
            self.connection.overflowed(self.name)
            self._take_again_later()

    def take_snapshot(self, frame: Frame) -> None:
        """A snapshot; when it does not fit, another later."""
        if not self.connection.offer(self.name, frame):
            self._take_again_later()

    def _take_again_later(self) -> None:
        if self.audience is not None and self.connection.open:
            self.audience.set_aside(self)
            self._waiting = asyncio.create_task(self._join_when_drained(self.audience), name="live-list-wait")

    async def _join_when_drained(self, audience: "Audience") -> None:
        await self.connection.drained()
        audience.add(self)

    def stop(self) -> None:
        """Send no more."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self.audience is not None:
            self.audience.discard(self)
            self.audience = None


class Audience:
    """Those who see the same of one list."""

    def __init__(self, name: str, view: View, source: Source, reader: Reader, on_empty: Callable[[View], None]) -> None:
        """`name`: of the stream; `on_empty` is called with the view when the last one has left."""
        self.name = name
        self.view = view
        self.encoded = 0  # frames
        self._source = source
        self._reader = reader
        self._on_empty = on_empty
        self._members: set[ListSubscription] = set()
        self._fresh: set[ListSubscription] = set()  # wait for a snapshot
        self._aside: set[ListSubscription] = set()  # have no room for one
        self._dirty: set[int] = set()
        self._changed = False
        self._head_due = False
        self._known: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="live-audience")

    def add(self, member: ListSubscription) -> None:
        """The member gets a snapshot, then what changes."""
        member.audience = self
        self._aside.discard(member)
        self._fresh.add(member)
        self._wake.set()

    def discard(self, member: ListSubscription) -> None:
        """The member hears no more."""
        for some in (self._members, self._fresh, self._aside):
            some.discard(member)
        if not (self._members or self._fresh or self._aside):
            self._task.cancel()
            self._on_empty(self.view)

    def set_aside(self, member: ListSubscription) -> None:
        """The member hears no more until it is added again."""
        self._members.discard(member)
        self._aside.add(member)

    def changed(self, keys: Iterable[int] = ()) -> None:
        """Things changed: those with these primary keys, or any."""
        self._changed = True
        self._dirty.update(keys)
        self._wake.set()

    def head_due(self) -> None:
        """It is time to say what the list looks like."""
        self._head_due = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._work()
            except Exception:
                log.exception("the stream %s cannot be served, trying again", self.name)
                await asyncio.sleep(RETRY_SECONDS)
                self.head_due()

    async def _work(self) -> None:
        if self._fresh:
            await self._snapshot()
        if self._head_due:
            self._head_due = False
            items = await self._tell_window(self._members)
            self._give(encode("head", stream=self.name, digest=digest(items), time=now()), self._members)
        elif self._changed:
            await self._tell_changes()
            await asyncio.sleep(PACE_SECONDS)

    async def _snapshot(self) -> None:
        joining, self._fresh = self._fresh, set()
        here = set(self._members)
        self._members |= joining
        items = await self._tell_window(here)
        bodies = [item.body for item in items]
        frame = encode("snapshot", stream=self.name, data={"items": bodies}, digest=digest(items), time=now())
        for member in joining & self._members:
            member.take_snapshot(frame)

    async def _tell_changes(self) -> None:
        keys, self._dirty, self._changed = self._dirty, set(), False
        if self._source.whole:
            await self._tell_window(self._members)
        else:
            items, gone = await self._reader.read(self._source.changed, self.view, keys)
            self._patch(items, gone, self._members)

    async def _tell_window(self, members: set[ListSubscription]) -> list[Item]:
        """Read the list and tell these members what of it they have not been told: on its way still, or lost."""
        items = await self._reader.read(self._source.window, self.view)
        stamps = {item.id: item.stamp for item in items}
        gone = [one for one in self._known if one not in stamps] if self._source.whole else []
        self._patch([item for item in items if self._known.get(item.id) != item.stamp], gone, members)
        self._known = stamps
        return items

    def _patch(self, items: list[Item], gone: list[str], members: set[ListSubscription]) -> None:
        for item in items:
            self._known[item.id] = item.stamp
        if members and (items or gone):
            self._give(encode("patch", stream=self.name, items=[item.body for item in items], gone=gone), members)
            self.encoded += 1

    def _give(self, frame: Frame, members: set[ListSubscription]) -> None:
        for member in list(members):
            member.take(frame)
