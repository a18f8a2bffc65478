"""What the ways of reporting cost: the same four moves told step by step, by the bus, as a journal, and reconciled.

`python -m benchmarks.reporting` starts a server of its own on SQLite and prints medians of five rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from uuid import uuid4

import httpx

from tests.services.server import ServerProcess

STEPS = ("running", "waiting", "running", "completed")


def main() -> None:
    """Measure each way with tasks of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100, help="tasks in a round")
    parser.add_argument("--server", choices=["daphne", "uvicorn"], default="daphne")
    options = parser.parse_args()
    with ServerProcess(server=options.server) as server:
        key = server.api_key("bench", "acme", "alice")
        with server.client(key) as http:
            print(f"{options.tasks} tasks a round, one connection, {options.server}, SQLite; median of five rounds")
            print(f"{'way':<34}{'ms a task':>10}{'requests':>10}")
            for name, requests, way in WAYS:
                print(f"{name:<34}{measure(http, way, options.tasks):>10.2f}{requests:>10}")


def measure(http: httpx.Client, way: Callable[[httpx.Client, str, str], None], count: int) -> float:
    """Milliseconds that one task took, the median of five rounds."""
    rounds = []
    for _ in range(5):
        plan_id = str(uuid4())
        tasks = [request(http, plan_id) for _ in range(count)]
        began = time.perf_counter()
        for task_id in tasks:
            way(http, plan_id, task_id)
        rounds.append((time.perf_counter() - began) / count * 1000)
    return statistics.median(rounds)


def request(http: httpx.Client, plan_id: str) -> str:
    """A pending task."""
    task_id = str(uuid4())
    publish(http, "action-requests", "step.requested", plan_id, task_id, response_event="step.completed")
    return task_id


def publish(http: httpx.Client, topic: str, type: str, plan_id: str, task_id: str, **more: object) -> None:
    """Publish an event about a task."""
    data = {"action_id": task_id, "task_id": task_id, **(more.pop("data", None) or {})}  # type: ignore[dict-item]
    event = {
        "source": "worker",
        "topic": topic,
        "type": type,
        "tenant_id": "acme",
        "user_id": "alice",
        "plan_id": plan_id,
        "data": data,
        **more,
    }
    http.post("/v1/events/publish", json={"event": event}).raise_for_status()


def incremental(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """Each step as it happens, by REST."""
    for to in STEPS:
        http.post(f"/v1/tracker/tasks/{task_id}/transitions", json={"to": to}).raise_for_status()


def by_bus(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """Each step as it happens, as a fact on the bus."""
    for to in STEPS:
        publish(http, "system-events", "task.state_changed", plan_id, task_id, data={"new_state": to})


def only_result(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """Nothing but the result; what it proves is inferred."""
    publish(http, "action-results", "step.completed", plan_id, task_id, data={"status": "completed"})


def journal(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """All steps afterwards, in one request."""
    steps = [{"to": to, "event_id": f"{task_id}-{n}"} for n, to in enumerate(STEPS)]
    body = {"base_version": 1, "steps": steps}
    http.post(f"/v1/tracker/tasks/{task_id}/journal", json=body).raise_for_status()


def reconcile(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """What the agent believes in the end; the way there is inferred."""
    http.post(f"/v1/tracker/tasks/{task_id}/reconcile", json={"state": "completed"}).raise_for_status()


def hybrid(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """Start and end as they happen, checked by reconciling."""
    http.post(f"/v1/tracker/tasks/{task_id}/transitions", json={"to": "running"}).raise_for_status()
    only_result(http, plan_id, task_id)
    reconcile(http, plan_id, task_id)


def heartbeats(http: httpx.Client, plan_id: str, task_id: str) -> None:
    """Four signs of life with progress, and no move."""
    for n in range(4):
        http.post(f"/v1/tracker/tasks/{task_id}/progress", json={"progress": n / 4}).raise_for_status()


WAYS = [
    ("step by step, REST", 4, incremental),
    ("step by step, bus facts", 4, by_bus),
    ("only the result, bus", 1, only_result),
    ("journal of four steps", 1, journal),
    ("reconcile", 1, reconcile),
    ("start, result, reconcile", 3, hybrid),
    ("four heartbeats", 4, heartbeats),
]

if __name__ == "__main__":
    main()
