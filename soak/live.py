"""Sockets that follow plans through a bad network, while servers, Redis and the database go and come.

Each writes down every row that it is shown; at the end that is held against the log.
"""

import argparse
import itertools
import random
import sys
import time
from asyncio import run_coroutine_threadsafe
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

from soak.background import Background
from soak.proxy import Proxy
from soak.stage import Stage
from soak.stream import Stream
from soak.watching import Row, Watcher, shown
from tests.services.waiting import wait_until

REST_SECONDS = 6.0  # between two faults
AWAY_SECONDS = 10.0  # of the database
SLOW_SECONDS = 15.0  # of a slow link
CATCH_UP_SECONDS = 120  # that sockets may take at the end, after the last black hole


@dataclass
class Told:
    """The counts of a run."""

    committed: int = 0  # log rows of all plans
    to_show: int = 0  # rows that should be shown, over all sockets
    shown: int = 0
    missed: int = 0
    repeated: int = 0  # sent again on a socket that had them
    wrong: int = 0  # rows that differ from the log's
    out_of_order: int = 0
    late: int = 0  # sockets that had not caught up at the end
    opened: int = 0
    cut: int = 0  # connections that the proxy reset
    gaps_healed: int = 0  # connections that began with rows that had been missed
    rows_healed: int = 0
    gaps_on_open_sockets: int = 0
    resyncs: Counter[str] = field(default_factory=Counter)

    @property
    def faults(self) -> dict[str, int]:
        """What must not be, and is. Nobody here is so slow, and nothing is pruned, that a resync were called for."""
        names = ("missed", "wrong", "out_of_order", "late", "repeated")
        found = {name: value for name in names if (value := getattr(self, name))}
        return found | ({"resyncs": self.resyncs.total()} if self.resyncs else {})

    def table(self) -> str:
        """One count a line."""
        return "\n".join(f"  {name.replace('_', ' '):<22}{value!s:>9}" for name, value in vars(self).items())


@dataclass
class Extent:
    """How much of it."""

    seconds: float = 300.0
    plans: int = 50
    sockets: int = 100
    rate: float = 200.0  # log rows a second
    hole_seconds: float = 60.0  # of the longest black hole
    rest: float = REST_SECONDS
    away_seconds: float = AWAY_SECONDS  # of the database
    share: float = 0.2  # of the connections that a fault of the network meets


@dataclass
class Scene:
    """What the faults happen to."""

    stage: Stage
    proxy: Proxy
    background: Background
    extent: Extent

    def faults(self) -> list[tuple[str, Callable[[], None]]]:
        """What can happen here, by name."""
        found: list[tuple[str, Callable[[], None]]] = [
            ("connections reset", lambda: self.background.call(self.proxy.cut(self.extent.share))),
            ("black hole", lambda: self.background.spawn(self.proxy.swallow(self.extent.share, self.hole()))),
            ("slow link", lambda: self.background.spawn(self.proxy.slow(self.extent.share, SLOW_SECONDS))),
            ("SIGTERM of a server", self.stage.restart),
            ("kill -9 of a server", self.stage.kill),
        ]
        if self.stage.redis:
            found.append(("Redis restarted", self.restart_redis))
        if self.stage.postgres:
            found.append(("database away", self.lose_database))
        return found

    def hole(self) -> float:
        """Seconds that a black hole lasts."""
        return random.uniform(0.3, 1) * self.extent.hole_seconds

    def restart_redis(self) -> None:
        """Redis ends, and comes back empty."""
        assert self.stage.redis
        self.stage.redis.kill()
        time.sleep(1)
        self.stage.redis.start()

    def lose_database(self) -> None:
        """The database refuses connections for a while."""
        self.stage.crash_postgres()
        time.sleep(self.extent.away_seconds)
        self.stage.start_postgres()


def run(stage: Stage, extent: Extent) -> Told:
    """Let it run so long, with faults in random order, each as often as any other; then wait and compare."""
    with Background() as background:
        proxy = Proxy([server.port for server in stage.servers])
        background.call(proxy.start())
        try:
            return _play(Scene(stage, proxy, background, extent))
        finally:
            background.call(proxy.close())


def _play(scene: Scene) -> Told:
    stage, background, extent = scene.stage, scene.background, scene.extent
    stream = Stream(stage, [f"live-{uuid4().hex[:12]}" for _ in range(extent.plans)], extent.rate)
    wait_for_end = _begin(stage, background, stream)
    url = f"ws://127.0.0.1:{scene.proxy.port}/ws/live"
    watchers = [Watcher(url, stage.key, stream.plans[n % extent.plans]) for n in range(extent.sockets)]
    for watcher in watchers:
        background.spawn(watcher.run())
    _break_things(scene)
    stream.sending = False
    wait_for_end()
    told = compare(stage, watchers, scene.proxy)
    _print(stage, told, watchers, stream)
    return told


def _print(stage: Stage, told: Told, watchers: list[Watcher], stream: Stream) -> None:
    print(told.table())
    print(f"  events acknowledged   {stream.events:>9}   tried again after {dict(stream.trouble)}")
    print(f"  sockets ended by       {dict(sum((w.errors for w in watchers), Counter()))}")
    for what, times in stage.complaints().most_common(10):
        print(f"  {times:>6} x {what}")
    print("  nothing missed, nothing twice" if not told.faults else f"  FAULTS {told.faults}", flush=True)


def _begin(stage: Stage, background: Background, stream: Stream) -> Callable[[], None]:
    """Start the stream and wait until all of its plans are there; gives what waits for its end."""
    done = run_coroutine_threadsafe(stream.run(), background.loop)
    tenant = stage.tenant()

    def all_there() -> bool:
        if done.done():
            done.result()
        return tenant.plan(stream.plans[-1]) is not None

    wait_until(all_there, 60, "the first plans")
    tenant.close()
    return lambda: done.result(60)


def _break_things(scene: Scene) -> None:
    extent = scene.extent
    end = time.monotonic() + extent.seconds
    happened: Counter[str] = Counter()
    while time.monotonic() < end:
        faults = scene.faults()
        random.shuffle(faults)
        for name, fault in faults:
            if time.monotonic() >= end:
                break
            fault()
            happened[name] += 1
            _cut_now_and_then(scene, random.uniform(0.5, 1.5) * extent.rest)
            scene.background.check()
    print("  faults: " + ", ".join(f"{times} x {name}" for name, times in sorted(happened.items())), flush=True)


def _cut_now_and_then(scene: Scene, seconds: float) -> None:
    """One connection is reset about once a second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, random.uniform(0.3, 1.7)))
        scene.background.call(scene.proxy.cut(0))


def compare(stage: Stage, watchers: list[Watcher], proxy: Proxy) -> Told:
    """Wait until all sockets have caught up, then hold what they were shown against the log."""
    with ExitStack() as stack:
        tenant = stage.tenant()
        stack.callback(tenant.close)
        logs: dict[str, list[Row]] = {
            plan_id: [shown(row) for row in tenant.log(plan_id)] for plan_id in {w.plan_id for w in watchers}
        }
    told = Told(committed=sum(map(len, logs.values())), cut=proxy.cuts)
    try:
        wait_until(lambda: all(w.seen >= len(logs[w.plan_id]) for w in watchers), CATCH_UP_SECONDS)
    except AssertionError:
        told.late = sum(w.seen < len(logs[w.plan_id]) for w in watchers)
    for watcher in watchers:
        _add(told, watcher, logs[watcher.plan_id])
    return told


def _add(told: Told, watcher: Watcher, log: list[Row]) -> None:
    seqs = [row[0] for row in watcher.rows]
    told.to_show += len(log)
    told.shown += len(watcher.rows)
    told.missed += len({row[0] for row in log} - set(seqs))
    told.wrong += len(set(watcher.rows) - set(log))
    told.out_of_order += sum(later <= earlier for earlier, later in itertools.pairwise(seqs))
    told.repeated += watcher.repeated
    told.opened += watcher.opened
    told.gaps_healed += watcher.times_healed
    told.rows_healed += watcher.healed
    told.gaps_on_open_sockets += watcher.asked_for_gaps
    told.resyncs += watcher.resyncs


def main() -> int:
    """Run what the command line says; 1 when something was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--servers", default="daphne,uvicorn", help="kinds of the processes; one of them on SQLite")
    parser.add_argument("--plans", type=int, default=50)
    parser.add_argument("--sockets", type=int, default=100)
    parser.add_argument("--rate", type=float, default=200, help="log rows a second")
    parser.add_argument("--hole", type=float, default=60, help="seconds of the longest black hole")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    asked = parser.parse_args()
    random.seed(asked.seed)
    extent = Extent(asked.seconds, asked.plans, asked.sockets, asked.rate, asked.hole)
    print(f"{extent}, seed {asked.seed}", flush=True)
    with Stage(asked.database, tuple(asked.servers.split(","))) as stage:
        return bool(run(stage, extent).faults)


if __name__ == "__main__":
    sys.exit(main())
