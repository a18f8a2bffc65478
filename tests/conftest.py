"""Fixtures of all tests: services that are real, started once and only when a test asks for them."""

import pytest

from tests.services.postgres import Postgres
from tests.services.redis import Redis


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Browser tests come last: Playwright's event loop stays in this thread, where other tests want their own."""
    items.sort(key=lambda item: "playwright" in item.fixturenames)


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
