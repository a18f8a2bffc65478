import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from soorma_common.models import (
    WorkingMemoryDeleteKeyResponse,
    WorkingMemoryDeletePlanResponse,
    WorkingMemoryResponse,
)

from planner.models import WorkingMemory
from tests.accounts.factories import closing_connection, make_workspace
from tests.planner.calls import Agent, a_plan, an_agent, code, publish

pytestmark = pytest.mark.django_db
NO_PLAN = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize(
    "value",
    [
        None,
        False,
        0,
        -0.5,
        "",
        "text",
        [],
        {},
        [None, [False]],
        {"planId": {"goal_data": 1}, "": ""},
        "\x00 and \x1f",
        "ü漢🚗",
        12345678901234567890123456789,
        9007199254740993,
        {"deep": [[[[[{}]]]]]},
    ],
)
def test_any_json_comes_back_untouched(value):
    agent = an_agent()
    put = agent.put("/memory/working/plan-1/key", {"value": value})
    got = agent.get("/memory/working/plan-1/key")
    assert (put.status_code, got.status_code) == (200, 200)
    assert json.loads(got.content)["value"] == value == json.loads(put.content)["value"]
    assert WorkingMemoryResponse.model_validate_json(got.content).key == "key"


def test_json_as_deep_as_the_parser_goes_comes_back():
    agent = an_agent()
    text = "[" * 400 + "]" * 400
    assert agent.put("/memory/working/plan-1/key", b'{"value":' + text.encode() + b"}").status_code == 200
    assert f'"value":{text}' in agent.get("/memory/working/plan-1/key").text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"value":NaN}', 422),
        (b'{"value":1e999}', 422),
        (b'{"value":"\\ud800"}', 422),
        (b'{"value":' + b"[" * 100_000, 400),
        (b"{", 400),
        (b'"text"', 422),
        (b"[]", 422),
        (b"{}", 422),
        (b"", 422),
        (b"\xff", 400),
    ],
)
def test_what_is_no_json_or_no_body_is_a_problem(body, status):
    agent = an_agent()
    assert code(agent.put("/memory/working/plan-1/key", body))[0] == status
    assert not WorkingMemory.objects.exists()


@pytest.mark.parametrize("key", ["_soorma:goal:c-1", "a/b/c", "a/b:c/", "with space", "ü", "404", "a\nb", "k" * 512])
def test_keys_are_arbitrary(key):
    agent = an_agent()
    path = f"/memory/working/plan:1/{key}".replace(" ", "%20").replace("\n", "%0A")
    assert agent.put(path, {"value": 1}).json()["key"] == key
    assert agent.get(path).json()["value"] == 1
    deleted = agent.delete(path)
    assert WorkingMemoryDeleteKeyResponse.model_validate_json(deleted.content).deleted is True
    assert code(agent.get(path)) == (404, "not-found")


@pytest.mark.parametrize("path", ["plan/" + "k" * 513, "p" * 256 + "/key", "pl%00an/key"])
def test_ids_that_cannot_be_stored_are_refused(path):
    agent = an_agent()
    for method in ("PUT", "GET", "DELETE"):
        assert code(agent.call(method, f"/memory/working/{path}", {"value": 1})) == (422, "invalid")


def test_no_key_holds_a_nul():
    agent = an_agent()
    for method in ("PUT", "GET", "DELETE"):
        assert code(agent.call(method, "/memory/working/plan/ke%00y", {"value": 1})) == (404, "not-found")


def test_the_last_value_wins_and_keeps_its_id():
    agent = an_agent()
    first = agent.put("/memory/working/plan-1/key", {"value": 1}).json()
    second = agent.put("/memory/working/plan-1/key", {"value": 2}).json()
    assert first["id"] == second["id"] == agent.get("/memory/working/plan-1/key").json()["id"]
    assert second["updated_at"] > first["updated_at"]
    assert WorkingMemory.objects.count() == 1


def test_deleting_a_plan_says_how_many_values_went():
    agent = an_agent()
    for key in ("a", "b", "c"):
        agent.put(f"/memory/working/plan-1/{key}", {"value": key})
    agent.put("/memory/working/plan-2/a", {"value": "stays"})
    gone = agent.delete("/memory/working/plan-1")
    assert WorkingMemoryDeletePlanResponse.model_validate_json(gone.content).count_deleted == 3
    assert agent.delete("/memory/working/plan-1").json()["count_deleted"] == 0
    assert agent.get("/memory/working/plan-2/a").json()["value"] == "stays"
    assert code(agent.delete("/memory/working/plan-1/a")) == (404, "not-found")


def test_values_belong_to_workspace_tenant_and_user():
    alice = an_agent()
    alice.put("/memory/working/plan-1/key", {"value": "alice's"})
    others = [an_agent(), Agent(alice.workspace, "acme", "bob"), Agent(alice.workspace, "other", "alice")]
    for other in others:
        assert code(other.get("/memory/working/plan-1/key")) == (404, "not-found")
        assert code(other.delete("/memory/working/plan-1/key")) == (404, "not-found")
        assert other.delete("/memory/working/plan-1").json()["count_deleted"] == 0
        other.put("/memory/working/plan-1/key", {"value": "another's"})
    assert alice.get("/memory/working/plan-1/key").json()["value"] == "alice's"
    assert WorkingMemory.objects.count() == 4


def test_an_unbound_key_writes_for_the_owner_of_the_goal():
    workspace = make_workspace()
    planner, alice, other = Agent(workspace), Agent(workspace, "acme", "alice"), Agent(workspace, "other", "alice")
    goal = publish(workspace, "maintenance.goal").correlation_id
    put = planner.put(f"/memory/working/{goal}/_soorma:goal:{goal}", {"value": {"a": 1}}).json()
    assert (put["tenant_id"], put["user_id"]) == ("acme", "alice")
    assert alice.get(f"/memory/working/{goal}/_soorma:goal:{goal}").json()["value"] == {"a": 1}
    assert code(other.get(f"/memory/working/{goal}/_soorma:goal:{goal}")) == (404, "not-found")


def test_an_unbound_key_writes_for_the_owner_of_a_plan_that_has_adopted_its_goal():
    workspace = make_workspace()
    planner = Agent(workspace)
    goal = publish(workspace, "maintenance.goal").correlation_id
    planner.post("/memory/plans", a_plan(goal))
    assert planner.put(f"/memory/working/{goal}/key", {"value": 1}).json()["tenant_id"] == "acme"


def test_an_unbound_key_sees_all_and_the_newest_wins():
    workspace = make_workspace()
    anybody = Agent(workspace)
    for user in ("alice", "bob"):
        Agent(workspace, "acme", user).put("/memory/working/plan-1/key", {"value": user})
    assert anybody.get("/memory/working/plan-1/key").json()["value"] == "bob"
    assert anybody.put("/memory/working/plan-1/key", {"value": "nobody's"}).json()["tenant_id"] == ""
    assert anybody.get("/memory/working/plan-1/key").json()["value"] == "nobody's"


def test_an_unbound_key_never_empties_what_others_stored_outside_of_plans():
    workspace = make_workspace()
    anybody, alice = Agent(workspace), Agent(workspace, "acme", "alice")
    alice.put(f"/memory/working/{NO_PLAN}/key", {"value": "alice's"})
    anybody.put(f"/memory/working/{NO_PLAN}/key", {"value": "nobody's"})
    assert anybody.delete(f"/memory/working/{NO_PLAN}").json()["count_deleted"] == 1
    assert alice.get(f"/memory/working/{NO_PLAN}/key").json()["value"] == "alice's"


def test_a_lookup_is_one_query(django_assert_num_queries):
    agent = an_agent()
    agent.get("/memory/working/plan-1/key")
    with django_assert_num_queries(1):
        agent.get("/memory/working/plan-1/key")


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_leave_one_row():
    agent = an_agent()
    with ThreadPoolExecutor(max_workers=8) as pool:
        calls = [
            pool.submit(closing_connection, agent.put, "/memory/working/plan-1/key", {"value": n}) for n in range(24)
        ]
        answers = [call.result(timeout=60) for call in calls]
    assert {answer.status_code for answer in answers} == {200}
    assert WorkingMemory.objects.count() == 1
