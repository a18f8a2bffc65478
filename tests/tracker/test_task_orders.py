"""Progress, and what people order: cancel and retry."""

import json

import pytest

from tests.planner.calls import code
from tests.tracker.factories import everything, log, task_of
from tests.tracker.reporting import CONFLICT, a_task_in, path, progress, send, walk
from tracker.models import LogRow
from tracker.states import TASK


def test_the_latest_progress_is_kept_without_a_version(run, reporter, task_id):
    walk(reporter, task_id, "running")
    for value in (0, 0.5, 1.0):
        response = progress(reporter, task_id, progress=value, message=f"at {value}")
        assert response.status_code == 200
        told = response.json()
        assert (told["progress"], told["message"], told["state"], told["version"]) == (
            value,
            f"at {value}",
            "running",
            2,
        )
    assert (task_of(run, task_id).progress, task_of(run, task_id).message) == (1.0, "at 1.0")


def test_parts_that_are_not_said_stay(run, reporter, task_id):
    progress(reporter, task_id, progress=0.5, message="half")
    assert progress(reporter, task_id, message="still half").json()["progress"] == 0.5
    assert progress(reporter, task_id, progress=0.6).json()["message"] == "still half"


def test_data_is_kept_in_the_log(run, reporter, task_id):
    data = {"parts": [1, 2.5, None, {"x_y": "z"}], "big": 10**30}
    assert progress(reporter, task_id, progress=0.5, data=data).status_code == 200
    row = log(run, task_of(run, task_id).plan.plan_id)[-1]
    assert (row.kind, json.loads(row.data)["data"]) == ("note", data)


def test_a_heartbeat_without_news_leaves_no_row(run, reporter, task_id):
    progress(reporter, task_id, progress=0.5)
    rows = LogRow.objects.count()
    assert progress(reporter, task_id, progress=0.5).status_code == 200
    assert progress(reporter, task_id).status_code == 200
    assert LogRow.objects.count() == rows


@pytest.mark.parametrize(
    "body",
    [
        b'{"progress": -0.01}', b'{"progress": 1.01}', b'{"progress": NaN}', b'{"progress": Infinity}',
        b'{"progress": 1e999}',
        b'{"progress": "half"}', b'{"progress": []}', b'{"data": 7}', b'{"data": {"a": NaN}}', b'{"message": 7}',
        b'{"message": "\\u0000"}', b'{"more": 1}', b"[]", b"", b'{"data": {"a": "\\ud800"}}', b'{"message": "\\ud800"}',
    ],
)  # fmt: skip
def test_progress_that_cannot_be_read(run, reporter, task_id, body):
    before = everything(run.workspace)
    assert code(reporter.post(path(task_id, "progress"), body)) == (422, "invalid")
    assert everything(run.workspace) == before


@pytest.mark.parametrize("state", sorted(TASK.ended))
def test_a_task_that_has_ended_makes_no_progress(run, reporter, state):
    task_id = a_task_in(run, state)
    before = everything(run.workspace)
    response = progress(reporter, task_id, progress=0.5)
    assert (code(response), response.json()["state"]) == ((409, "task-ended"), state)
    assert everything(run.workspace) == before


def test_an_open_task_is_cancelled(run, reporter, task_id):
    response = reporter.post(path(task_id, "cancel"), {"reason": "not needed"})
    assert (response.status_code, response.json()["to_state"]) == (201, "cancelled")
    again = reporter.post(path(task_id, "cancel"), {})
    assert (code(again), again.json()["state"]) == (CONFLICT, "cancelled")


def test_a_failed_task_starts_anew(run, reporter):
    task_id = a_task_in(run, "failed")
    response = reporter.post(path(task_id, "retry"), None)
    assert (response.status_code, response.json()["to_state"]) == (201, "pending")
    task = task_of(run, task_id)
    assert (task.attempt, task.state, task.error, task.started_at, task.ended_at) == (2, "pending", "", None, None)
    assert code(reporter.post(path(task_id, "retry"), {})) == CONFLICT


def test_a_stalled_task_starts_anew_a_running_one_does_not(run, reporter):
    task_id = a_task_in(run, "running")
    assert code(reporter.post(path(task_id, "retry"), {})) == CONFLICT


def test_an_order_twice_under_one_key_is_one_order(run, reporter):
    task_id = a_task_in(run, "failed")
    first = send(reporter, task_id, "retry", {"reason": "again"}, Idempotency_Key="k")
    walk(reporter, task_id, "running")
    again = send(reporter, task_id, "retry", {"reason": "again"}, Idempotency_Key="k")
    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert (
        code(send(reporter, task_id, "retry", {"reason": "other"}, Idempotency_Key="k"))[1] == "idempotency-key-reused"
    )
    assert (
        code(send(reporter, task_id, "cancel", {"reason": "again"}, Idempotency_Key="k"))[1] == "idempotency-key-reused"
    )
    assert task_of(run, task_id).attempt == 2
