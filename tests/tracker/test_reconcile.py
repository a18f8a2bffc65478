"""What an agent believes of its task, and the way there."""

import itertools

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.planner.calls import code
from tests.tracker.factories import everything, moves, task_of
from tests.tracker.reporting import (
    CONFLICT,
    a_task_in,
    path,
    reconcile,
    walk,
)
from tests.tracker.runs import Run
from tracker.changes import Reconcile
from tracker.ledger import record
from tracker.states import TASK


def test_what_is_missing_is_walked_and_marked(run, reporter, task_id):
    response = reconcile(reporter, task_id, "completed")
    assert response.json() == {
        "task_id": task_id, "matched": False, "applied": ["running", "completed"], "state": "completed", "version": 3
    }  # fmt: skip
    assert moves(run, task_id) == ["pending", "(running)", "(completed)"]


def test_a_second_call_changes_nothing(run, reporter, task_id):
    reconcile(reporter, task_id, "waiting")
    before = everything(run.workspace)
    again = reconcile(reporter, task_id, "waiting")
    assert (again.status_code, again.json()["matched"], again.json()["applied"]) == (200, True, [])
    assert everything(run.workspace) == before


@pytest.mark.parametrize(("source", "belief"), [*itertools.product(TASK.states, repeat=2)])
def test_reconciling_only_goes_on_and_never_twice(run, reporter, source, belief):
    """From every state to every belief: matched, a forward path within the table, or a 409; then it is a no-op."""
    task_id = a_task_in(run, source)
    version, before = task_of(run, task_id).version, everything(run.workspace)
    response = reconcile(reporter, task_id, belief)
    if response.status_code == 409:
        assert code(response) == CONFLICT
        assert response.json()["allowed_transitions"] == TASK.targets(source)
        assert everything(run.workspace) == before
        return
    told = response.json()
    assert told["matched"] == (source == belief)
    assert told["state"] == belief
    at = source
    for to in told["applied"]:
        hop = TASK.move(at, to)
        assert hop
        assert hop.verb not in {"retry", "cancel"}
        at = to
    assert (at, told["version"]) == (belief, version + len(told["applied"]))
    assert task_of(run, task_id).state == belief
    settled = everything(run.workspace)
    assert reconcile(reporter, task_id, belief).json()["applied"] == []
    assert everything(run.workspace) == settled


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(TASK.states, 2)])
@pytest.mark.parametrize("source", ["pending", "running", "waiting"])
def test_two_agents_that_disagree_converge(run, one, other, source):
    """However long they insist, the task stops moving after one round."""
    task_id = a_task_in(run, source)
    beliefs = [run.change(Reconcile, task_id=task_id, state=state) for state in (one, other)]
    record(beliefs)
    settled = everything(run.workspace)
    record(beliefs * 5)
    assert everything(run.workspace) == settled


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(TASK.states), st.none() | st.integers(0, 12)), min_size=2, max_size=5),
    st.sampled_from(["pending", "running", "in_review"]),
)
def test_agents_with_versions_converge_as_well(one_workspace, beliefs, source):
    run = Run(one_workspace)
    task_id = a_task_in(run, source)
    changes = [run.change(Reconcile, task_id=task_id, state=state, version=version) for state, version in beliefs]
    for _ in range(14):
        record(changes)
    settled = task_of(run, task_id).version
    record(changes * 3)
    assert task_of(run, task_id).version == settled


def test_an_agent_that_is_behind_is_told_and_changes_nothing(run, reporter, task_id):
    walk(reporter, task_id, "running", "waiting", "running")
    before = everything(run.workspace)
    told = reconcile(reporter, task_id, "waiting", version=3).json()
    assert told == {"task_id": task_id, "matched": False, "applied": [], "state": "running", "version": 4}
    assert everything(run.workspace) == before


@pytest.mark.parametrize("body", [{}, {"state": "x"}, {"state": "running", "version": -1}, {"state": 1}, []])
def test_a_belief_that_cannot_be_read(reporter, task_id, body):
    assert code(reporter.post(path(task_id, "reconcile"), body)) == (422, "invalid")
