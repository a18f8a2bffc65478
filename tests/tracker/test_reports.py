"""Transitions that are reported over HTTP, and who may report at all."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.accounts.factories import closing_connection, make_workspace
from tests.planner.calls import Agent, code
from tests.tracker.factories import everything, log, moves, task_of
from tests.tracker.reporting import (
    CONFLICT,
    UNKNOWN,
    VERSION,
    a_task_in,
    path,
    report,
    send,
    walk,
)
from tests.tracker.runs import Run
from tracker.states import TASK


def test_a_hop_is_made_and_told(run, reporter, task_id):
    response = report(reporter, task_id, "running", reason="I begin", at="2026-01-02T03:04:05Z", event_id="e-1")
    assert response.status_code == 201
    [row] = [row for row in log(run, task_of(run, task_id).plan.plan_id) if row.event_id == "e-1"]
    assert response.json() == {
        "task_id": task_id,
        "from_state": "pending",
        "to_state": "running",
        "version": 2,
        "seq": row.seq,
        "event_id": "e-1",
    }
    assert response["ETag"] == '"v2"'
    assert (row.reason, row.by, row.occurred_at.isoformat()) == ("I begin", "user:alice", "2026-01-02T03:04:05+00:00")
    assert (task_of(run, task_id).state, reporter.get(f"/tracker/tasks/{task_id}")["ETag"]) == ("running", '"v2"')


@pytest.mark.parametrize(("source", "target"), [*itertools.product(TASK.states, repeat=2)])
def test_the_state_table_alone_decides(run, reporter, source, target):
    task_id = a_task_in(run, source)
    before, version = everything(run.workspace), task_of(run, task_id).version
    response = report(reporter, task_id, target)
    if TASK.move(source, target):
        assert (response.status_code, response.json()["version"]) == (201, version + 1)
        assert task_of(run, task_id).state == target
    else:
        assert code(response) == CONFLICT
        problem = response.json()
        assert {name: problem[name] for name in ("state", "version", "allowed_transitions")} == {
            "state": source, "version": version, "allowed_transitions": TASK.targets(source)
        }  # fmt: skip
        assert everything(run.workspace) == before


def test_an_expected_version(run, reporter, task_id):
    wrong = report(reporter, task_id, "running", expected_version=7)
    assert (code(wrong), wrong.json()["version"], wrong.json()["state"]) == (VERSION, 1, "pending")
    assert report(reporter, task_id, "running", expected_version=1).status_code == 201
    assert code(report(reporter, task_id, "completed", expected_version=1)) == VERSION
    for version in (-1, "one", 1.5):
        assert code(report(reporter, task_id, "completed", expected_version=version))[0] == 422
    assert code(report(reporter, task_id, "completed", expected_version=10**30)) == VERSION
    assert moves(run, task_id) == ["pending", "running"]


def test_if_match(run, reporter, task_id):
    wrong = send(reporter, task_id, "transitions", {"to": "running"}, If_Match='"v7"')
    assert (code(wrong), wrong.json()["version"]) == ((412, "version-conflict"), 1)
    assert code(send(reporter, task_id, "transitions", {"to": "completed"}, If_Match='"v1"')) == CONFLICT
    assert send(reporter, task_id, "transitions", {"to": "running"}, If_Match='"v1"').status_code == 201
    assert send(reporter, task_id, "transitions", {"to": "waiting"}, If_Match="*").status_code == 201
    for nonsense in ("v3", '"3"', "3", '"v3', '"vx"', '"v99999999999999999999"'):
        assert code(send(reporter, task_id, "transitions", {"to": "running"}, If_Match=nonsense))[0] == 422, nonsense
    assert moves(run, task_id) == ["pending", "running", "waiting"]


def test_an_idempotency_key(run, reporter, task_id):
    first = send(reporter, task_id, "transitions", {"to": "running", "reason": "go"}, Idempotency_Key="k-1")
    walk(reporter, task_id, "waiting")
    again = send(reporter, task_id, "transitions", {"to": "running", "reason": "go"}, Idempotency_Key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert (first.json(), first["ETag"]) == (again.json(), again["ETag"])
    for other in (
        {"to": "running"},
        {"to": "completed", "reason": "go"},
        {"to": "running", "reason": "go", "error": "x"},
    ):
        response = send(reporter, task_id, "transitions", other, Idempotency_Key="k-1")
        assert code(response) == (422, "idempotency-key-reused"), other
    assert code(send(reporter, task_id, "transitions", {"to": "running"}, Idempotency_Key="x" * 256))[0] == 422
    assert moves(run, task_id) == ["pending", "running", "waiting"]


def test_an_event_id_is_a_key_as_well(run, reporter, task_id):
    first = report(reporter, task_id, "running", event_id="e-1")
    assert report(reporter, task_id, "running", event_id="e-1").json() == first.json()
    assert code(report(reporter, task_id, "waiting", event_id="e-1")) == (422, "idempotency-key-reused")
    assert moves(run, task_id) == ["pending", "running"]


def test_a_result_and_an_error_are_kept(run, reporter, task_id):
    walk(reporter, task_id, "running")
    assert report(reporter, task_id, "failed", error="no brakes", result={"checked": 3}).status_code == 201
    assert task_of(run, task_id).error == "no brakes"
    row = log(run, task_of(run, task_id).plan.plan_id)[-1]
    assert json.loads(row.data)["result"] == {"checked": 3}


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"[]", b'"running"', b"{}", b'{"to": "elsewhere"}', b'{"to": "running", "other": 1}',
        b'{"to": null}',
        b'{"to": "running", "at": "yesterday"}', b'{"to": "running", "reason": 7}',
        b'{"to": "running", "reason": "\\u0000"}', b'{"to": "running", "result": NaN}',
        b'{"to": "running", "result": 1e999}', b'{"to": "running", "result": "\\ud800"}',
        b'{"to": "running", "event_id": "\\ud800"}', b'{"to": "running", "result": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"to": "running", "event_id": "a\\u0000b"}',
    ],
)  # fmt: skip
def test_what_cannot_be_read_leaves_nothing(run, reporter, task_id, body):
    before = everything(run.workspace)
    response = reporter.post(path(task_id, "transitions"), body)
    assert code(response)[0] in {400, 422}
    assert everything(run.workspace) == before


def test_sixteen_agents_with_one_version_have_one_winner_each_time(shared_run):
    agents = [Agent(shared_run.workspace, "acme", f"agent-{n}") for n in range(16)]
    task_id = shared_run.plan(2)[1][0]
    cycle = itertools.cycle(["waiting", "running"])
    assert report(agents[0], task_id, "running").status_code == 201
    with ThreadPoolExecutor(16) as pool:
        for version, to in zip(range(2, 8), cycle, strict=False):
            calls = [
                pool.submit(
                    closing_connection, lambda a, to=to, v=version: report(a, task_id, to, expected_version=v), a
                )
                for a in agents
            ]
            responses = [call.result() for call in calls]
            assert sorted(response.status_code for response in responses) == [201] + [409] * 15
            lost = [response.json() for response in responses if response.status_code == 409]
            assert {(one["code"], one["version"], one["state"]) for one in lost} == {
                ("version-conflict", version + 1, to)
            }
    assert task_of(shared_run, task_id).version == 8


def test_without_a_version_every_legal_move_is_made_in_some_order(shared_run):
    reporter = Agent(shared_run.workspace, "acme", "alice")
    tasks = shared_run.plan(8)[1]
    calls = [(task_id, to) for task_id in tasks for to in ("running", "running", "completed", "completed")]
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda call: closing_connection(report, reporter, *call), calls))
    assert {response.status_code for response in responses} <= {201, 409}
    for number, task_id in enumerate(tasks):
        made = [r.json()["to_state"] for r in responses[number * 4 : number * 4 + 4] if r.status_code == 201]
        assert sorted(moves(shared_run, task_id)[1:]) == sorted(made)
        assert "running" in made


REPORTS = {
    "transitions": {"to": "running"},
    "journal": {"steps": [{"to": "running"}]},
    "reconcile": {"state": "running"},
    "progress": {"progress": 0.5},
    "cancel": {},
    "retry": {},
}


@pytest.mark.parametrize("verb", REPORTS)
def test_scopes(run, task_id, verb):
    needed = "act" if verb in {"cancel", "retry"} else "publish"
    others = [scope for scope in ("publish", "read", "act") if scope != needed]
    other = Agent(run.workspace, run.tenant, run.user, scopes=others)
    assert code(other.post(path(task_id, verb), REPORTS[verb])) == (403, "forbidden")
    allowed = Agent(run.workspace, run.tenant, run.user, scopes=[needed])
    assert allowed.post(path(task_id, verb), REPORTS[verb]).status_code in {200, 201, 409}


@pytest.mark.parametrize("verb", REPORTS)
def test_what_is_foreign_is_not_there(run, task_id, verb):
    before = everything(run.workspace)
    strangers = [
        Agent(make_workspace(), run.tenant, run.user),
        Agent(make_workspace()),
        Agent(run.workspace, "globex", "bob"),
    ]
    answers = [stranger.post(path(task_id, verb), REPORTS[verb]) for stranger in strangers]
    answers += [Agent(run.workspace).post(path("not-there", verb), REPORTS[verb])]
    assert [code(answer) for answer in answers] == [UNKNOWN] * 4
    assert len({answer.content for answer in answers}) == 1
    assert everything(run.workspace) == before


def test_a_key_of_the_whole_workspace_reaches_every_tenant(run, task_id):
    assert report(Agent(run.workspace), task_id, "running").status_code == 201
    other = Run(run.workspace, "globex", "bob")
    assert report(Agent(run.workspace), other.plan(1)[1][0], "running").status_code == 201


def test_an_id_may_hold_slashes(run, reporter):
    run.request("p", "a/b/transitions", type="x")
    assert report(reporter, "a%2Fb%2Ftransitions", "running").status_code == 201
    assert task_of(run, "a/b/transitions").state == "running"
