from concurrent.futures import ThreadPoolExecutor

import pytest

from accounts import auth
from tests.accounts.factories import closing_connection


@pytest.fixture(autouse=True)
def _fresh_memory():
    """What one test's keys left in the process is not the next one's: rolled-back ids come again."""
    auth.forget_keys()
    auth._used.clear()


@pytest.fixture
def run_in_thread():
    """Call a function in a thread of its own, with its own database connection; gives its result."""
    with ThreadPoolExecutor(max_workers=8) as pool:

        def call(function, *args):
            return pool.submit(closing_connection, function, *args).result(timeout=30)

        yield call
