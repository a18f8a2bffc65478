"""A journal: what an agent did offline, replayed."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.planner.calls import code
from tests.tracker.factories import everything, moves, task_of
from tests.tracker.reporting import CONFLICT, VERSION, journal, path, report, steps_of, walk
from tests.tracker.runs import Run
from tracker.changes import Journal, Step
from tracker.states import TASK


def test_a_journal_is_replayed_in_order(run, reporter, task_id):
    steps = steps_of("running", "waiting", "running", "completed")
    response = journal(reporter, task_id, *steps, base_version=1)
    assert response.status_code == 200
    told = response.json()
    assert (told["applied"], told["version"], told["task_id"]) == (4, 5, task_id)
    assert [(o["to"], o["outcome"], o["version"]) for o in told["outcomes"]] == [
        ("running", "applied", 2), ("waiting", "applied", 3), ("running", "applied", 4), ("completed", "applied", 5)
    ]  # fmt: skip
    assert moves(run, task_id) == ["pending", "running", "waiting", "running", "completed"]


def test_a_journal_replayed_twice_changes_nothing(run, reporter, task_id):
    steps = steps_of("running", "waiting", "running", "completed")
    first = journal(reporter, task_id, *steps, base_version=1).json()
    before = everything(run.workspace)
    again = journal(reporter, task_id, *steps, base_version=1)
    assert (again.status_code, again.json()["applied"], again.json()["version"]) == (200, 0, 5)
    assert [(o["outcome"], o["seq"], o["version"]) for o in again.json()["outcomes"]] == [
        ("duplicate", o["seq"], o["version"]) for o in first["outcomes"]
    ]
    assert everything(run.workspace) == before


def test_a_journal_that_grew_goes_on_where_it_was(run, reporter, task_id):
    steps = steps_of("running", "waiting", "running", "completed")
    assert journal(reporter, task_id, *steps[:2], base_version=1).status_code == 200
    grown = journal(reporter, task_id, *steps, base_version=1).json()
    assert (grown["applied"], [o["outcome"] for o in grown["outcomes"]]) == (2, ["duplicate"] * 2 + ["applied"] * 2)
    assert task_of(run, task_id).state == "completed"


def test_a_journal_from_another_version_is_a_conflict(run, reporter, task_id):
    walk(reporter, task_id, "running")
    before = everything(run.workspace)
    response = journal(reporter, task_id, *steps_of("waiting"), base_version=1)
    assert (code(response), response.json()["version"], response.json()["state"]) == (VERSION, 2, "running")
    assert everything(run.workspace) == before


def test_an_atomic_journal_is_all_or_nothing_and_says_where(run, reporter, task_id):
    before = everything(run.workspace)
    response = journal(reporter, task_id, *steps_of("running", "waiting", "delegated", "running"), base_version=1)
    assert code(response) == CONFLICT
    assert (response.json()["step"], response.json()["state"], response.json()["version"]) == (2, "pending", 1)
    assert everything(run.workspace) == before


def test_a_journal_that_is_not_atomic_takes_what_is_legal(run, reporter, task_id):
    response = journal(
        reporter, task_id, *steps_of("running", "pending", "waiting", "delegated", "completed"), atomic=False
    )
    assert response.status_code == 200
    told = response.json()
    assert [o["outcome"] for o in told["outcomes"]] == ["applied", "refused", "applied", "refused", "applied"]
    assert (told["applied"], told["version"]) == (3, 4)
    assert (told["outcomes"][1]["state"], told["outcomes"][1]["version"]) == ("running", 2)
    assert moves(run, task_id) == ["pending", "running", "waiting", "completed"]


def test_a_step_twice_in_one_journal_is_one_step(run, reporter, task_id):
    step = {"to": "running", "event_id": "s-1"}
    told = journal(reporter, task_id, step, step, {"to": "completed"}).json()
    assert [o["outcome"] for o in told["outcomes"]] == ["applied", "duplicate", "applied"]


def test_a_journal_knows_what_was_reported_step_by_step(run, reporter, task_id):
    assert report(reporter, task_id, "running", event_id="s-0").status_code == 201
    told = journal(reporter, task_id, *steps_of("running", "completed"), base_version=1).json()
    assert [o["outcome"] for o in told["outcomes"]] == ["duplicate", "applied"]


@pytest.mark.parametrize(
    "body",
    [
        {"steps": []}, {"steps": [{}]}, {}, {"steps": [{"to": "running"}] * 1001}, {"steps": [{"to": "x"}]},
        {"steps": {"to": "running"}}, {"steps": [{"to": "running", "extra": 1}]},
        {"steps": [{"to": "running"}], "base_version": -1},
    ],
)  # fmt: skip
def test_a_journal_that_cannot_be_read(run, reporter, task_id, body):
    before = everything(run.workspace)
    assert code(reporter.post(path(task_id, "journal"), body)) == (422, "invalid")
    assert everything(run.workspace) == before


def test_faults_are_pointed_at_in_the_document_that_was_sent(reporter, task_id):
    response = journal(reporter, task_id, {"to": "running"}, {"to": "nowhere"})
    assert [fault["pointer"] for fault in response.json()["errors"]] == ["/steps/1/to"]


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TASK.states), min_size=1, max_size=8), st.booleans())
def test_any_journal_that_was_taken_is_known_the_next_time(one_workspace, states, versioned):
    run = Run(one_workspace)
    task_id = run.plan(2)[1][0]
    steps = [Step(state, event_id=f"{task_id}-{n}") for n, state in enumerate(states)]
    change = run.change(Journal, task_id=task_id, steps=steps, base_version=1 if versioned else None)
    [first] = run.record(change)
    settled = everything(run.workspace)
    [again] = run.record(change)
    assert everything(run.workspace) == settled
    if first.result == "refused":
        assert (again.detail, again.value, task_of(run, task_id).version) == (first.detail, first.value, 1)
    else:
        assert again.value["applied"] == 0
        assert first.value["applied"] == len(states) == task_of(run, task_id).version - 1
