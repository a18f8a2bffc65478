"""What is sent: plans whose tasks go to and fro between running and waiting, each event one legal transition."""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, cycle
from typing import Any

from benchmarks.client import request

TENANT, USER, PLANNER, WORKER = "acme", "u-1", "fleet-planner", "parts-worker"
_SLOT = "00000000-0000-0000-0000-000000000000"  # takes the place of an event's id
_prefix = os.urandom(4).hex()
_numbers = count(1)


def event_id() -> str:
    """As long as a UUID and never the same twice."""
    return f"{_prefix}-0000-4000-8000-{next(_numbers):012d}"


def envelope(topic: str, type: str, data: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An event as the SDK sends it."""
    return {
        "id": event_id(), "source": WORKER, "specversion": "1.0", "type": type, "topic": topic,
        "time": datetime.now(UTC).isoformat(), "data": data, "tenant_id": TENANT, "user_id": USER,
        "session_id": "s-1", **more,
    }  # fmt: skip


def asked(plan_id: str, task_id: str) -> dict[str, Any]:
    """The request that makes a task."""
    data = {"action_id": task_id, "plan_id": plan_id, "vehicle_id": "truck-7", "kind": "brake pads"}
    return envelope(
        "action-requests", "parts.check.requested", data, source=PLANNER, plan_id=plan_id, correlation_id=plan_id,
        response_event="parts.check.completed",
    )  # fmt: skip


def moved(plan_id: str, task_id: str, to: str) -> dict[str, Any]:
    """The fact that a task is in another state."""
    data = {"task_id": task_id, "plan_id": plan_id, "new_state": to, "reason": "the part is on its way"}
    return envelope("system-events", "task.state_changed", data, plan_id=plan_id, correlation_id=plan_id)


class Fleet:
    """Plans of so many tasks each, by their wire ids, dealt out so that no two connections move the same task."""

    def __init__(self, name: str, plans: int = 50, tasks: int = 20):
        self.plans = [f"{name}-{_prefix}-{p}" for p in range(plans)]
        self.tasks = [(plan, f"{plan}-t{t}") for t in range(tasks) for plan in self.plans]
        self._state = dict.fromkeys((task for _, task in self.tasks), "running")

    def requests(self) -> list[dict[str, Any]]:
        """The events that make all tasks, and those that let them run."""
        return [asked(*task) for task in self.tasks] + [moved(*task, "running") for task in self.tasks]

    def step(self, task_id: str) -> str:
        """The state that the task goes to next; from now on it counts as there."""
        to = self._state[task_id] = "running" if self._state[task_id] == "waiting" else "waiting"
        return to

    def share(self, parts: int) -> list[Sequence[tuple[str, str]]]:
        """The tasks, (plan id, task id), dealt out to so many."""
        return [self.tasks[part::parts] for part in range(parts)]

    def publish(self, key: str, connections: int) -> list[Iterator[bytes]]:
        """One by one over `/v1/events/publish`, for each connection."""
        return [self._publish(key, share) for share in self.share(connections)]

    def _publish(self, key: str, tasks: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        made: dict[tuple[str, str], list[bytes]] = {}
        for plan_id, task_id in cycle(tasks):
            to = self.step(task_id)
            if (task_id, to) not in made:
                body = json.dumps({"event": moved(plan_id, task_id, to) | {"id": _SLOT}}).encode()
                made[task_id, to] = request("POST", "/v1/events/publish", body, key=key).split(_SLOT.encode())
            before, after = made[task_id, to]
            yield before + event_id().encode() + after

    def batches(self, key: str, connections: int, size: int = 100) -> list[Iterator[bytes]]:
        """So many events a request over `/v1/events/batch`, for each connection."""
        return [self._batches(key, share, size) for share in self.share(connections)]

    def _batches(self, key: str, tasks: Sequence[tuple[str, str]], size: int) -> Iterator[bytes]:
        made: dict[tuple[str, str], list[bytes]] = {}
        turn = cycle(tasks)
        while True:
            parts = []
            for plan_id, task_id in (next(turn) for _ in range(size)):
                to = self.step(task_id)
                if (task_id, to) not in made:
                    body = json.dumps(moved(plan_id, task_id, to) | {"id": _SLOT}).encode()
                    made[task_id, to] = body.split(_SLOT.encode())
                before, after = made[task_id, to]
                parts.append(before + event_id().encode() + after)
            yield request("POST", "/v1/events/batch", b"[" + b",".join(parts) + b"]", key=key)

    def transitions(self, key: str, connections: int) -> list[Iterator[bytes]]:
        """One by one over `/v1/tracker/tasks/{id}/transitions`, for each connection."""
        return [self._transitions(key, share) for share in self.share(connections)]

    def _transitions(self, key: str, tasks: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        for _, task_id in cycle(tasks):
            body = json.dumps({"to": self.step(task_id), "reason": "the part is on its way"}).encode()
            yield request("POST", f"/v1/tracker/tasks/{task_id}/transitions", body, key=key)
