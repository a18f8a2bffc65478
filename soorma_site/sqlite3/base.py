"""Django's SQLite backend with a few open connections kept for the next request.

Under ASGI every request runs in a thread of its own and so opens a connection of its own, and making one (its functions
and PRAGMAs) costs more than most requests do. PostgreSQL has Django's pool for that.
"""

from collections import deque
from typing import Any

from django.db.backends.sqlite3 import base

KEPT = 4  # connections, each with a page cache of its own
_idle: dict[str, deque[Any]] = {}  # by file, the one used last on top


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that goes back when it is closed, unless something went wrong on it."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """One that is idle, else a new one."""
        try:
            return self._kept().pop()
        except IndexError:
            return super().get_new_connection(conn_params)

    def _close(self) -> None:
        connection, kept = self.connection, self._kept()
        if connection is None or self.in_atomic_block or self.errors_occurred or len(kept) >= KEPT:
            super()._close()  # type: ignore[misc]
            return
        if connection.in_transaction:
            connection.rollback()
        kept.append(connection)

    def _kept(self) -> deque[Any]:
        return _idle.setdefault(str(self.settings_dict["NAME"]), deque())
