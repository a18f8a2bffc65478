"""Fixtures of all tests: services that are real, started once and only when a test asks for them."""

import pytest
from django.db import connection
from hypothesis import settings

from tests.services.postgres import Postgres
from tests.services.redis import Redis

# How long an example takes says nothing on a busy machine.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def in_browser(item):
    return "playwright" in item.fixturenames


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item):
    """Tests of one file share its servers, so one process runs them all; those in a browser by themselves."""
    item.add_marker(pytest.mark.xdist_group(f"{item.path.name}{' in a browser' * in_browser(item)}"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items):
    """Browser tests come last: Playwright's event loop stays in this thread, where other tests want their own."""
    result = yield
    items.sort(key=in_browser)
    return result


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for the whole run; ask it for a `new_database()`."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis():
    """A Redis for the whole run; its `url` goes into REDIS_URL."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker, record_testsuite_property):
    """The test database, which PostgreSQL drops only when nobody uses it: the thread of async tests still does."""
    record_testsuite_property("database", connection.vendor)
    yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
