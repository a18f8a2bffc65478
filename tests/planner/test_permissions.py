"""Every endpoint of memory and registry: who may call it at all."""

import pytest

from tests.accounts.factories import browser_of, make_member, make_workspace
from tests.planner.calls import Agent, a_plan, a_plan_context, a_task_context, code

pytestmark = pytest.mark.django_db

READS = [
    "/memory/working/plan-1/key",
    "/memory/plans",
    "/memory/plan-context/plan-1",
    "/memory/plan-context/by-correlation/c-1",
    "/memory/task-context/task-1",
    "/memory/task-context/by-subtask/sub-1",
    "/memory/sessions",
    "/memory/procedural/context",
    "/agents",
    "/agents/discover",
    "/events",
    "/schemas",
    "/schemas/name",
    "/schemas/name/versions/1",
]
WRITES = [
    ("PUT", "/memory/working/plan-1/key", {"value": 1}),
    ("DELETE", "/memory/working/plan-1/key", None),
    ("DELETE", "/memory/working/plan-1", None),
    ("POST", "/memory/plans", a_plan()),
    ("DELETE", "/memory/plans/plan-1", None),
    ("POST", "/memory/plan-context", a_plan_context()),
    ("PUT", "/memory/plan-context/plan-1", {"state": {}}),
    ("POST", "/memory/task-context", a_task_context()),
    ("PUT", "/memory/task-context/task-1", {"state": {}}),
    ("DELETE", "/memory/task-context/task-1", None),
    ("POST", "/memory/sessions", {"sessionId": "s-1"}),
    ("POST", "/agents", {"agent": {"agentId": "a-1", "name": "worker"}}),
    ("PUT", "/agents/a-1/heartbeat", None),
    ("DELETE", "/agents/a-1", None),
    ("POST", "/events", {"event": {"eventName": "e", "topic": "action-requests"}}),
    ("POST", "/schemas", {"schema": {"schemaName": "s", "version": "1", "jsonSchema": {}}}),
]
MISSING = [
    ("POST", "/memory/semantic"),
    ("POST", "/memory/semantic/query"),
    ("POST", "/memory/episodic"),
    ("GET", "/memory/episodic/recent"),
    ("GET", "/memory/episodic/search"),
    ("POST", "/identity/onboarding"),
    ("POST", "/identity/tokens/issue"),
    ("PUT", "/identity/principals/p-1"),
]


@pytest.mark.parametrize("path", READS)
def test_reading_needs_read(client, path):
    workspace = make_workspace()
    assert Agent(workspace, scopes=["read"]).get(path).status_code in {200, 404}
    for scopes in (["publish"], ["act"], ["publish", "act"]):
        assert code(Agent(workspace, scopes=scopes).get(path))[0] == 403
    answer = client.get(f"/v1{path}")
    assert code(answer)[0] == 401


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_writing_needs_publish(client, method, path, body):
    workspace = make_workspace()
    assert Agent(workspace, scopes=["publish"]).call(method, path, body).status_code in {200, 201, 204, 404}
    for scopes in (["read"], ["act"], ["read", "act"]):
        assert code(Agent(workspace, scopes=scopes).call(method, path, body))[0] == 403
    assert code(client.generic(method, f"/v1{path}", b"{", "application/json"))[0] == 401


@pytest.mark.parametrize(("method", "path"), MISSING)
def test_what_is_not_offered_says_so(client, method, path):
    answer = Agent(make_workspace()).call(method, path, {})
    assert code(answer) == (501, "not-offered")
    assert answer.json()["detail"]
    assert code(client.generic(method, f"/v1{path}"))[0] == 401


def test_procedural_memory_is_empty():
    assert Agent(make_workspace()).get("/memory/procedural/context", agent_id="a", q="b", limit=3).json() == []


def test_a_member_reads_and_does_not_write():
    browser = browser_of(make_member(make_workspace(), "operator"))
    assert browser.get("/v1/memory/plans").json() == []
    assert code(browser.post("/v1/memory/plans", a_plan(), content_type="application/json"))[0] == 403
