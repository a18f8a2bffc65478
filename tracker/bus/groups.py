"""The bus of this process: every queue group, and which of them listens to what is recorded."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tracker.bus import announce, answers, mailbox
from tracker.bus.connections import Connection
from tracker.bus.group import Group, Key
from tracker.bus.mailbox import Registered
from tracker.bus.ownership import ownership
from tracker.bus.roll import Roll
from tracker.changes import Batch, Delivery
from tracker.errors import Unavailable
from tracker.reader import Reader

log = logging.getLogger(__name__)
CLAIM_SECONDS = 1.0  # between two looks whether a process has left a group without saying so
WORD_SECONDS = 0.25  # for the word of a process that has left a group to arrive; one that died says none
LATELY_SECONDS = 10.0  # so long after another process has left a group, its messages may come late
STREAMS_SECONDS = 2  # for streams to send what is left when the server ends
CUT_SECONDS = 1  # for those that were cut because their readers did not take it


class Bus:
    """All groups of this process. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}
        self.accepting = False
        self._version = 0  # of the registry, as far as this process has heard
        self._left = asyncio.Event()  # somebody has
        self._ended: asyncio.Task[None] | None = None
        self.changed: Callable[[int], None] = lambda workspace_id: None  # agents of a workspace came or went
        self._reader = Reader(threads=2, name="bus-read")
        self._owners = ownership()
        self.roll = Roll(shared=self._owners.shared)
        self._tasks: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[None] | None = None
        self._left_lately: dict[Key, tuple[float, list[int]]] = {}  # by other processes: when, and what they had served

    def start(self, changed: Callable[[int], None], tell_left: Callable[[Key, list[int]], None]) -> None:
        """Take connections from now on.

        `changed` is told of each workspace whose agents come or go, `tell_left` of each group of which no connection is
        here any more, for the other processes: they call `left` with it.
        """
        self.accepting, self.changed, self._tell_left = True, changed, tell_left
        if self._owners.shared:
            self._claiming = asyncio.create_task(self._claim_all(), name="bus-claim")

    async def join(self, connection: Connection) -> None:
        """Add a connection to its group; what waits for a registered name follows."""
        if not self.accepting:
            raise Unavailable("the server is ending; connect again", retry_after=1)
        if ":" in connection.name:
            connection.name = await self._reader.read(mailbox.base_name, connection.workspace_id, connection.name)
        key = (connection.workspace_id, connection.tenant_id, connection.name)
        registered = await self._known(key)
        group = self.groups.setdefault(key, Group(key, self._reader, shared=self._owners.shared))
        if registered:
            await self._listens(group, registered, connection)
        await self._enrol(connection, registered)
        if not group.owner:
            await self._claim(group, joining=True)
        group = self.groups.setdefault(key, group)  # its last connection may have left meanwhile
        connection.on_answers = partial(self._answers_sent, connection)
        group.join(connection)
        self.changed(connection.workspace_id)

    def _answers_sent(self, connection: Connection, row_ids: list[int]) -> None:
        self._spawn(answers.sent(connection.workspace_id, connection.name, row_ids))

    async def _enrol(self, connection: Connection, registered: Registered | None) -> None:
        """Tell the ledger of a connection before it is given anything."""
        try:
            if registered:
                await self.roll.came(connection)
            if not self.accepting:
                raise Unavailable("the server is ending; connect again", retry_after=1)
        except BaseException:
            if connection.enrolled:
                self._spawn(self.roll.left(connection, None))
            raise

    async def _known(self, key: Key) -> Registered | None:
        """What the registry says of a name, asked again when the registry has changed meanwhile."""
        while True:
            version = self._version
            registered = await self._reader.read(mailbox.registered, *key)
            if version == self._version:
                return registered

    def leave(self, connection: Connection) -> None:
        """A connection ended."""
        group = self.groups.get((connection.workspace_id, connection.tenant_id, connection.name))
        if group:
            group.leave(connection)
            if connection.enrolled:
                same = (c for c in group.connections if c.agent_id == connection.agent_id)
                self._spawn(self._left_for_good(connection, next(same, None)))
            if not group.connections:
                if group.shared:
                    self._spawn(self._hand_on(group))
                elif group.registered is None:
                    del self.groups[group.key]
        self._left.set()
        self.changed(connection.workspace_id)

    async def _left_for_good(self, connection: Connection, heir: Connection | None) -> None:
        """Have it recorded that a connection ended; only then lists that are read from the database show it."""
        await self.roll.left(connection, heir)
        self.changed(connection.workspace_id)

    @staticmethod
    def _know(group: Group, registered: Registered) -> None:
        """Take over what the registry says; cursors that have moved on in this process stay."""
        if group.registered:
            registered.requests_cursor = max(registered.requests_cursor, group.registered.requests_cursor)
            registered.results_cursor = max(registered.results_cursor, group.registered.results_cursor)
        group.registered = registered

    async def _claim_all(self) -> None:
        """Now and then: take over groups that no process serves, let go of those without a connection here."""
        while True:
            await asyncio.sleep(CLAIM_SECONDS)
            try:
                if await self.roll.lives():
                    await self._enrol_all()
                groups = list(self.groups.values())
                await asyncio.gather(*(self._claim(one) if one.connections else self._hand_on(one) for one in groups))
            except Exception:
                # Whatever it is: without this task no group would be taken over from a process that died.
                log.exception("who serves which group cannot be settled; trying again")

    async def _hand_on(self, group: Group) -> None:
        """No connection of the group is here any more: another process may serve it, from where this one stopped."""
        async with group.settling:
            if group.owner and not group.connections:
                await group.stop()
            if not group.connections:
                served = group.served() if group.owner else None
                group.own(False)
                await self._owners.release(group.key)
                if served is not None:
                    self._tell_left(group.key, served)
        if group.connections:  # somebody came meanwhile
            await self._claim(group)
            group.look_again()
        elif group.registered is None and self.groups.get(group.key) is group:
            del self.groups[group.key]

    def left(self, key: Key, served: list[int]) -> None:
        """Another process serves this group no more; these messages it has served of late."""
        now = asyncio.get_running_loop().time()
        self._left_lately = {k: (at, keys) for k, (at, keys) in self._left_lately.items() if at > now - LATELY_SECONDS}
        self._left_lately[key] = now, served
        group = self.groups.get(key)
        if group and group.connections:
            self._spawn(self._claim(group))

    async def _enrol_all(self) -> None:
        """The others took this process for dead: say who is connected to it."""
        for group in list(self.groups.values()):
            for connection in list(group.connections):
                if connection.enrolled:
                    await self.roll.came(connection)
                    if connection not in group.connections:
                        await self.roll.left(connection, None)

    async def _claim(self, group: Group, *, joining: bool = False) -> None:
        """Serve the group if no other process does; from where its last one left it.

        `joining`: a connection is about to.
        """
        async with group.settling:
            if not (group.connections or joining):
                return
            owner = await self._owners.own(group.key)
            if owner != group.owner:
                registered = await self._reader.read(mailbox.registered, *group.key) if owner else None
                if owner and group.aside and group.key not in self._left_lately:
                    await asyncio.sleep(WORD_SECONDS)
                _, served = self._left_lately.pop(group.key, (0, [])) if owner else (0, [])
                group.own(owner, registered, served)

    def refresh(self, workspace_id: int, name: str) -> None:
        """The registry changed for this name: its connected groups look again what they consume."""
        self._version += 1
        for group in list(self.groups.values()):
            if group.key[0] == workspace_id and group.key[2] == name and group.connections:
                self._spawn(self._refresh(group))

    def look_again(self) -> None:
        """Something was recorded of which nobody told: all groups read what waits in the log."""
        for group in self.groups.values():
            if group.connections:
                group.look_again()

    async def _refresh(self, group: Group) -> None:
        registered = await self._reader.read(mailbox.registered, *group.key)
        if registered:
            await self._listens(group, registered)
            for connection in [c for c in group.connections if not c.enrolled]:
                await self.roll.came(connection)
                if connection not in group.connections:
                    await self.roll.left(connection, None)
            group.look_again()

    async def _listens(self, group: Group, registered: Registered, *more: Connection) -> None:
        """A registered name listens from now on to what its connections do, and these that join them."""
        patterns = sorted({p for c in (*group.connections, *more) for p in c.patterns})
        await self._reader.read(mailbox.connected, registered, patterns)
        self._know(group, registered)

    def route(self, batch: Batch) -> None:
        """Offer the messages of a commit to every group that listens, and the tracker's own word on what moved."""
        if not self.groups:
            return
        for delivery in batch.messages:
            self._offer(delivery)
        listening = {key[0] for key, group in self.groups.items() if group.topics & announce.TOPICS}
        for recorded in batch.rows:
            if recorded.workspace_id in listening:
                for word in announce.announcements(recorded):
                    self._offer(word)

    def _offer(self, delivery: Delivery) -> None:
        for (workspace_id, tenant_id, _), group in list(self.groups.items()):
            if (
                workspace_id == delivery.workspace_id
                and tenant_id in ("", delivery.tenant_id)
                and delivery.topic in group.topics
            ):
                group.offer(delivery)

    def connected(self, workspace_id: int) -> set[str]:
        """Agent ids that are connected here."""
        return {c.agent_id for g in self.groups.values() if g.key[0] == workspace_id for c in g.connections}

    def end_streams(self) -> None:
        """Take no new streams, and end those that are open once each has what was handed over to it."""
        self.accepting, self.roll.ending = False, True
        if self._ended is None:
            self._ended = asyncio.create_task(self._end_streams(), name="bus-end")

    async def _end_streams(self) -> None:
        await asyncio.gather(*(group.settle() for group in self.groups.values()))
        for group in self.groups.values():
            for connection in group.connections:
                connection.end()
        await self._all_left(STREAMS_SECONDS)
        for group in self.groups.values():
            for connection in group.connections:
                if connection.cut:
                    connection.cut()
        await self._all_left(CUT_SECONDS)

    async def _all_left(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(group.connections for group in self.groups.values()):
                    self._left.clear()
                    await self._left.wait()

    async def stop(self) -> None:
        """End all streams, wait for them (a few seconds), save the cursors."""
        self.end_streams()
        assert self._ended
        await self._ended
        if self._claiming:
            self._claiming.cancel()
            await asyncio.gather(self._claiming, return_exceptions=True)
        await asyncio.gather(*(g.stop() for g in self.groups.values()), *self._tasks, return_exceptions=True)
        await self._owners.close()
        self._reader.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
