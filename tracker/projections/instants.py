"""Times that the database itself turns into what a reader gets: for pictures of thousands of tasks.

Django would make a datetime of each first, which costs more than all the rest of such a picture.
"""

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, Func, TextField
from django.db.models.sql.compiler import SQLCompiler


class Moment(Func):
    """A time as RFC 3339 in UTC with microseconds, as `rows.moment` writes it."""

    arity = 1
    output_field = TextField()
    template = """to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **more: Any) -> tuple[str, Any]:
        """Django stores text there, and leaves a fraction of zero away."""
        template = "substr(replace(%(expressions)s, ' ', 'T') || '.000000', 1, 26) || 'Z'"
        return self.as_sql(compiler, connection, template=template, **more)


class EpochMs(Func):
    """A time as milliseconds since 1970, rounded."""

    arity = 1
    output_field = BigIntegerField()
    template = "round(extract(epoch from %(expressions)s) * 1000)::bigint"

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **more: Any) -> tuple[str, Any]:
        """A Julian day is exact to a fraction of a millisecond there."""
        template = "CAST(round((julianday(%(expressions)s) - 2440587.5) * 86400000) AS INTEGER)"
        return self.as_sql(compiler, connection, template=template, **more)
