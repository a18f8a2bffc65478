"""The bus in one process: connected agents by queue group, and who gets which message.

A group is all connections of one agent name; each message goes to one of them. Groups of registered names are served from the log
in order: requests that they consume are handed over (committed first: at most once an attempt), all else is sent before its
cursor is saved (at least once). Groups of names that never registered get what comes while they are connected.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from tracker import writer
from tracker.bus import announce, mailbox
from tracker.bus.connections import Connection
from tracker.bus.mailbox import REQUESTS, RESULTS, Registered, Want
from tracker.changes import Batch, Change, Delivery, Handover
from tracker.errors import Problem, Unavailable
from tracker.reader import Reader

log = logging.getLogger(__name__)
Key = tuple[int, str, str]  # workspace id, tenant id or "", agent name
CHUNK = 200  # messages that one round serves
BACKLOG = 20_000  # live messages that a group may be behind before it reads them from the log again
SAVE_SECONDS = 0.5  # between two savings of a results cursor
RETRY_SECONDS = 0.5


class Group:
    """All connections of one agent name that see the same tenant."""

    def __init__(self, key: Key, reader: Reader) -> None:
        self.key = key
        self.connections: list[Connection] = []
        self.registered: Registered | None = None
        self._reader = reader
        self._backlog: deque[Delivery] = deque()
        self._returned: deque[Delivery] = deque()  # handed over to a connection that ended before they were sent
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._behind = True  # what waits in the log has not been read yet
        self._saved_at = 0.0
        self._results_saved = 0

    @property
    def topics(self) -> frozenset[str]:
        """Topics that at least one of its connections listens to."""
        return frozenset().union(*(c.topics for c in self.connections))

    @property
    def consumed(self) -> frozenset[str]:
        """Event types that at least one of its connections consumes."""
        return frozenset().union(*(c.consumed for c in self.connections))

    def join(self, connection: Connection) -> None:
        """Add a connection; a registered group then reads what waits for it."""
        connection.on_room = self._wake.set
        self.connections.append(connection)
        self.look_again()

    def leave(self, connection: Connection) -> None:
        """Remove a connection; what it certainly never got goes to another one."""
        if connection in self.connections:
            self.connections.remove(connection)
        self._returned.extend(connection.unsent())
        self._wake.set()

    def look_again(self) -> None:
        """What the group consumes may have changed: read the log again for what waits."""
        if self.registered is None:
            return
        for connection in self.connections:
            connection.consumed = self.registered.consumed_by(connection.agent_id)
        self._behind = True
        self._wake.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name=f"bus-{self.key[2]}")

    def offer(self, delivery: Delivery) -> None:
        """A message was recorded just now."""
        if self.registered is None:
            if connection := self._pick(delivery, [c for c in self.connections if delivery.topic in c.topics]):
                connection.put(delivery)
            return
        if len(self._backlog) >= BACKLOG:
            self._backlog.clear()
            self._behind = True
        self._backlog.append(delivery)
        self._wake.set()

    async def stop(self) -> None:
        """End the pump and save what was sent."""
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._save(now=True)

    # --- the pump of a registered group ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self.connections:
            try:
                await self._round()
            except Problem as problem:
                log.warning("bus %s: %s; trying again", self.key[2], problem.detail)
                self._behind = True
                await asyncio.sleep(RETRY_SECONDS)
        await self._save(now=True)

    async def _round(self) -> None:
        """Serve what is there; without anything, wait."""
        self._wake.clear()
        if self._returned:
            items = list(self._returned)
            self._returned.clear()
            await self._serve(items, again=True)
        elif self._behind:
            await self._catch_up()
        elif self._backlog:
            await self._serve([self._backlog.popleft() for _ in range(min(CHUNK, len(self._backlog)))])
        else:
            await self._save()
            await self._wait()

    async def _wait(self) -> None:
        unsaved = self._results_safe() > self._results_saved
        try:
            await asyncio.wait_for(self._wake.wait(), SAVE_SECONDS if unsaved else None)
        except TimeoutError:
            pass

    async def _catch_up(self) -> None:
        """Serve what waits in the log, page after page; what is recorded meanwhile gathers in the backlog."""
        assert self.registered
        self._behind = False
        if old := await self._reader.read(mailbox.never_handed, self._want()):
            await self._serve(old, old=True)
        while page := await self._reader.read(mailbox.waiting, self._want()):
            await self._serve(page)
            if not self.connections:
                return

    def _want(self) -> Want:
        assert self.registered
        workspace_id, tenant_id, _ = self.key
        r = self.registered
        return Want(workspace_id, tenant_id, self.topics, self.consumed, r.requests_cursor, r.results_cursor)

    async def _serve(self, items: list[Delivery], *, old: bool = False, again: bool = False) -> None:
        """Give each message to one connection, in order; requests that are consumed are handed over first."""
        if not (old or again):
            items = [d for d in items if d.again or not d.row_id or d.row_id > self._cursor(d)]
        await self._room()
        picked = [(d, c) for d in items if (c := self._pick_for(d))]
        sendable = await self._hand_over([(d, c) for d, c in picked if self._handed(d, c)], again)
        for delivery, connection in picked:
            if self._handed(delivery, connection) and delivery.row_id not in sendable:
                continue
            if connection.ending or connection not in self.connections:
                self._returned.append(delivery)
            else:
                connection.put(delivery)
        for delivery in items:
            self._advance(delivery)

    async def _room(self) -> None:
        """Wait until at least one connection can take more: the log is the buffer, not the server's memory."""
        while self.connections and all(c.full for c in self.connections):
            self._wake.clear()
            await self._wake.wait()

    @staticmethod
    def _handed(delivery: Delivery, connection: Connection) -> bool:
        return delivery.topic == REQUESTS and delivery.type in connection.consumed

    async def _hand_over(self, picked: list[tuple[Delivery, Connection]], again: bool) -> set[int]:
        """Commit that these requests are held by these agents; gives the rows that may be sent."""
        if not picked:
            return set()
        assert self.registered
        workspace_id, tenant_id, name = self.key
        cursor = max(d.row_id for d, _ in picked)
        by_agent: dict[str, list[int]] = {}
        for delivery, connection in picked:
            by_agent.setdefault(connection.agent_id, []).append(delivery.row_id)
        changes: list[Change] = [
            Handover(
                workspace_id=workspace_id, tenant_id=tenant_id, by=f"agent:{name}", row_ids=rows, name=name, agent_id=agent_id,
                group_id=self.registered.group_id, cursor=cursor, again=again,
            )
            for agent_id, rows in by_agent.items()
        ]  # fmt: skip
        outcomes = await writer.commit(changes)
        return {row for outcome in outcomes for row in outcome.value}

    def _pick_for(self, delivery: Delivery) -> Connection | None:
        listening = [c for c in self.connections if delivery.topic in c.topics and not c.ending]
        consuming = [c for c in listening if self._handed(delivery, c)]
        return self._pick(delivery, consuming or listening)

    @staticmethod
    def _pick(delivery: Delivery, connections: list[Connection]) -> Connection | None:
        """Whoever has least to read; among equals, whose turn it is."""
        chosen = min(connections, key=lambda c: (c.full, c.turn), default=None)
        if chosen:
            chosen.turn = max(c.turn for c in connections) + 1
        return chosen

    # --- cursors ---------------------------------------------------------------------------------------------------------

    def _cursor(self, delivery: Delivery) -> int:
        assert self.registered
        if delivery.topic == REQUESTS:
            return self.registered.requests_cursor
        return self.registered.results_cursor if delivery.topic == RESULTS else 0

    def _advance(self, delivery: Delivery) -> None:
        assert self.registered
        if delivery.topic == REQUESTS:
            self.registered.requests_cursor = max(self.registered.requests_cursor, delivery.row_id)
        elif delivery.topic == RESULTS:
            self.registered.results_cursor = max(self.registered.results_cursor, delivery.row_id)

    def _results_safe(self) -> int:
        """Up to where all results have left the server: what still waits in a connection does not count as sent."""
        assert self.registered
        held = [d.row_id for c in self.connections for d in (*c.sending, *c.waiting) if d.topic == RESULTS]
        held += [d.row_id for d in self._returned if d.topic == RESULTS]
        return min(held) - 1 if held else self.registered.results_cursor

    async def _save(self, *, now: bool = False) -> None:
        if self.registered is None:
            return
        loop = asyncio.get_running_loop()
        safe = self._results_safe()
        if safe > self._results_saved and (now or loop.time() - self._saved_at >= SAVE_SECONDS):
            self._saved_at, self._results_saved = loop.time(), safe
            await self._reader.read(mailbox.save_results_cursor, self.registered.group_id, safe)


class Bus:
    """All groups of this process. Everything here runs on the event loop."""

    def __init__(self) -> None:
        self.groups: dict[Key, Group] = {}
        self.accepting = False
        self.changed: Callable[[int], None] = lambda workspace_id: None  # agents of a workspace came or went
        self._reader = Reader(threads=2, name="bus-read")
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, changed: Callable[[int], None]) -> None:
        """Take connections from now on; `changed` is told of each workspace whose agents come or go."""
        self.accepting, self.changed = True, changed

    async def join(self, connection: Connection) -> None:
        """Add a connection to its group; what waits for a registered name follows."""
        if not self.accepting:
            raise Unavailable("the server is ending; connect again", retry_after=1)
        key = (connection.workspace_id, connection.tenant_id, connection.name)
        registered = await self._reader.read(mailbox.registered, *key)
        group = self.groups.setdefault(key, Group(key, self._reader))
        if registered:
            self._know(group, registered)
            await self._reader.read(mailbox.connected, registered.group_id, sorted({*connection.patterns}))
        group.join(connection)
        self.changed(connection.workspace_id)

    def leave(self, connection: Connection) -> None:
        """A connection ended."""
        group = self.groups.get((connection.workspace_id, connection.tenant_id, connection.name))
        if group:
            group.leave(connection)
            if not group.connections and group.registered is None:
                del self.groups[group.key]
        self.changed(connection.workspace_id)

    @staticmethod
    def _know(group: Group, registered: Registered) -> None:
        """Take over what the registry says; cursors that have moved on in this process stay."""
        if group.registered:
            registered.requests_cursor = max(registered.requests_cursor, group.registered.requests_cursor)
            registered.results_cursor = max(registered.results_cursor, group.registered.results_cursor)
        group.registered = registered

    def refresh(self, workspace_id: int, name: str) -> None:
        """The registry changed for this name: its connected groups look again what they consume."""
        for group in list(self.groups.values()):
            if group.key[0] == workspace_id and group.key[2] == name and group.connections:
                self._spawn(self._refresh(group))

    async def _refresh(self, group: Group) -> None:
        registered = await self._reader.read(mailbox.registered, *group.key)
        if registered:
            self._know(group, registered)
            patterns = sorted({p for c in group.connections for p in c.patterns})
            await self._reader.read(mailbox.connected, registered.group_id, patterns)
            group.look_again()

    def route(self, batch: Batch) -> None:
        """Offer the messages of a commit to every group that listens, and the tracker's own word on what moved."""
        for delivery in batch.messages:
            self._offer(delivery)
        listening = {key[0] for key, group in self.groups.items() if group.topics & announce.TOPICS}
        for recorded in batch.rows:
            if recorded.workspace_id in listening and (word := announce.announcement(recorded)):
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
        """End all streams cleanly and take no new ones."""
        self.accepting = False
        for group in self.groups.values():
            for connection in group.connections:
                connection.end()

    async def stop(self) -> None:
        """End all streams, wait for them (a few seconds), save the cursors."""
        self.end_streams()
        for _ in range(100):
            if not any(g.connections for g in self.groups.values()):
                break
            await asyncio.sleep(0.03)
        await asyncio.gather(*(g.stop() for g in self.groups.values()), *self._tasks, return_exceptions=True)
        self._reader.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
