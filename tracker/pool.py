"""The connections of this thread and the pool behind them: after an error, and before a fork.

Those that died with the database are replaced, without a restart.
"""

import logging

from django.db import connection, connections

log = logging.getLogger(__name__)


def renew() -> None:
    """Look at the connections that wait in the pool. Blocking; for the path of errors. SQLite has no pool.

    Without it each of them would fail once more, for whoever is given it next.
    """
    pool = getattr(connection, "pool", None)
    if pool is not None:
        pool.check()


def forget() -> None:
    """Close the connection of this thread, which may have died, and look at the others. Never raises."""
    try:
        connection.close()
        renew()
    except Exception:
        # Whatever it is: who records must be able to go on with the next batch.
        log.exception("the ledger's connection cannot be closed")


def close_all() -> None:
    """Close what a process must not share with one that it forks; what is needed again is made anew."""
    for one in connections.all(initialized_only=True):
        one.close()
        if close_pool := getattr(one, "close_pool", None):  # PostgreSQL has one
            close_pool()
