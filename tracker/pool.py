"""The connections of this thread and the pool behind them after an error.

Those that died with the database are replaced, without a restart.
"""

import logging

from django.db import connection

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
