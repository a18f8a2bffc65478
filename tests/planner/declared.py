"""Declared plans for tests: definitions, and somebody who answers what their plans ask for."""

import json
from datetime import UTC, datetime

from tests.planner.calls import an_agent, publish
from tests.services.waiting import wait_until
from tests.tracker.factories import plan_of, task_of
from tracker import deadlines, ledger
from tracker.changes import Message
from tracker.envelope import Envelope
from tracker.models import LogRow


def ask(type, **more):
    """An action that asks for this: `ask("check")` is `check.requested`, answered by `check.completed`."""
    return {"event_type": f"{type}.requested", "response_event": f"{type}.completed"} | more


def on(type, to, condition=None):
    """A transition on the answer of an action."""
    way = {"on_event": f"{type}.completed", "to_state": to}
    return way | ({"condition": condition} if condition else {})


END = {"is_terminal": True}


def line(*types, **goal_data):
    """A definition that asks for one thing after the other."""
    states = {"start": {"default_next": types[0]}, "done": END}
    for type, following in zip(types, (*types[1:], "done"), strict=True):
        states[type] = {"action": ask(type), "transitions": [on(type, following)]}
    return {"goal": "walk.goal", "goal_data": goal_data, "states": states}


class Author:
    """Declares plans with a key of one tenant, and answers for the workers."""

    tenant = "acme"

    def __init__(self):
        self.agent = an_agent()
        self.workspace = self.agent.workspace

    def declare(self, definition, **more):
        """Declare a plan; gives its id."""
        answer = self.agent.post("/plans", definition | more)
        assert answer.status_code == 201, answer.content
        return answer.json()["plan_id"]

    def plan(self, plan_id):
        return plan_of(self, plan_id)

    def task(self, task_id):
        return task_of(self, task_id)

    def machine(self, plan_id):
        return self.agent.get(f"/plans/{plan_id}/machine").json()

    def requests(self, plan_id, type=""):
        """The requests of the server's own, oldest first."""
        rows = LogRow.objects.filter(
            workspace=self.workspace, plan__plan_id=plan_id, topic="action-requests", source="tracker"
        ).order_by("seq")
        return [row for row in rows if row.type.startswith(type)]

    def answer(self, request, result=None, *, type=None, source="worker", **data):
        """Answer a request as a worker of the SDK does."""
        asked = publishable(request)
        data = {
            "task_id": asked["task_id"],
            "action_id": asked["task_id"],
            "status": "completed",
            "result": result or {},
        } | data
        envelope = Envelope(
            type=type or asked["response_event"], topic="action-results", source=source, tenant_id=self.tenant,
            user_id="alice", correlation_id=request.correlation_id, plan_id=request.plan.plan_id, data=data,
        )  # fmt: skip
        change = Message(workspace_id=self.workspace.pk, tenant_id=self.tenant, by=f"agent:{source}", envelope=envelope)
        ledger.record([change])
        return LogRow.objects.get(event_id=envelope.id, kind="message")

    def fail(self, request, error="broken", **data):
        return self.answer(request, status="failed", error=error, **data)

    def take(self, request, agent="worker", agent_id="worker-1"):
        """The request is handed to an agent: its task runs."""
        task = request.task
        publish(
            self.workspace,
            "task.state_changed",
            "system-events",
            source=agent,
            plan_id=request.plan.plan_id,
            data={"task_id": task.task_id, "new_state": "running"},
        )

    def wait_until_due(self, kind):
        """Wait for a deadline of this kind and act on it, as the timer does."""
        due = wait_until(lambda: [one for one in deadlines.overdue(datetime.now(UTC)) if one.kind == kind])
        ledger.record(due)

    def end(self, plan_id):
        """How the plan ended: (state, error)."""
        plan = self.plan(plan_id)
        return plan.state, plan.error


def publishable(request):
    """A request as its worker sees it: its data, with what its envelope says besides."""
    return json.loads(request.data) | json.loads(request.envelope)
