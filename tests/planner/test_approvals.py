"""Questions to people: from the request to the answer."""

import json

import pytest

from tests.accounts.factories import make_workspace
from tests.planner.asking import ANSWERED, Asker, decide
from tests.tracker.factories import assert_log_tells_all, moves, plan_of, task_of


@pytest.fixture
def run(db):
    """A tenant's agents in a workspace of their own. In the end the log of each plan must rebuild the tables."""
    run = Asker(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
def alice(run):
    return run.person("alice")


def test_a_request_puts_a_question(run, alice):
    plan_id, _ = run.plan()
    asked = run.ask(plan_id, "q-1", description="*Now*", action="book", args={"slot": 4}, risk="high", blocks="t-9")
    assert task_of(run, "q-1").state == "awaiting_approval"
    card = alice.get(f"/approvals/{asked.approval_id}").json()
    assert {name: card[name] for name in ("plan_id", "task_id", "state", "title", "description", "action", "args")} == {
        "plan_id": plan_id, "task_id": "q-1", "state": "pending", "title": "Book it?", "description": "*Now*",
        "action": "book", "args": {"slot": 4},
    }  # fmt: skip
    assert (card["requested_by"], card["allow"], card["quorum"], card["votes"], card["version"]) == (
        "agent:planner", ["approve", "reject", "edit", "respond"], 1, [], 1,
    )  # fmt: skip
    assert alice.get(f"/tracker/plans/{plan_id}").json()["approvals_pending"] == 1


def test_an_approval_completes_its_task_and_answers_the_agent(run, alice):
    plan_id, _ = run.plan()
    asked = run.ask(plan_id, "q-1", correlation_id="c-1")
    answer = decide(alice, asked, comment="go on")
    assert answer.status_code == 200
    card = answer.json()
    assert (card["state"], card["decision"], card["decided_by"], card["comment"], card["payload"]) == (
        "decided", "approve", "user:alice", "go on", None,
    )  # fmt: skip
    assert moves(run, "q-1") == ["pending", "awaiting_approval", "completed"]
    [row] = run.answers()
    said = {"decision": "approve", "comment": "go on", "payload": None}
    assert (row.type, row.topic, row.correlation_id, row.event_id) == (
        ANSWERED, "action-results", "c-1", asked.approval_id,
    )  # fmt: skip
    assert json.loads(row.data) == {
        **said, "decided_by": "user:alice", "success": True, "status": "completed", "result": said, "task_id": "q-1",
        "action_id": None,
    }  # fmt: skip
    move = plan_of(run, plan_id).log.get(kind="transition", to_state="completed")
    assert (move.by, move.reason) == ("user:alice", "go on")
    assert json.loads(move.data)["waited_seconds"] >= 0


def test_lists_leave_out_what_is_long_and_can_be_narrowed(run, alice):
    plan_id, _ = run.plan()
    small = run.ask(plan_id, args={"slot": 4}, assignees=["alice", "bob"])
    large = run.ask(args={"text": "x" * 200_000}, description="short", assignees="carol")
    decide(alice, small)

    def found(**which):
        return [one["id"] for one in alice.get("/approvals", **which).json()["items"]]

    items = alice.get("/approvals").json()["items"]
    assert [(one["id"], one["args"], one["description"], one["left_out"]) for one in items] == [
        (large.approval_id, None, "short", ["args"]), (small.approval_id, {"slot": 4}, "", []),
    ]  # fmt: skip
    assert len(alice.get(f"/approvals/{large.approval_id}").json()["args"]["text"]) == 200_000
    assert found(state=["pending"]) == [large.approval_id]
    assert found(state=["decided", "pending"]) == [large.approval_id, small.approval_id]
    assert found(plan=plan_id) == [small.approval_id]
    assert found(assignee="bob") == [small.approval_id]
    assert found(assignee="o") == []
    assert found(tenant="globex") == []
    first = alice.get("/approvals", limit=1).json()
    assert [one["id"] for one in first["items"]] == [large.approval_id]
    assert found(limit=1, cursor=first["next_cursor"]) == [small.approval_id]
