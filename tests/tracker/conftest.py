"""Fixtures of the tracker's tests."""

import pytest

from tests.accounts.factories import make_workspace
from tests.planner.calls import Agent as Caller
from tests.tracker.factories import assert_log_tells_all
from tests.tracker.live_client import in_thread
from tests.tracker.runs import Run
from tests.tracker.served import served


@pytest.fixture
def run(db):
    """A tenant's agents in a workspace of their own. In the end the log of each plan must rebuild the tables."""
    run = Run(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
def reporter(run):
    """A key of the run's tenant and user."""
    return Caller(run.workspace, run.tenant, run.user)


@pytest.fixture
def task_id(run):
    """A pending task of a plan with another task, so that the plan stays open."""
    return run.plan(2)[1][0]


@pytest.fixture
def one_workspace(db):
    """A workspace for all examples of a property; in the end the log of each plan must rebuild the tables."""
    workspace = make_workspace()
    yield workspace
    assert_log_tells_all(workspace)


@pytest.fixture
def shared_run(transactional_db):
    """The same where commits are real, for tests with threads."""
    run = Run(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
async def http(transactional_db):
    """An HTTP client of the whole application, which runs in this process; it is async, and so is what uses it."""
    async with served() as client:
        yield client


@pytest.fixture
async def workspace(transactional_db):
    """A workspace of its own, whose plans' logs must rebuild the tables in the end."""
    workspace = await in_thread(make_workspace)
    yield workspace
    await in_thread(assert_log_tells_all, workspace)
