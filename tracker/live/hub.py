"""The push: one hub per process, on its event loop, between what is committed and the sockets that want to know.

Nothing here is the truth: the log is. What the hub is not told, or told twice or late, heals from the log.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from itertools import count, groupby
from typing import Any

from tracker.changes import Batch, Recorded
from tracker.live import access, reads
from tracker.live.connection import RESTART, UNAUTHENTICATED, Connection, Subscription
from tracker.live.list_stream import Audience, ListSubscription, Source, View
from tracker.live.plan_stream import PlanStream, PlanSubscription
from tracker.live.protocol import LISTS, PLAN, Refused, Subscribe, Unsubscribe
from tracker.live.sources import Agents, Plans
from tracker.projections.lookup import Sight
from tracker.reader import Reader

log = logging.getLogger(__name__)
Moved = Callable[[dict[str, Any]], bool]  # whether a log row, in its public shape, may change a list
LOOK_SECONDS = 5.0  # between two looks at the sockets: which are stuck, whose access has ended
LOOKS_A_HEAD = 3  # a head of each stream every 15 seconds; 20 are promised
MOST_SUBSCRIPTIONS = 200  # of one socket


def nobody(workspace_id: int) -> Collection[str]:
    """No agent is connected."""
    return ()


@dataclass(slots=True)
class Counts:
    """What the hub has done since the process began, and what it holds now."""

    sockets: int
    subscriptions: int
    frames_encoded: int
    reads: int


class Hub:
    """The sockets of this process by stream. Every method is for the event loop and, unless async, returns at once."""

    def __init__(self) -> None:
        """Holds nothing; `connected_agents` may be replaced by what the bus knows, and is asked on the event loop."""
        self.connected_agents: Callable[[int], Collection[str]] = nobody
        self._connected: dict[int, frozenset[str]] = {}  # by workspace, for the threads that read
        self._connections: set[Connection] = set()
        self._plans: dict[int, PlanStream] = {}
        self._sources: dict[str, Source] = {"plans": Plans(), "agents": Agents(self._connected)}
        self._audiences: dict[str, dict[View, Audience]] = {name: {} for name in self._sources}
        # Of lists that other packages brought; agents show which tasks they hold.
        self._moved: dict[str, Moved] = {"agents": lambda row: row["task_id"] is not None and row["kind"] != "message"}
        self.reader = Reader()
        self._encoded = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def register_list(self, name: str, source: Source, moved: Moved) -> None:
        """Add a list stream that another package keeps."""
        LISTS.append(name)
        self._sources[name], self._audiences[name], self._moved[name] = source, {}, moved

    # --- what the server tells ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to tell heads and to look after the sockets."""
        self._loop = asyncio.get_running_loop()
        if not self._tasks:
            self._spawn(self._tick())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="live-hub")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def end_polls(self) -> None:
        """The server goes away: who polls is told so, since a server waits for open requests before it stops."""
        for connection in [one for one in self._connections if one.passing]:
            connection.close(RESTART, "the server restarts")

    async def stop(self) -> None:
        """Close every socket (1012, the server goes away) and wait until that is said."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        open_now = list(self._connections)
        for connection in open_now:
            self.leave(connection)
            connection.close(RESTART, "the server restarts")
        if open_now:
            await asyncio.gather(*(connection.ended() for connection in open_now))
        self.reader.close()
        self._loop = None

    @property
    def watched(self) -> bool:
        """Whether any page here watches anything that is committed."""
        return bool(self._plans) or any(self._audiences.values())

    def push(self, batch: Batch) -> None:
        """Rows were committed. Never raises: who commits has nothing to do with who watches."""
        try:
            if self.watched:
                self._push(batch)
        except Exception:
            log.exception("a batch was not pushed; the sockets will read it from the log")

    def _push(self, batch: Batch) -> None:
        placed = [row for row in batch.rows if row.plan_key is not None]
        if self._plans:
            wanted = [row for row in placed if row.plan_key in self._plans]
            for key, rows in _by_plan(wanted):
                self._plans[key].push([row.row for row in rows])
        if self._audiences["plans"]:
            for workspace_id, keys in _keys_by_workspace(placed).items():
                self._changed("plans", workspace_id, keys)
        for name, moved in self._moved.items():
            if self._audiences[name]:
                for workspace_id in {row.workspace_id for row in placed if moved(row.row)}:
                    self._changed(name, workspace_id)

    def heard_of(self, plan_key: int, workspace_id: int, seq: int) -> None:
        """A plan's log reaches `seq`, as another process says."""
        stream = self._plans.get(plan_key)
        if stream is not None:
            stream.hear_of(seq)
        self._changed("plans", workspace_id, [plan_key])

    def look_again(self) -> None:
        """Something was committed of which nobody told: look where every stream is, now."""
        if self._loop is not None and (self._looking is None or self._looking.done()):
            self._looking = self._spawn(self.tell_heads())

    def agents_changed(self, workspace_id: int) -> None:
        """An agent registered, signed off, connected or went away."""
        if self._audiences["agents"]:
            self._note_connected()
            self._changed("agents", workspace_id)

    def _note_connected(self) -> None:
        watched = {view.sight.workspace_id for view in self._audiences["agents"]}
        for workspace_id in self._connected.keys() - watched:
            del self._connected[workspace_id]
        self._connected.update({key: frozenset(self.connected_agents(key)) for key in watched})

    def _changed(self, name: str, workspace_id: int, keys: Iterable[int] = ()) -> None:
        for view, audience in self._audiences[name].items():
            if view.sight.workspace_id == workspace_id:
                audience.changed(keys)

    def access_changed(self) -> None:
        """Somebody's membership, key or session changed: look at once who may stay. From any thread."""
        if self._loop is not None and self._connections:
            self._loop.call_soon_threadsafe(lambda: self._spawn(self._let_go()))

    def counts(self) -> Counts:
        """Numbers for the metrics."""
        live = sum(stream.encoded for stream in self._plans.values())
        live += sum(audience.encoded for some in self._audiences.values() for audience in some.values())
        subscriptions = sum(len(connection.subscriptions) for connection in self._connections)
        return Counts(len(self._connections), subscriptions, self._encoded + live, self.reader.count)

    # --- what a socket asks -------------------------------------------------------------------------------------------

    def enter(self, connection: Connection) -> None:
        """A socket was let in."""
        self._connections.add(connection)

    def leave(self, connection: Connection) -> None:
        """A socket is gone."""
        self._connections.discard(connection)
        for subscription in list(connection.subscriptions.values()):
            subscription.stop()
        connection.subscriptions.clear()

    def subscribe(self, connection: Connection, asked: Subscribe) -> None:
        """Begin, or begin anew, to send a stream. Raises Refused."""
        if not connection.caller.may("read"):
            raise Refused("forbidden", "this needs the scope read", asked.stream)
        self.unsubscribe(connection, Unsubscribe(asked.stream))
        if len(connection.subscriptions) >= MOST_SUBSCRIPTIONS:
            raise Refused("too-many", f"a socket may have {MOST_SUBSCRIPTIONS} streams", asked.stream)
        connection.subscriptions[asked.stream] = self._begin(connection, asked)

    def _begin(self, connection: Connection, asked: Subscribe) -> Subscription:
        if asked.stream.startswith(PLAN):
            plan = PlanSubscription(connection, asked.stream, self.reader, self._plan_stream)
            plan.start(asked.after)
            return plan
        item = ListSubscription(connection, asked.stream)
        self._audience(asked.stream, _view(connection, asked)).add(item)
        return item

    def unsubscribe(self, connection: Connection, asked: Unsubscribe) -> None:
        """Stop sending a stream, also what waits of it."""
        subscription = connection.subscriptions.pop(asked.stream, None)
        if subscription is not None:
            subscription.stop()
            connection.drop(asked.stream)

    def ask_head(self, connection: Connection, stream: str) -> None:
        """Say soon what this list looks like, to all who see it: who polls wants to know where a change has led."""
        subscription = connection.subscriptions.get(stream)
        if isinstance(subscription, ListSubscription) and subscription.audience is not None:
            subscription.audience.head_due()

    def _plan_stream(self, key: int, name: str) -> PlanStream:
        if key not in self._plans:
            self._plans[key] = PlanStream(key, name, self.reader, self._forget_plan)
        return self._plans[key]

    def _forget_plan(self, key: int) -> None:
        self._encoded += self._plans.pop(key).encoded

    def _audience(self, name: str, view: View) -> Audience:
        audiences = self._audiences[name]
        if view not in audiences:

            def forget(view: View) -> None:
                self._encoded += audiences.pop(view).encoded

            audiences[view] = Audience(name, view, self._sources[name], self.reader, forget)
            self._note_connected()
        return audiences[view]

    # --- now and then -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        for look in count(1):
            await asyncio.sleep(LOOK_SECONDS)
            try:
                for connection in list(self._connections):
                    connection.close_if_stuck()
                # What changed in this process is seen at once; this is for the others, and for what ends by the clock.
                await self._let_go()
                if look % LOOKS_A_HEAD == 0:
                    await self.tell_heads()
            except Exception:
                log.exception("heads could not be told, trying again")

    async def tell_heads(self) -> None:
        """Tell every subscriber where its stream is. One read for all plans, whose gaps heal by it as well."""
        self._note_connected()
        for audiences in self._audiences.values():
            for audience in list(audiences.values()):
                audience.head_due()
        if not self._plans:
            return
        given = {key: stream.seq for key, stream in self._plans.items()}
        heads = await self.reader.read(reads.heads, list(given))
        for key, stream in list(self._plans.items()):
            if key in heads and key in given:
                stream.tell_head(heads[key], given[key])

    async def _let_go(self) -> None:
        held = {connection.who for connection in self._connections}
        if not held:
            return
        allowed = await self.reader.read(access.allowed_of, held)
        for connection in list(self._connections):
            if connection.who in held - allowed:
                self.leave(connection)
                connection.close(UNAUTHENTICATED, "access has ended")


def _by_plan(rows: list[Recorded]) -> list[tuple[int, list[Recorded]]]:
    # Within a plan the rows are in order already, and sorting is stable.
    placed = sorted(rows, key=lambda row: row.plan_key or 0)
    return [(key or 0, list(some)) for key, some in groupby(placed, key=lambda row: row.plan_key)]


def _keys_by_workspace(rows: list[Recorded]) -> dict[int, set[int]]:
    keys: dict[int, set[int]] = {}
    for row in rows:
        if row.plan_key is not None:
            keys.setdefault(row.workspace_id, set()).add(row.plan_key)
    return keys


def _view(connection: Connection, asked: Subscribe) -> View:
    return View(Sight.of(connection.caller, asked.tenant), asked.filter if asked.stream == "plans" else "{}")


hub = Hub()
