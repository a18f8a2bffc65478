"""A full disk, a database that is away, a Redis that is away: what is answered meanwhile, and how soon it works again.

The full disk is a small tmpfs, which only root may mount.
"""

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import httpx

from soak.stage import Stage
from tests.e2e.plain import FACTS, Tenant
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

TRIES = 1  # of each request while something is away
DISK = "6m"
NO_LIMIT = resource.RLIM_INFINITY


@dataclass
class Seen:
    """What one server answered: to the requests while something was away, and how long it took to work again."""

    answers: Counter[str] = field(default_factory=Counter)  # "publish 503 unavailable, Retry-After 1"
    ready: dict[str, str] = field(default_factory=dict)  # the checks that were not good
    back_after: float = 0.0  # seconds
    acknowledged: int = 0
    recorded: int = 0  # of those
    duplicates: int = 0

    def __str__(self) -> str:
        told = [f"    {times} x {what}" for what, times in sorted(self.answers.items())]
        told += [f"    /ready: {self.ready}", f"    works again after {self.back_after:.1f} s"]
        told += [f"    {self.acknowledged} acknowledged, {self.recorded} of them recorded, {self.duplicates} twice"]
        return "\n".join(told)


def watch(stage: Stage, server: ServerProcess, lose: Callable[[], None], regain: Callable[[], None]) -> Seen:
    """Take something away, ask this server for this and that, give it back, and look at the log."""
    tenant, seen, plan_id, acknowledged = stage.tenant(server.base_url), Seen(), f"short-{uuid4().hex[:12]}", set()

    def publish() -> bool:
        envelope = tenant.envelope(FACTS, "soak.noted", {"text": "x" * 20_000}, plan_id=plan_id)
        answer = tenant.http.post("/v1/events/publish", json={"event": envelope})
        if answer.status_code == 200:
            acknowledged.add(envelope["id"])
        else:
            seen.answers[f"publish {_told(answer)}"] += 1
        return answer.status_code == 200

    wait_until(publish, 30, "an event before anything is away")
    lose()
    try:
        for _ in range(TRIES):
            publish()
            for path in (f"/v1/tracker/plans/{plan_id}", "/health"):
                seen.answers[f"{path.split('/short')[0]} {_told(tenant.http.get(path))}"] += 1
        seen.ready = _not_ready(tenant)
    finally:
        regain()
    since = time.monotonic()
    wait_until(lambda: publish() and not _not_ready(tenant), 60, "what works again")
    seen.back_after = time.monotonic() - since
    times = Counter(row["event_id"] for row in tenant.log(plan_id) if row["kind"] == "message")
    seen.acknowledged, seen.recorded = len(acknowledged), len(acknowledged & set(times))
    seen.duplicates = sum(times.values()) - len(times)
    tenant.close()
    return seen


def _told(answer: httpx.Response) -> str:
    if answer.is_success:
        return str(answer.status_code)
    code = answer.json()["code"] if "json" in answer.headers.get("content-type", "") else "no problem document"
    again = answer.headers.get("retry-after")
    return f"{answer.status_code} {code}" + (f", Retry-After {again}" if again else "")


def _not_ready(tenant: Tenant) -> dict[str, str]:
    answer = tenant.http.get("/ready")
    checks = answer.json()["checks"]
    bad = {name: word for name, word in checks.items() if word not in ("ok", "not used")}
    assert (answer.status_code == 503) == bool(bad), answer.text
    return bad


def no_longer_files(stage: Stage) -> Seen:
    """The files of a SQLite server cannot grow: as good as a full disk, and needs no root."""
    pids = [stage.servers[0].pid, *stage.servers[0].children]

    def limit(size: int) -> None:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, NO_LIMIT))

    return watch(stage, stage.servers[0], lambda: limit(1024), lambda: limit(NO_LIMIT))


def database_away(stage: Stage) -> Seen:
    """PostgreSQL refuses connections."""
    assert stage.postgres
    return watch(stage, stage.servers[0], stage.crash_postgres, stage.postgres.start)


def redis_away(stage: Stage) -> Seen:
    """Redis is gone; what is published is recorded all the same."""
    assert stage.redis
    return watch(stage, stage.servers[0], stage.redis.kill, stage.redis.start)


@contextlib.contextmanager
def small_disk() -> Iterator[Stage]:
    """A SQLite server whose data folder is a disk of a few megabytes."""
    stage = Stage()
    with contextlib.ExitStack() as stack:

        def mount(server: ServerProcess) -> None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", server.data_dir], check=True)
            stack.callback(subprocess.run, ["umount", server.data_dir], check=True)
            stack.callback(server.process.close)

        stage.prepare = mount
        yield stack.enter_context(stage)


def full_disk(stage: Stage) -> Seen:
    """Something else fills the disk, and is removed."""
    ballast = stage.servers[0].data_dir / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    return watch(stage, stage.servers[0], fill, ballast.unlink)


def main() -> int:
    """All of them; 1 when something acknowledged is not there once."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found: list[Seen] = []

    def tell(what: str, seen: Seen) -> None:
        found.append(seen)
        print(f"  {what}\n{seen}", flush=True)

    if os.geteuid() == 0:
        with small_disk() as stage:
            tell("full disk, SQLite", full_disk(stage))
    else:
        print("  full disk: not tried, only root may mount a small one")
    with Stage() as stage:
        tell("files that cannot grow, SQLite", no_longer_files(stage))
    with Stage("postgresql", ("daphne", "uvicorn")) as stage:
        tell("PostgreSQL away", database_away(stage))
        tell("Redis away", redis_away(stage))
    return any(seen.acknowledged != seen.recorded or seen.duplicates for seen in found)


if __name__ == "__main__":
    sys.exit(main())
