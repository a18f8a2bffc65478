"""The pool of database connections after an error.

Those that died with the database are replaced, without a restart.
"""

from django.db import connection


def renew() -> None:
    """Look at the connections that wait in the pool. Blocking; for the path of errors. SQLite has no pool.

    Without it each of them would fail once more, for whoever is given it next.
    """
    pool = getattr(connection, "pool", None)
    if pool is not None:
        pool.check()
