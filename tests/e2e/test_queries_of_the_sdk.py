"""The SDK's own tracker client asks a real server."""

from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from soorma.tracker.client import TrackerServiceClient

from tests.services.server import ServerProcess

ASKED_FOR = ("ignored", "ignored")  # tenant and user: the client drops them, the key says both


class World:
    """One tenant's agents and its questions."""

    def __init__(self, server):
        self.url = server.base_url
        self.key = server.api_key(f"w-{uuid4().hex[:8]}", "acme", "alice")

    def http(self):
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False, timeout=30
        )

    def publish(self, topic, type, data, **envelope):
        event = {
            "topic": topic,
            "type": type,
            "data": data,
            "tenant_id": "acme",
            "user_id": "alice",
            "source": "planner",
        }
        with self.http() as client:
            client.post("/v1/events/publish", json={"event": event | envelope}).raise_for_status()

    def request(self, plan_id, task_id, **envelope):
        envelope = {"response_event": "parts.check.completed", "correlation_id": task_id, "plan_id": plan_id} | envelope
        self.publish("action-requests", "parts.check.requested", {"task_id": task_id}, **envelope)

    def result(self, plan_id, task_id):
        said = {"task_id": task_id, "status": "completed"}
        self.publish(
            "action-results",
            "parts.check.completed",
            said,
            source="parts-worker",
            correlation_id=task_id,
            plan_id=plan_id,
        )

    def client(self):
        return TrackerServiceClient(base_url=self.url, auth_token=self.key)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def world(request):
    with ServerProcess(server=request.param) as server:
        yield World(server)


async def test_all_seven_queries_answer(world):
    world.request("plan-1", "task-1", session_id="talk", trace_id="trace-1")
    world.request("plan-1", "task-2")
    world.result("plan-1", "task-1")
    with world.http() as http:
        body = {
            "planId": "child",
            "goalEvent": "sub.goal",
            "goalData": {},
            "parentPlanId": "plan-1",
            "sessionId": "talk",
        }
        http.post("/v1/memory/plans", json=body).raise_for_status()
        subs = {"sub-1": {"sub_task_id": "sub-1", "parallel_group_id": "group-1", "status": "pending"}}
        context = {
            "taskId": "task-2", "planId": "plan-1", "eventType": "parts.check.requested", "responseEvent": None,
            "responseTopic": "action-results", "data": {"task_id": "task-2"}, "subTasks": ["sub-1"],
            "state": {"_sub_tasks": subs}, "userId": "alice",
        }  # fmt: skip
        http.post("/v1/memory/task-context", json=context).raise_for_status()
    async with world.client() as tracker:
        progress = await tracker.get_plan_progress("plan-1", *ASKED_FOR)
        assert (progress.status, progress.task_count, progress.completed_tasks) == ("in_progress", 2, 1)
        actions = await tracker.get_plan_tasks("plan-1", *ASKED_FOR)
        assert [(one.task_id, one.state.value) for one in actions] == [("task-1", "completed"), ("task-2", "delegated")]
        timeline = await tracker.get_plan_timeline("plan-1", *ASKED_FOR)
        assert timeline.trace_id == "trace-1"
        assert [one.event_type for one in timeline.events] == ["parts.check.requested"] * 2 + ["parts.check.completed"]
        metrics = await tracker.query_agent_metrics("parts-worker", "1h", *ASKED_FOR)
        assert (metrics.total_tasks, metrics.completed_tasks, metrics.success_rate) == (1, 1, 1.0)
        assert [one.plan_id for one in await tracker.get_sub_plans("plan-1", *ASKED_FOR)] == ["child"]
        talk = await tracker.get_session_plans("talk", *ASKED_FOR)
        assert sorted(one.plan_id for one in talk) == ["child", "plan-1"]
        group = await tracker.get_delegation_group("group-1", *ASKED_FOR)
        assert (group.parent_task_id, group.plan_id, group.total_tasks, group.completed_tasks) == (
            "task-2",
            "plan-1",
            1,
            0,
        )


async def test_unknown_ids_are_none_or_empty(world):
    async with world.client() as tracker:
        assert await tracker.get_plan_progress("nothing", *ASKED_FOR) is None
        assert await tracker.get_plan_tasks("nothing", *ASKED_FOR) == []
        assert await tracker.get_plan_timeline("nothing", *ASKED_FOR) is None
        assert await tracker.query_agent_metrics("nobody", "7d", *ASKED_FOR) is None
        assert await tracker.get_sub_plans("nothing", *ASKED_FOR) == []
        assert await tracker.get_session_plans("nothing", *ASKED_FOR) == []
        assert await tracker.get_delegation_group("nothing", *ASKED_FOR) is None


@pytest.mark.parametrize(
    "plan_id", ["a/b", "a b", "ä€😀", "?x=1#y&z", "50%", "50%25", "a\nb", "a//b", "a+b", "v1/actions/x"]
)
def test_ids_of_any_characters_over_the_wire(world, plan_id):
    world.request(plan_id, f"task of {plan_id}")
    with world.http() as http:
        for end in ("", "/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state"):
            answer = http.get(f"/v1/tracker/plans/{quote(plan_id, safe='')}{end}")
            assert answer.status_code == 200, (end, answer.text)
        assert http.get(f"/v1/tracker/plans/{quote(plan_id, safe='')}").json()["plan_id"] == plan_id
        task = http.get(f"/v1/tracker/tasks/{quote(f'task of {plan_id}', safe='')}")
        assert (task.json()["plan_id"], task.headers["ETag"]) == (plan_id, '"v1"')
