"""What runs in the background of a server process: the writer, the bus, the hub. Started once, ended in order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from tracker import prometheus, writer
from tracker.bus.groups import Bus
from tracker.bus.intake import sessions
from tracker.changes import Batch
from tracker.key_uses import KeyUses
from tracker.ledger_process import LedgerProcess
from tracker.live.hub import hub
from tracker.relay import Relay
from tracker.roller import Roller
from tracker.timer import Timer

log = logging.getLogger(__name__)


class Runtime:
    """The background of this process. Everything but `agent_registered` belongs on its event loop."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.bus = Bus()
        self.key_uses = KeyUses()
        self.timer = Timer()
        self.roller = Roller()
        self.relay = Relay(heard=self.heard, missed=self.missed, left=self.bus.left)
        self.processes: list[LedgerProcess] = []
        self._endings: list[Callable[[], Awaitable[None]]] = []

    def register_ending(self, end: Callable[[], Awaitable[None]]) -> None:
        """Add what other packages have to end before the writer does; awaited at each stop."""
        self._endings.append(end)

    def ensure_started(self) -> None:
        """Start in the running loop, unless started (Daphne and test servers have no lifespan)."""
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            writer.start(self.loop, self.committed, self.listening, self.processes, self.missed)
            hub.connected_agents = self.bus.connected
            hub.start()
            self.bus.start(changed=hub.agents_changed, tell_left=self.relay.tell_left)
            sessions.start()
            self.key_uses.start()
            self.relay.start()
            self.timer.start(self.bus.roll.begins)
            self.roller.start()

    def listening(self) -> bool:
        """Whether anybody may want to hear of the rows and messages of a commit."""
        return bool(self.bus.groups) or hub.watched or self.relay.shared

    def committed(self, batch: Batch) -> None:
        """This process committed: tell its agents and browsers, and the other processes."""
        if not batch.complete and self.listening():  # somebody came meanwhile
            self.missed()
        self.heard(self.relay.news(batch))
        self.relay.tell(batch)

    def missed(self) -> None:
        """Something was committed that was not told: look at the log, and at what a commit's rows do not say."""
        self.timer.look_again()
        self.roller.told()
        self.bus.look_again()
        hub.look_again()

    def heard(self, batch: Batch) -> None:
        """A commit, here or elsewhere: to the agents and to the browsers. Whatever fails here, the commit stands."""
        self.timer.told(batch.due_at)
        if batch.row_count:
            self.roller.told()
        for to, tell in (("bus", self.bus.route), ("push", hub.push)):
            try:
                tell(batch)
            except Exception:
                log.exception("telling of a commit failed")
            prometheus.told(to, batch)

    def end_streams_soon(self) -> None:
        """End the agents' streams and the browsers' polls; may be called from a signal handler."""
        if self.loop:
            self.loop.call_soon_threadsafe(self.bus.end_streams)
            self.loop.call_soon_threadsafe(sessions.end)
            self.loop.call_soon_threadsafe(hub.end_polls)

    async def stop(self) -> None:
        """End streams and sockets cleanly, write what waits, stop."""
        if self.loop is None:
            return
        sessions.end()
        await self.timer.stop()
        await self.roller.stop()
        for end in self._endings:
            await end()
        await self.bus.stop()
        await sessions.stop()
        await hub.stop()
        await self.key_uses.stop()
        await writer.stop()
        await self.relay.stop()
        self.loop = None

    async def lifespan(
        self, receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        """The ASGI lifespan, for servers that have it."""
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                self.ensure_started()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def agent_registered(self, workspace_id: int, tenant_id: str, base_name: str) -> None:
        """An agent registered or signed off: the bus looks again what it consumes.

        From any thread; nothing outside a server.
        """
        if self.loop:
            self.loop.call_soon_threadsafe(self.bus.refresh, workspace_id, base_name)
            self.loop.call_soon_threadsafe(hub.agents_changed, workspace_id)


runtime = Runtime()
