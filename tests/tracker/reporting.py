"""What is reported of a task over HTTP, for tests."""

import json

CONFLICT = (409, "invalid-transition")
VERSION = (409, "version-conflict")
UNKNOWN = (404, "not-found")
# The shortest way to each state that a task can be brought to by REST.
WAYS = {
    "pending": [],
    "running": ["running"],
    **{state: ["running", state] for state in ("delegated", "waiting", "in_review", "awaiting_approval")},
    **{state: ["running", state] for state in ("completed", "failed")},
    "cancelled": ["cancelled"],
}


def path(task_id, verb):
    return f"/tracker/tasks/{task_id}/{verb}"


def report(agent, task_id, to, **more):
    return agent.post(path(task_id, "transitions"), {"to": to, **more})


def send(agent, task_id, verb, body, **headers):
    """A POST with headers of its own."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return agent._client.post(f"/v1{path(task_id, verb)}", json.dumps(body), "application/json", headers=headers)


def walk(agent, task_id, *states):
    for state in states:
        assert report(agent, task_id, state).status_code == 201


def a_task_in(run, state):
    task_id = run.plan(2)[1][0]
    for step in WAYS[state]:
        assert run.move(task_id, step).result == "recorded"
    return task_id


def journal(agent, task_id, *steps, **more):
    return agent.post(path(task_id, "journal"), {"steps": list(steps), **more})


def steps_of(*states, prefix="s"):
    return [{"to": state, "event_id": f"{prefix}-{n}"} for n, state in enumerate(states)]


def reconcile(agent, task_id, state, **more):
    return agent.post(path(task_id, "reconcile"), {"state": state, **more})


def progress(agent, task_id, **said):
    return agent.post(path(task_id, "progress"), said)
