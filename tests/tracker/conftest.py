"""Fixtures of the tracker's tests."""

import pytest

from tests.accounts.factories import make_workspace
from tests.tracker.factories import assert_log_tells_all
from tests.tracker.runs import Run


@pytest.fixture
def run(db):
    """A tenant's agents in a workspace of their own. In the end the log of each plan must rebuild the tables."""
    run = Run(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
def shared_run(transactional_db):
    """The same where commits are real, for tests with threads."""
    run = Run(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)
