"""HTTP calls with a key, and messages on the bus, for tests."""

import json
from uuid import uuid4

from django.test import Client

from tests.accounts.factories import make_key, make_workspace
from tracker.changes import Message
from tracker.envelope import Envelope
from tracker.ledger import record


class Agent:
    """Calls the API with one key. Bodies are objects, or bytes to be sent as they are."""

    def __init__(self, workspace, tenant_id=None, user_id=None, **key):
        self.workspace, self.tenant_id, self.user_id = workspace, tenant_id, user_id
        _, self.token = make_key(workspace, tenant_id=tenant_id, user_id=user_id, **key)
        self._client = Client(headers={"authorization": f"Bearer {self.token}"}, raise_request_exception=False)

    def call(self, method, path, body=None, **query):
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = self._client.generic(method, f"/v1{path}", data, "application/json", query_params=query)
        assert "Location" not in response.headers
        return response

    def get(self, path, **query):
        return self.call("GET", path, **query)

    def post(self, path, body):
        return self.call("POST", path, body)

    def put(self, path, body=None):
        return self.call("PUT", path, body)

    def delete(self, path):
        return self.call("DELETE", path)


def an_agent(tenant_id="acme", user_id="alice", **key):
    """The agent of a tenant's user, in a workspace of its own."""
    return Agent(make_workspace(), tenant_id, user_id, **key)


def publish(workspace, type, topic="action-requests", tenant_id="acme", user_id="alice", **fields):
    """Record a message of the bus; gives its envelope."""
    fields = {"source": "client", "correlation_id": str(uuid4())} | fields
    envelope = Envelope(type=type, topic=topic, tenant_id=tenant_id, user_id=user_id, **fields)
    change = Message(workspace_id=workspace.pk, tenant_id=tenant_id, by="agent:client", envelope=envelope)
    assert record([change]).outcomes[0].result == "recorded"
    return envelope


def a_plan(plan_id="plan-1", **fields):
    return {
        "planId": plan_id,
        "sessionId": None,
        "goalEvent": "maintenance.goal",
        "goalData": {"vehicle": "v1"},
        "parentPlanId": None,
    } | fields


def a_plan_context(plan_id="plan-1", status="running", **fields):
    return {
        "planId": plan_id,
        "sessionId": "session-1",
        "goalEvent": "maintenance.goal",
        "goalData": {"vehicle": "v1"},
        "responseEvent": "maintenance.completed",
        "state": {"status": status, "correlation_id": plan_id, "results": {}},
        "currentState": "parts_check",
        "correlationIds": [plan_id, "goal-1"],
    } | fields


def a_task_context(task_id="task-1", **fields):
    return {
        "taskId": task_id,
        "planId": None,
        "eventType": "parts.check.requested",
        "responseEvent": "parts.check.completed",
        "responseTopic": "action-results",
        "data": {"part": "brake"},
        "subTasks": ["sub-1", "sub-2"],
        "state": {
            "_sub_tasks": {
                "sub-1": {"sub_task_id": "sub-1", "status": "completed", "parallel_group_id": "group-1", "result": {}},
                "sub-2": {"sub_task_id": "sub-2", "status": "pending", "parallel_group_id": "group-1", "result": None},
            }
        },
        "userId": "alice",
    } | fields


def code(response):
    """Status and code of a problem."""
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return response.status_code, body["code"]
