"""Where a run plays: server processes that share one database, with durable settings, and what they stand on."""

import contextlib
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Self

import httpx

from tests.e2e.plain import Tenant
from tests.services.postgres import Postgres
from tests.services.redis import Redis
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

WORKSPACE = "soak"
CHECK = (
    "from accounts.models import Workspace; from tests.tracker.factories import assert_log_tells_all;"
    f"assert_log_tells_all(Workspace.objects.get(name={WORKSPACE!r})); print('the log tells all')"
)


class Stage:
    """One SQLite server, or one or more on PostgreSQL; more than one have a Redis between them.

    Everything is started and killed from the main thread; the load runs in another one.
    """

    def __init__(self, database: str = "sqlite", servers: tuple[str, ...] = ("daphne",)) -> None:
        """`database`: sqlite or postgresql; `servers`: the kind of each process."""
        self.database, self.kinds = database, servers
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self.servers: list[ServerProcess] = []
        self.prepare: Callable[[ServerProcess], None] = lambda server: None  # called with each before its first start
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._stack = stack
            self._build()
            self._stack = stack.pop_all()
        return self

    def _build(self) -> None:
        world = {}
        if self.database == "postgresql":
            self.postgres = self._stack.enter_context(Postgres(durable=True))
            world["DATABASE_URL"] = self.postgres.new_database()
        if len(self.kinds) > 1:
            self.redis = self._stack.enter_context(Redis())
            world["REDIS_URL"] = self.redis.url
        for kind in self.kinds:
            self.servers.append(ServerProcess(server=kind, **world))
            self._stack.callback(self.servers[-1].close)
            self.prepare(self.servers[-1])
        if self.postgres:
            self.servers[0].manage("migrate", "--verbosity", "0")
        for server in self.servers:
            server.process.start()
        for server in self.servers:
            self.wait_for(server)
        self.key = self.servers[0].api_key(WORKSPACE, "acme", "alice")

    def __exit__(self, *error: object) -> None:
        try:
            for server in self.servers:
                if error[0] is None and server.process.running:
                    server.stop()
        finally:
            self._stack.close()

    # -- access -------------------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Where the servers listen, running or not."""
        return [server.base_url for server in self.servers]

    def tenant(self, base_url: str = "") -> Tenant:
        """One tenant's side of the wire, at the first server or at this address; all share one key."""
        base_url = base_url or self.servers[0].base_url

        def client(key: str) -> httpx.Client:
            return httpx.Client(
                base_url=base_url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=60,
                trust_env=False,
                verify=False,
            )

        return Tenant(SimpleNamespace(api_key=lambda *_: self.key, client=client), WORKSPACE)

    def replay_equals_tables(self) -> bool:
        """Whether, of each plan, folding its log gives its tables; an AssertionError says what differs."""
        return "the log tells all" in self.servers[0].manage("shell", "-v", "0", "-c", CHECK)

    def complaints(self) -> Counter[str]:
        """The last lines of all tracebacks in the servers' logs, with ids and numbers taken out."""
        ends: Counter[str] = Counter()
        for server in self.servers:
            for part in server.log.split("Traceback (most recent call last):\n")[1:]:
                line = next((one for one in part.splitlines() if one and not one.startswith(" ")), "")
                ends[re.sub(r"[0-9a-f]{8}[0-9a-f-]+|\d+", "#", line)[:160]] += 1
        return ends

    # -- faults -------------------------------------------------------------------------------------------------------

    def wait_for(self, server: ServerProcess) -> None:
        """Wait until a server that was started answers."""
        wait_until(server._answers, 120, lambda: f"a server; its log:\n{server.log[-4000:]}")

    def kill(self, server: ServerProcess | None = None) -> None:
        """SIGKILL for a server, one at random unless named, with its ledger's processes or alone, and a new start."""
        server = server or random.choice(self.servers)
        server.kill(alone=random.random() < 0.5)
        server.process.start()
        self.wait_for(server)

    def kill_ledger(self) -> None:
        """SIGKILL for a process of a ledger, if there is one left; its server goes on."""
        ledgers = [pid for server in self.servers for pid in server.children]
        if ledgers:
            os.kill(random.choice(ledgers), signal.SIGKILL)

    def restart(self, server: ServerProcess | None = None) -> None:
        """SIGTERM for a server and a new start."""
        server = server or random.choice(self.servers)
        server.stop()
        server.process.start()
        self.wait_for(server)

    def crash_postgres(self) -> None:
        """The database ends as in a power cut; `start_postgres` recovers it."""
        assert self.postgres
        self.postgres.crash()

    def start_postgres(self) -> None:
        """Start the database again and wait until all servers say that they reach it."""
        assert self.postgres
        self.postgres.start()
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Wait until all servers reach what they stand on."""
        for server in self.servers:
            with server.client() as client:
                wait_until(
                    lambda client=client: client.get("/ready").status_code == 200, seconds, f"{server.base_url}/ready"
                )

    def freeze(self, server: ServerProcess) -> contextlib.AbstractContextManager[None]:
        """A server that does nothing for a while, as on a machine that hangs."""

        @contextlib.contextmanager
        def frozen():
            os.kill(server.pid, signal.SIGSTOP)
            try:
                yield
            finally:
                os.kill(server.pid, signal.SIGCONT)

        return frozen()
