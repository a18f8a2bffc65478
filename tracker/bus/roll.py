"""The roll: the bus tells the ledger which agents are connected to this process, so that a loss is known everywhere.

Only instances of registered names are on it: no other is given a task to hold.
"""

import asyncio
import logging
import secrets

from tracker import writer
from tracker.bus.connections import Connection
from tracker.changes import Change, Connected, Disconnected, Outcome, ServerBegins, ServerLives
from tracker.errors import Problem

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5
LIVES_SECONDS = 10.0  # between two signs of life of one process among several


class Roll:
    """Who is connected here, as the ledger is told. Belongs on the event loop."""

    def __init__(self, *, shared: bool) -> None:
        """`shared`: there may be other server processes."""
        self.process = secrets.randbits(62)
        self.ending = False  # streams that end now end with the server
        self._shared = shared
        self._lived_at = 0.0

    @property
    def begins(self) -> Change:
        """That this process has started."""
        return ServerBegins(workspace_id=0, tenant_id="", by="system", process=self.process, alone=not self._shared)

    async def came(self, connection: Connection) -> None:
        """A connection is about to join its group."""
        connection.enrolled = True
        await self._tell(
            Connected(
                workspace_id=connection.workspace_id,
                tenant_id=connection.tenant_id,
                by=f"agent:{connection.name}",
                agent_id=connection.agent_id,
                name=connection.name,
                connection=connection.id,
                process=self.process,
            )
        )

    async def left(self, connection: Connection, heir: Connection | None) -> None:
        """A connection has left its group; `heir` is another one of the same instance."""
        await self._tell(
            Disconnected(
                workspace_id=connection.workspace_id,
                tenant_id=connection.tenant_id,
                by="system",
                agent_id=connection.agent_id,
                connection=connection.id,
                heir=heir.id if heir else "",
            )
        )

    async def lives(self) -> bool:
        """Now and then, of several processes: this one is there. Whether all connections have to be told again."""
        now = asyncio.get_running_loop().time()
        if not self._shared or self.ending or now - self._lived_at < LIVES_SECONDS:
            return False
        self._lived_at = now
        outcome = await self._tell(ServerLives(workspace_id=0, tenant_id="", by="system", process=self.process))
        return bool(outcome and outcome.value)

    async def _tell(self, change: Change) -> Outcome | None:
        """Record the change, as often as it takes; None when the server ends or it cannot be recorded."""
        while not self.ending:
            try:
                return (await writer.commit([change]))[0]
            except Problem as problem:
                log.warning("who is connected: %s; trying again", problem)
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("who is connected cannot be recorded")
                return None
        return None
