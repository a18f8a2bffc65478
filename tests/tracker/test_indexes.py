"""What the indexes of plans and tasks must not have, for PostgreSQL to write a move in its place (ADR 18)."""

from itertools import chain

import pytest
from django.db import connection
from django.db.models import Q, UniqueConstraint

from tracker.models import Plan, Task

MOVES = {Task: {"state", "version", "updated_at"}, Plan: {"seq", "version", "updated_at"}}


def names(condition):
    """The columns that a condition looks at."""
    parts = condition.children if isinstance(condition, Q) else [condition]
    return set(chain.from_iterable(names(p) if isinstance(p, Q) else [p[0].partition("__")[0]] for p in parts))


def indexed(model):
    """The columns of all indexes of a model, and of their conditions."""
    found = {field.name for field in model._meta.fields if field.db_index or field.unique}
    unique = [c for c in model._meta.constraints if isinstance(c, UniqueConstraint)]
    for index in (*model._meta.indexes, *unique):
        found |= set(index.fields) | (names(index.condition) if index.condition else set())
    return found


@pytest.mark.parametrize("model", MOVES)
def test_no_index_has_what_changes_with_each_move(model):
    assert indexed(model) & MOVES[model] == set()


def test_columns_of_conditions_are_seen():
    assert {"stalled", "ended_at", "aliased", "digest", "parent"} <= indexed(Task)
    assert {"state", "session_id"} <= indexed(Plan)


@pytest.mark.django_db
@pytest.mark.parametrize("model", MOVES)
def test_pages_keep_room(model):
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [model._meta.db_table])
            assert cursor.fetchone() == (["fillfactor=70"],)
    else:
        assert model._meta.db_table in connection.introspection.table_names()
