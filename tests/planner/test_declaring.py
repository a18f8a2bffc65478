"""`POST /v1/plans` and what goes with it: whose plan it is, repeats, faults, and where a machine stands."""

import json

import pytest

from accounts.models import Workspace
from planner.models import DeclaredPlan
from tests.planner.calls import Agent, an_agent, code, publish
from tests.planner.declared import Author, line
from tracker.models import LogRow, Plan

pytestmark = pytest.mark.django_db


def test_a_plan_is_made_with_its_first_step():
    author = Author()
    answer = author.agent.post("/plans", line("check", vehicle="v1") | {"session_id": "s", "parent_plan_id": "p"})
    assert answer.status_code == 201
    body = answer.json()
    assert body == {
        "plan_id": body["plan_id"],
        "goal": "walk.goal",
        "tenant_id": "acme",
        "user_id": "alice",
        "session_id": "s",
        "initial_state": "start",
    }
    plan = author.plan(body["plan_id"])
    assert (plan.state, plan.goal_event, plan.goal_data) == ("in_progress", "walk.goal", '{"vehicle":"v1"}')
    assert (plan.session_id, plan.parent_plan_id, plan.current_state) == ("s", "p", "check")
    seen = author.agent.get(f"/tracker/plans/{plan.plan_id}").json()
    assert seen["tasks"]["check"]["state"] == "pending"


def test_faults_are_named_with_their_places_and_nothing_is_left():
    agent = an_agent()
    answer = agent.post("/plans", {"goal": "g", "states": {"start": {"default_next": "gone"}}})
    assert code(answer) == (422, "invalid")
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/states/start/default_next",
        "/states/start",
        "/states",
    ]
    assert Plan.objects.count() == DeclaredPlan.objects.count() == LogRow.objects.count() == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1]", b'{"goal": NaN}', b'{"goal": "\xff"}', b'"' + b"x" * 10, b"[" * 500]
)
def test_what_is_no_definition_is_refused(body):
    agent = an_agent()
    assert code(agent.call("POST", "/plans", body))[0] == 422
    assert code(agent.call("POST", "/plans", b" " * 1_000_001)) == (413, "too-large")


def test_an_id_is_taken_once_and_only_in_its_tenant():
    agent = an_agent()
    definition = line("check") | {"plan_id": "mine"}
    assert agent.post("/plans", definition).status_code == 201
    assert code(agent.post("/plans", definition)) == (409, "plan-exists")
    publish(agent.workspace, "x.requested", plan_id="known")
    assert code(agent.post("/plans", definition | {"plan_id": "known"})) == (409, "plan-exists")
    other = Agent(agent.workspace, "umbrella", "bob")
    assert other.post("/plans", definition).status_code == 201


def keyed(agent, definition, key):
    answer = agent._client.post(
        "/v1/plans", json.dumps(definition), "application/json", headers={"Idempotency-Key": key}
    )
    return answer.status_code, answer.json()


def test_a_repeat_under_one_key_is_answered_with_the_first_plan():
    agent = an_agent()
    first = keyed(agent, line("check"), "k1")
    assert first[0] == 201
    assert keyed(agent, line("check"), "k1") == first
    assert Plan.objects.count() == 1
    status, problem = keyed(agent, line("ship"), "k1")
    assert (status, problem["code"]) == (422, "idempotency-key-reused")
    assert keyed(agent, line("check"), "k2")[1]["plan_id"] != first[1]["plan_id"]


def test_whose_plan_it_is():
    agent = an_agent()
    unbound = Agent(agent.workspace)
    refused = unbound.post("/plans", line("check"))
    assert code(refused) == (422, "invalid")
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/tenant_id", "/user_id"]
    made = unbound.post("/plans", line("check") | {"tenant_id": "umbrella", "user_id": "bob"}).json()
    assert (made["tenant_id"], made["user_id"]) == ("umbrella", "bob")
    assert code(agent.post("/plans", line("check") | {"tenant_id": "umbrella"})) == (403, "forbidden")
    assert agent.get(f"/plans/{made['plan_id']}/machine").status_code == 404


def test_scopes():
    agent = an_agent(scopes=["publish", "read"])
    assert code(agent.post("/plans", line("check")))[0] == 403
    assert agent.post("/plans/validate", line("check")).status_code == 200
    assert code(an_agent(scopes=["act"]).post("/plans/validate", line("check")))[0] == 403


def test_a_definition_is_tried():
    agent = an_agent()
    body = agent.post("/plans/validate", line("check")).json()
    assert (body["valid"], body["problems"]) == (True, [])
    assert body["svg"].lstrip().startswith("<svg")
    assert body["text"] == [
        "start (the first): goes on to check.",
        "done: ends the plan.",
        "check: asks for check.requested; goes to done on check.completed.",
    ]
    wrong = line("check")
    wrong["states"]["check"]["transitions"][0]["to_state"] = '<script>alert("x")</script>'
    body = agent.post("/plans/validate", wrong).json()
    assert not body["valid"]
    assert "<script" not in body["svg"]
    assert Plan.objects.count() == 0


def test_names_cannot_break_out_of_the_picture():
    name = "\"/><script>&'x"
    states = {"start": {"default_next": name}, name: {"is_terminal": True, "description": "<b>"}}
    body = an_agent().post("/plans/validate", {"goal": "g", "states": states}).json()
    assert body["valid"]
    assert "<script" not in body["svg"]
    assert "<b>" not in body["svg"]


def test_a_machine_is_only_of_declared_plans():
    author = Author()
    publish(author.workspace, "x.requested", plan_id="plain")
    assert author.agent.get("/plans/plain/machine").status_code == 404
    plan_id = author.declare(line("check"))
    machine = author.machine(plan_id)
    assert machine["definition"]["states"].keys() == {"start", "check", "done"}
    assert (machine["state"], machine["visit"], machine["phase"]) == ("check", 2, "working")
    assert machine["taken"] == [["start", "check"]]


def test_large_numbers_stay_what_they_are():
    author = Author()
    definition = line("check", n=2**80)
    definition["states"]["check"]["action"]["data"] = {"n": "{{goal_data.n}}"}
    plan_id = author.declare(definition)
    assert json.loads(author.requests(plan_id)[0].data)["n"] == 2**80
    author.answer(author.requests(plan_id)[0], {"n": 2**90})
    assert author.machine(plan_id)["results"] == {"check": {"n": 2**90}}
    assert Workspace.objects.count() == 1
