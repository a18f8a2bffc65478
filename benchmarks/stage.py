"""Where a benchmark plays: the real server on a database of its own, and a bare server of the same kind beside it."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client import load, request
from benchmarks.workload import Fleet
from tests.services.postgres import Postgres
from tests.services.process import Process
from tests.services.redis import free_port
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

SERVERS, DATABASES = ("daphne", "uvicorn"), ("sqlite", "postgresql")


@dataclass
class Stage:
    """Our server on `port`, a bare one of its kind on `bare_port`; `database`: a file, or the URL of a PostgreSQL."""

    server: str
    kind: str
    port: int
    bare_port: int
    key: str
    database: str
    process: ServerProcess

    def seed(self, fleet: Fleet) -> Fleet:
        """Make the fleet's plans and tasks, as agents would."""
        bodies = [json.dumps({"event": event}).encode() for event in fleet.requests()]
        half = len(bodies) // 2
        for part in (bodies[:half], bodies[half:]):  # the tasks must be there before they run
            load(self.port, [iter(self._publish(part[n::32])) for n in range(32)])
        return fleet

    def _publish(self, bodies: list[bytes]) -> list[bytes]:
        return [request("POST", "/v1/events/publish", body, key=self.key) for body in bodies]


@contextmanager
def postgresql(kinds: tuple[str, ...] = DATABASES) -> Iterator[Postgres | None]:
    """A PostgreSQL with fsync and synchronous commits, if one is wanted."""
    if "postgresql" not in kinds:
        yield None
        return
    with Postgres(durable=True) as server:
        yield server


@contextmanager
def stage(server: str, kind: str, postgres: Postgres | None = None, **env: str) -> Iterator[Stage]:
    """Start both servers; they end, and their data goes, with the block."""
    with ExitStack() as stack:
        if kind == "postgresql":
            assert postgres
            env["DATABASE_URL"] = postgres.new_database()
        ours = stack.enter_context(ServerProcess(server=server, **env))
        bare_port = stack.enter_context(bare(server))
        database = env.get("DATABASE_URL") or str(ours.data_dir / "soorma.sqlite3")
        yield Stage(server, kind, ours.port, bare_port, ours.api_key(), database, ours)


@contextmanager
def bare(server: str, *more: str) -> Iterator[int]:
    """A bare ASGI server; gives its port."""
    port = free_port()
    argv = [sys.executable, "-m", "benchmarks.bare", "--server", server, "--port", str(port), *more]
    with Process(argv) as process:
        wait_until(lambda: _answers(port), 20, lambda: process.output)
        yield port
        process.stop()


def _answers(port: int) -> bool:
    try:
        return load(port, [iter([request("GET", "/")])]).answers == 1
    except (OSError, RuntimeError):
        return False


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def flood(port: int, connections: int, seconds: float) -> Any:
    """Requests with a small body to the bare server."""
    one = request("POST", "/v1/events/publish", b"x" * 500)

    def endless() -> Iterator[bytes]:
        while True:
            yield one

    return load(port, [endless() for _ in range(connections)], seconds)
