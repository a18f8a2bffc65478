"""Servers, PostgreSQL and Redis killed at random moments under load: what was acknowledged is there, and once.

On PostgreSQL, two servers and a Redis:

    python -m soak.crash --database postgresql --kills 100 --database-kills 10 --redis-kills 10
"""

import argparse
import random
import sys
import time
from collections.abc import Callable

from soak.books import Books, Findings, audit, look_at_log, settle
from soak.crew import Crew
from soak.stage import Stage

MOST_SECONDS = 1.5  # of load before a kill


def run(
    database: str,
    *,
    kills: int = 0,
    database_kills: int = 0,
    redis_kills: int = 0,
    ledger_kills: int = 0,
    servers: tuple[str, ...] | None = None,
) -> Findings:
    """Kill so often, in random order, and count. On PostgreSQL there are two servers and a Redis."""
    servers = servers or (("daphne",) if database == "sqlite" else ("daphne", "uvicorn"))
    with Stage(database, servers) as stage:
        return break_all(stage, kills, database_kills, redis_kills, ledger_kills)


def break_all(
    stage: Stage, kills: int, database_kills: int = 0, redis_kills: int = 0, ledger_kills: int = 0
) -> Findings:
    """The same on a stage that is there; nobody else may use it."""
    books = Books()
    faults: list[Callable[[], None]] = [stage.kill] * kills + [stage.kill_ledger] * ledger_kills
    faults += [lambda: break_database(stage)] * database_kills + [lambda: break_redis(stage)] * redis_kills
    random.shuffle(faults)
    with Crew(stage, books) as crew:
        for number, fault in enumerate(faults, 1):
            _round(stage, crew, fault, number)
        crew.pause()
        tenant = stage.tenant()
        settle(tenant, books)
        tenant.close()
    found = audit(stage, books)
    _print(stage, books, found)
    return found


def _round(stage: Stage, crew: Crew, fault: Callable[[], None], number: int) -> None:
    """Load, a fault in the middle of it, and a look at what was acknowledged before it."""
    plans = crew.new_plans()
    time.sleep(random.uniform(0.05, MOST_SECONDS))
    fault()
    crew.pause()
    so_far, tenant = Findings(), stage.tenant()
    look_at_log(tenant, crew.books, plans, so_far)
    tenant.close()
    print(f"  {number}: {so_far.acknowledged} acknowledged, {so_far.rows} rows", so_far.faults or "", flush=True)
    crew.go_on()


def break_database(stage: Stage) -> None:
    """PostgreSQL is killed, and comes back."""
    stage.crash_postgres()
    stage.start_postgres()


def break_redis(stage: Stage) -> None:
    """Redis is killed, and comes back empty a moment later."""
    assert stage.redis
    stage.redis.kill()
    time.sleep(random.uniform(0, 1))
    stage.redis.start()
    stage.wait_until_ready()


def _print(stage: Stage, books: Books, found: Findings) -> None:
    print(found.table())
    print(f"  tried again after      {dict(books.trouble)}")
    for what, times in (stage.complaints() + books.refused).most_common(12):
        print(f"  {times:>6} x {what}")
    print("  nothing lost" if not found.faults else f"  FAULTS {found.faults}", flush=True)


def main() -> int:
    """Run what the command line says; 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--kills", type=int, default=100, help="kill -9 of a server (100)")
    parser.add_argument("--database-kills", type=int, default=0, help="immediate ends of PostgreSQL (0)")
    parser.add_argument("--redis-kills", type=int, default=0, help="kill -9 of Redis (0)")
    parser.add_argument("--ledger-kills", type=int, default=0, help="kill -9 of a process of a ledger (0)")
    parser.add_argument("--servers", help="kinds of the processes, as daphne,uvicorn")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    asked = parser.parse_args()
    random.seed(asked.seed)
    print(f"{asked.database}: {asked.kills} kills of a server, seed {asked.seed}", flush=True)
    found = run(
        asked.database,
        kills=asked.kills,
        database_kills=asked.database_kills,
        redis_kills=asked.redis_kills,
        ledger_kills=asked.ledger_kills,
        servers=tuple(asked.servers.split(",")) if asked.servers else None,
    )
    return bool(found.faults)


if __name__ == "__main__":
    sys.exit(main())
