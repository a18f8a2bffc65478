from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.utils import timezone
from soorma_common.models import (
    AgentQueryResponse,
    AgentRegistrationResponse,
    EventQueryResponse,
    EventRegistrationResponse,
    PayloadSchema,
    PayloadSchemaListResponse,
    PayloadSchemaResponse,
)

from tests.accounts.factories import closing_connection, make_workspace
from tests.planner.calls import Agent as Caller
from tests.planner.calls import an_agent, code
from tracker.models import Agent, EventDefinition

pytestmark = pytest.mark.django_db


def an_event(name="parts.check.requested", topic="action-requests", **fields):
    return {
        "eventName": name,
        "topic": topic,
        "description": "A check",
        "payloadSchemaName": None,
        "responseSchemaName": None,
        "payloadSchema": {"type": "object", "x_y": {"someKey": 10**30}},
        "responseSchema": None,
    } | fields


def a_capability(consumed="parts.check.requested", produced=("parts.check.completed",)):
    return {
        "taskName": "check",
        "description": "Checks parts",
        "consumedEvent": an_event(consumed),
        "producedEvents": [an_event(name, "action-results") for name in produced],
    }


def a_definition(agent_id="a-1", name="parts-worker:0.1.0", **fields):
    definition = {
        "agentId": agent_id,
        "name": name,
        "description": "Checks parts",
        "capabilities": [a_capability()],
        "consumedEvents": None,
        "producedEvents": None,
    }
    return {"agent": definition | fields}


def listed(response):
    assert response.status_code == 200
    found = AgentQueryResponse.model_validate_json(response.content)
    assert found.count == len(found.agents)
    return [agent.agent_id for agent in found.agents]


def test_an_agent_is_registered_and_comes_back_as_it_was():
    caller = an_agent()
    answer = caller.post("/agents", a_definition())
    assert answer.status_code == 200
    assert AgentRegistrationResponse.model_validate_json(answer.content).success is True
    (shown,) = caller.get("/agents", agent_id="a-1").json()["agents"]
    derived = {"consumedEvents": ["parts.check.requested"], "producedEvents": ["parts.check.completed"]}
    assert shown == a_definition()["agent"] | derived
    assert listed(caller.get("/agents", agent_id="a-1")) == ["a-1"]
    assert listed(caller.get("/agents", agent_id="nobody")) == []
    agent = Agent.objects.get()
    assert (agent.name, agent.base_name, agent.tenant_id) == ("parts-worker:0.1.0", "parts-worker", "acme")


def test_lists_of_events_are_kept_and_the_placeholder_is_left_out():
    caller = an_agent()
    given = {
        "consumedEvents": ["a.b"],
        "producedEvents": ["c.d"],
        "capabilities": [a_capability("unknown", ("unknown",))],
    }
    caller.post("/agents", a_definition("a-1", "one:1", **given))
    caller.post("/agents", a_definition("a-2", "two:1", **given | {"consumedEvents": [], "producedEvents": None}))
    caller.post("/agents", {"agent": {"agent_id": "a-3", "name": "three"}})
    shown = {agent["agentId"]: agent for agent in caller.get("/agents").json()["agents"]}
    assert [(a["consumedEvents"], a["producedEvents"]) for _, a in sorted(shown.items())] == [
        (["a.b"], ["c.d"]),
        ([], []),
        ([], []),
    ]
    assert shown["a-3"]["name"] == "three"
    assert listed(caller.get("/agents")) == ["a-1", "a-3", "a-2"]


def test_registering_again_updates_and_brings_back():
    caller = an_agent()
    caller.post("/agents", a_definition())
    caller.delete("/agents/a-1")
    assert listed(caller.get("/agents")) == []
    caller.post("/agents", a_definition(name="parts-worker:0.2.0", consumedEvents=["other.requested"]))
    assert listed(caller.get("/agents", consumed_event="other.requested")) == ["a-1"]
    assert Agent.objects.get().name == "parts-worker:0.2.0"


def test_filters():
    caller = an_agent()
    caller.post("/agents", a_definition("a-1", "Parts-Worker:0.1.0"))
    caller.post("/agents", a_definition("a-2", "planner:0.1.0", consumedEvents=["goal"], producedEvents=["goal.done"]))
    assert listed(caller.get("/agents", name="parts")) == ["a-1"]
    assert listed(caller.get("/agents", name="NER")) == ["a-2"]
    assert listed(caller.get("/agents", name="%")) == []
    assert listed(caller.get("/agents", consumed_event="goal")) == ["a-2"]
    assert listed(caller.get("/agents", produced_event="parts.check.completed")) == ["a-1"]
    assert listed(caller.get("/agents", name="p", consumed_event="goal", produced_event="goal.done")) == ["a-2"]
    assert listed(caller.get("/agents/discover", consumed_event="goal")) == ["a-2"]


def test_of_equal_names_the_freshest_is_listed():
    caller = an_agent()
    for agent_id in ("a-1", "a-2", "a-3"):
        caller.post("/agents", a_definition(agent_id))
    assert listed(caller.get("/agents")) == ["a-3"]
    assert caller.put("/agents/a-1/heartbeat").status_code == 200
    assert listed(caller.get("/agents")) == ["a-1"]
    assert listed(caller.get("/agents", agent_id="a-2")) == ["a-2"]


def test_discovery_leaves_out_who_was_not_heard_of_lately(settings):
    caller = an_agent()
    caller.post("/agents", a_definition())
    late = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS + 1)
    Agent.objects.update(heartbeat_at=late)
    assert listed(caller.get("/agents/discover")) == []
    assert listed(caller.get("/agents")) == ["a-1"]
    caller.put("/agents/a-1/heartbeat")
    assert listed(caller.get("/agents/discover")) == ["a-1"]


def test_who_is_unknown_or_has_signed_off_has_no_heartbeat():
    caller = an_agent()
    assert code(caller.put("/agents/a-1/heartbeat")) == (404, "not-found")
    assert code(caller.delete("/agents/a-1")) == (404, "not-found")
    caller.post("/agents", a_definition())
    assert caller.delete("/agents/a-1").json()["success"] is True
    assert code(caller.put("/agents/a-1/heartbeat")) == (404, "not-found")
    assert code(caller.delete("/agents/a-1")) == (404, "not-found")
    assert Agent.objects.get().base_name == "parts-worker"


def test_ids_may_hold_slashes_and_look_like_routes():
    caller = an_agent()
    for agent_id in ("a/b", "discover", "a/heartbeat"):
        caller.post("/agents", a_definition(agent_id, f"{agent_id}:1"))
        assert caller.put(f"/agents/{agent_id}/heartbeat").json()["agentId"] == agent_id
    assert caller.delete("/agents/a/b").json()["agentId"] == "a/b"


@pytest.mark.parametrize(
    "body",
    [
        {},
        "text",
        {"agent": "text"},
        a_definition(""),
        a_definition("a\x00"),
        a_definition(name=""),
        a_definition(name=None),
        a_definition(capabilities=["check"]),
        a_definition(capabilities=[{}]),
        a_definition(consumedEvents=[1]),
        a_definition(description="\x00"),
        a_definition("a" * 256),
    ],
)
def test_what_does_not_fit_is_refused(body):
    assert code(an_agent().post("/agents", body)) == (422, "invalid")
    assert not Agent.objects.exists()


def test_agents_are_seen_in_their_tenant_and_those_of_the_workspace_by_all():
    workspace = make_workspace()
    acme, other, unbound = Caller(workspace, "acme", "alice"), Caller(workspace, "other"), Caller(workspace)
    acme.post("/agents", a_definition("a-1", "one:1"))
    other.post("/agents", a_definition("a-2", "two:1"))
    unbound.post("/agents", a_definition("a-3", "three:1"))
    assert listed(acme.get("/agents")) == ["a-1", "a-3"]
    assert listed(Caller(workspace, "acme", "bob").get("/agents/discover")) == ["a-1", "a-3"]
    assert listed(other.get("/agents")) == ["a-3", "a-2"]
    assert listed(unbound.get("/agents")) == ["a-1", "a-3", "a-2"]
    assert listed(an_agent().get("/agents")) == []
    for stranger, agent_id in ((other, "a-1"), (acme, "a-3"), (an_agent(), "a-1")):
        assert code(stranger.put(f"/agents/{agent_id}/heartbeat")) == (404, "not-found")
        assert code(stranger.delete(f"/agents/{agent_id}")) == (404, "not-found")
    assert unbound.put("/agents/a-1/heartbeat").status_code == 200


def test_the_same_agent_id_in_two_tenants_is_two_agents():
    workspace = make_workspace()
    acme, other = Caller(workspace, "acme"), Caller(workspace, "other")
    acme.post("/agents", a_definition("a-1", "one:1"))
    other.post("/agents", a_definition("a-1", "two:1"))
    other.delete("/agents/a-1")
    assert listed(acme.get("/agents")) == ["a-1"]


def test_queries_do_not_grow(django_assert_num_queries):
    caller = an_agent()
    caller.get("/agents")
    for number in range(20):
        caller.post("/agents", a_definition(f"a-{number}", f"worker-{number}:1"))
    with django_assert_num_queries(2):  # that it was heard of, and whether that is news
        caller.put("/agents/a-7/heartbeat")
    for path in ("/agents", "/agents/discover"):
        with django_assert_num_queries(1):
            assert len(listed(caller.get(path))) == 20


@pytest.mark.django_db(transaction=True)
def test_registering_at_once_leaves_one_row():
    caller = an_agent()
    with ThreadPoolExecutor(max_workers=8) as pool:
        calls = [pool.submit(closing_connection, caller.post, "/agents", a_definition()) for _ in range(16)]
        assert {call.result(timeout=60).status_code for call in calls} == {200}
    assert Agent.objects.count() == 1


def test_events_are_described_once_a_topic():
    caller = an_agent()
    answer = caller.post("/events", {"event": an_event()})
    assert EventRegistrationResponse.model_validate_json(answer.content).event_name == "parts.check.requested"
    caller.post("/events", {"event": an_event(description="Better")})
    caller.post("/events", {"event": an_event(topic="business-facts")})
    caller.post("/events", {"event": {"event_name": "a", "topic": "business-facts"}})
    found = EventQueryResponse.model_validate_json(caller.get("/events").content)
    assert (found.count, [event.event_name for event in found.events]) == (3, ["a"] + ["parts.check.requested"] * 2)
    by_both = caller.get("/events", event_name="parts.check.requested", topic="action-requests").json()
    assert by_both == {"events": [an_event(description="Better")], "count": 1}
    assert caller.get("/events", topic="business-facts").json()["count"] == 2
    assert caller.get("/events", event_name="nothing").json() == {"events": [], "count": 0}
    assert EventDefinition.objects.count() == 3
    assert an_agent().get("/events").json()["count"] == 0
    assert code(caller.post("/events", {"event": {"eventName": "a"}})) == (422, "invalid")


def a_schema(version="1.0.0", name="check/v1", **fields):
    return {
        "schema": {
            "schemaName": name,
            "version": version,
            "jsonSchema": {"type": "object", "properties": {"vehicleId": {"maximum": 10**30}, "x_y": {}}},
            "description": "A check",
            "ownerAgentId": "a-1",
            "createdAt": None,
            "updatedAt": None,
        }
        | fields
    }


def test_schemas_keep_their_versions_and_the_newest_is_the_latest():
    caller = an_agent()
    answer = caller.post("/schemas", a_schema())
    assert PayloadSchemaResponse.model_validate_json(answer.content).version == "1.0.0"
    caller.post("/schemas", a_schema("0.9.0", ownerAgentId="a-2", jsonSchema={}))
    assert code(caller.post("/schemas", a_schema(jsonSchema={}))) == (409, "conflict")
    latest = PayloadSchema.model_validate_json(caller.get("/schemas/check/v1").content)
    assert (latest.version, latest.json_schema) == ("0.9.0", {})
    first = caller.get("/schemas/check/v1/versions/1.0.0").json()
    assert {**first, "createdAt": None, "updatedAt": None} == a_schema()["schema"]
    assert first["createdAt"]
    for path in ("/schemas/nothing", "/schemas/check/v1/versions/2", "/schemas/check"):
        assert code(caller.get(path)) == (404, "not-found")


def test_schemas_are_listed_by_owner_in_their_workspace():
    caller = an_agent()
    for version, owner in (("1", "a-1"), ("2", "a-2"), ("3", None)):
        caller.post("/schemas", a_schema(version, ownerAgentId=owner))
    found = PayloadSchemaListResponse.model_validate_json(caller.get("/schemas").content)
    assert (found.count, [schema.version for schema in found.schemas]) == (3, ["1", "2", "3"])
    assert [s["version"] for s in caller.get("/schemas", owner_agent_id="a-2").json()["schemas"]] == ["2"]
    assert an_agent().get("/schemas").json() == {"schemas": [], "count": 0}
    assert code(an_agent().get("/schemas/check/v1")) == (404, "not-found")


@pytest.mark.parametrize("fields", [{"schemaName": ""}, {"version": "\x00"}, {"jsonSchema": []}, {"jsonSchema": None}])
def test_a_schema_that_does_not_fit_is_refused(fields):
    assert code(an_agent().post("/schemas", a_schema(**fields))) == (422, "invalid")
