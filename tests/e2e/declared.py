"""A declared plan with everything in it, and what must have come of it."""

from collections import Counter

from tests.e2e.plain import REQUESTS

TYPES = ["check", "brakes", "tyres", "slow", "book"]


def ask(type, tag, **more):
    """An action that asks for this, of a type that only this test uses."""
    return {"event_type": f"{type}-{tag}.requested", "response_event": f"{type}-{tag}.completed"} | more


def everything(tag, **slow):
    """A branch, a parallel join, a retry, a timeout and an approval; `slow`: how the step is asked that times out."""
    decided = {"on_event": "approval.decided"}
    return {
        "goal": "service.goal",
        "goal_data": {"vehicle": "v-7"},
        "response_event": "service.finished",
        "states": {
            "start": {"default_next": "check"},
            "check": {
                "action": ask("check", tag, data={"vehicle": "{{goal_data.vehicle}}", "give": {"due": True}}),
                "transitions": [
                    {"on_event": f"check-{tag}.completed", "to_state": "inspect", "condition": "result.due"},
                    {"on_event": f"check-{tag}.completed", "to_state": "skipped", "condition": "!result.due"},
                ],
            },
            "inspect": {
                "actions": [
                    ask("brakes", tag, name="brakes", retries=2, data={"fail_first": 1, "give": {"wear": 0.8}}),
                    ask("tyres", tag, name="tyres", data={"give": {"wear": 0.1}}),
                ],
                "default_next": "slow",
            },
            "slow": {
                "action": ask("slow", tag, retries=2, data={"silent_first": 1, "give": {"n": 1}}) | slow,
                "default_next": "ask",
            },
            "ask": {
                "action": {
                    "event_type": "approval.requested",
                    "response_event": "approval.decided",
                    "data": {"title": "Replace at {{results.inspect.brakes.wear}}?", "args": "{{results.inspect}}"},
                },
                "transitions": [
                    decided | {"to_state": "book", "condition": 'result.decision == "approve"'},
                    decided | {"to_state": "skipped", "condition": 'result.decision == "reject"'},
                ],
            },
            "book": {
                "action": ask("book", tag, data={"wear": "{{results.inspect.brakes.wear}}", "give": {"slot": 4}}),
                "default_next": "done",
            },
            "done": {"is_terminal": True},
            "skipped": {"is_terminal": True},
        },
    }


RESULTS_OF_ALL = {
    "check": {"due": True},
    "inspect": {"brakes": {"wear": 0.8}, "tyres": {"wear": 0.1}},
    "slow": {"n": 1},
    "book": {"slot": 4},
}
PATH = ["start", "check", "inspect", "slow", "ask", "book", "done"]


def declare(tenant, definition):
    """Declare a plan by REST; gives its id."""
    answer = tenant.http.post("/v1/plans", json=definition)
    assert answer.status_code == 201, answer.text
    return answer.json()["plan_id"]


def asked(tenant, plan_id):
    """What the server asked for, by type without the test's tag: a list of attempts each."""
    rows = [r for r in tenant.log(plan_id) if r["kind"] == "message" and r["topic"] == REQUESTS]
    found = {}
    for row in rows:
        found.setdefault(row["type"].partition("-")[0].partition(".")[0], []).append(row["event_id"].rpartition(".")[2])
    assert max(Counter(row["event_id"] for row in rows).values()) == 1
    return {type: [int(attempt) for attempt in attempts] for type, attempts in found.items()}


def path(tenant, plan_id):
    """The states that a plan went through."""
    return [row["data"]["entered"] for row in tenant.log(plan_id) if row["type"] == "plan.entered"]


def pending_approval(tenant, plan_id):
    """The card of the plan's question, once there is one."""
    return next(iter(tenant.http.get(f"/v1/approvals?plan={plan_id}&state=pending").json()["items"]), None)


def decide(tenant, card, decision="approve"):
    answer = tenant.http.post(
        f"/v1/approvals/{card['id']}/decision", json={"decision": decision, "comment": "so be it"}
    )
    assert answer.status_code in (200, 201), answer.text


def came_to_its_end(tenant, plan_id):
    """The plan has gone all the way, and all that its steps gave is there."""
    assert tenant.plan(plan_id)["state"] == "completed"
    machine = tenant.http.get(f"/v1/plans/{plan_id}/machine").json()
    results = machine["results"]
    assert results.pop("ask")["decision"] == "approve"
    assert results == RESULTS_OF_ALL
    assert path(tenant, plan_id) == PATH
    tasks = tenant.plan(plan_id)["tasks"].values()
    assert {task["state"] for task in tasks} == {"completed"}
    assert len(tasks) == 6
