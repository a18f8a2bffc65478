"""Runs of agents for tests: what they publish and store, recorded as the server records it."""

import itertools
from datetime import UTC, datetime
from uuid import uuid4

from tracker.changes import ContextStored, Message, PlanFiled, SubTask, TaskContextStored, TaskMove
from tracker.envelope import Envelope
from tracker.ledger import record
from tracker.models import Agent

_numbers = itertools.count(1)


def unique(word):
    return f"{word}-{next(_numbers)}"


class Run:
    """One tenant's agents at work in a workspace."""

    def __init__(self, workspace, tenant="acme", user="alice"):
        self.workspace, self.tenant, self.user = workspace, tenant, user

    def change(self, kind, **fields):
        return kind(workspace_id=self.workspace.pk, tenant_id=self.tenant, by="agent:test", **fields)

    def record(self, *changes):
        return record(changes).outcomes

    def message(self, topic, type, data=None, source="planner", **envelope):
        return self.change(
            Message,
            workspace=self.workspace.name,
            envelope=Envelope(
                topic=topic,
                type=type,
                source=source,
                data=data or {},
                tenant_id=self.tenant,
                user_id=self.user,
                **envelope,
            ),
        )

    def say(self, topic, type, data=None, **envelope):
        return self.record(self.message(topic, type, data, **envelope))[0]

    def request_message(self, plan_id, task_id, type="parts.check.requested", **envelope):
        envelope = {"response_event": type.replace("requested", "completed"), "correlation_id": task_id} | envelope
        data = {"task_id": task_id} | envelope.pop("data", {})
        return self.message("action-requests", type, data, plan_id=plan_id, **envelope)

    def request(self, plan_id, task_id, type="parts.check.requested", **envelope):
        return self.record(self.request_message(plan_id, task_id, type, **envelope))[0]

    def result(self, plan_id, task_id, type="parts.check.completed", source="parts-worker", **data):
        said = {"task_id": task_id, "status": "completed", **data}
        return self.say("action-results", type, said, source=source, correlation_id=task_id, plan_id=plan_id)

    def running(self, plan_id, task_id, source="parts-worker", state="running"):
        fact = {"task_id": task_id, "new_state": state}
        return self.say("system-events", "task.state_changed", fact, source=source, plan_id=plan_id)

    def progress(self, plan_id, task_id, progress, message=""):
        fact = {"task_id": task_id, "progress": progress, "message": message}
        return self.say("system-events", "task.progress", fact, source="parts-worker", plan_id=plan_id)

    def move(self, task_id, to, **more):
        return self.record(self.change(TaskMove, task_id=task_id, to=to, **more))[0]

    def file_plan(self, plan_id, goal="maintenance.goal", data=None, **more):
        more = {"user_id": self.user, "goal_event": goal, "goal_data": data or {}} | more
        return self.record(self.change(PlanFiled, plan_id=plan_id, **more))[0]

    def context(self, plan_id, **more):
        more = {"user_id": self.user, "goal_event": "maintenance.goal", "goal_data": {}} | more
        return self.record(self.change(ContextStored, plan_id=plan_id, **more))[0]

    def delegate(self, plan_id, task_id, sub_tasks, group="", type="parts.check.requested"):
        """The worker of a task stores its context and asks for sub-tasks, as the SDK's `delegate_parallel` does."""
        subs = [SubTask(sub_task_id=sub, group_id=group) for sub in sub_tasks]
        context = self.change(
            TaskContextStored,
            task_id=task_id,
            plan_id=plan_id,
            event_type=type,
            data={"task_id": task_id},
            sub_tasks=subs,
        )
        asks = [
            self.message(
                "action-requests",
                "stock.count.requested",
                {"task_id": sub, "plan_id": plan_id},
                source="parts-worker",
                correlation_id=sub,
                response_event="stock.count.completed",
            )
            for sub in sub_tasks
        ]
        return self.record(context, *asks)

    def plan(self, tasks=1, plan_id=None, **envelope):
        """A plan with this many pending tasks; gives its id and theirs."""
        plan_id = plan_id or unique("plan")
        ids = [f"{plan_id}-task-{number}" for number in range(tasks)]
        self.record(*(self.request_message(plan_id, task_id, **envelope) for task_id in ids))
        return plan_id, ids

    def agent(self, name="parts-worker", agent_id=None, version="0.1.0", **fields):
        now = datetime.now(UTC)
        return Agent.objects.create(
            workspace=self.workspace,
            agent_id=agent_id or f"{name}-{uuid4().hex[:8]}",
            name=f"{name}:{version}",
            base_name=name,
            registered_at=now,
            heartbeat_at=now,
            **fields,
        )
