"""Fixtures of the queries' tests: tables may be written past the log here, so nothing compares the two."""

import pytest

from accounts import auth
from tests.accounts.factories import make_workspace
from tests.tracker.queries.asking import Api
from tests.tracker.runs import Run


@pytest.fixture(autouse=True)
def _fresh_memory():
    """A rolled-back key's id comes again in the next test."""
    auth.forget_keys()


@pytest.fixture
def workspace(db):
    return make_workspace()


@pytest.fixture
def run(workspace):
    return Run(workspace)


@pytest.fixture
def api(workspace):
    return Api(workspace, "acme", "alice")
