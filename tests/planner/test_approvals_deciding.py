"""Who may decide what, how often, and together with whom."""

import json

import pytest

from tests.accounts.factories import make_workspace
from tests.planner.asking import Asker, decide
from tests.planner.calls import Agent, code
from tests.tracker.factories import assert_log_tells_all, moves, plan_of, task_of
from tracker.changes import PlanMove, TaskMove
from tracker.models import LogRow

SCHEMA = {"type": "object", "properties": {"day": {"enum": ["mon", "tue"]}}, "required": ["day"]}


@pytest.fixture
def run(db):
    """A tenant's agents in a workspace of their own. In the end the log of each plan must rebuild the tables."""
    run = Asker(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
def alice(run):
    return run.person("alice")


@pytest.fixture
def bob(run):
    return run.person("bob")


def pointers(response):
    assert code(response) == (422, "invalid")
    return [fault["pointer"] for fault in response.json()["errors"]]


def state(approval):
    approval.refresh_from_db()
    return approval.state


@pytest.mark.parametrize("decision", ["edit", "respond"])
def test_an_answer_with_content_completes_the_task(run, alice, decision):
    asked = run.ask(args={"slot": 4}, task_id=f"q-{decision}")
    assert decide(alice, asked, decision, payload={"slot": 5}).status_code == 200
    assert task_of(run, f"q-{decision}").state == "completed"
    said = json.loads(run.answers()[0].data)
    assert (said["decision"], said["payload"], said["success"], said["result"]["payload"]) == (
        decision, {"slot": 5}, True, {"slot": 5},
    )  # fmt: skip


def test_a_rejection_fails_the_task_and_says_why(run, alice):
    plan_id, _ = run.plan()
    asked = run.ask(plan_id, "q-1", reject_needs_comment=True)
    assert pointers(decide(alice, asked, "reject", comment="  ")) == ["/comment"]
    assert decide(alice, asked, "reject", comment="too dear").status_code == 200
    task = task_of(run, "q-1")
    assert (task.state, task.error) == ("failed", "rejected by alice: too dear")
    said = json.loads(run.answers()[0].data)
    assert (said["decision"], said["comment"], said["success"], said["status"]) == (
        "reject", "too dear", False, "failed",
    )  # fmt: skip


def test_decided_once(run, alice, bob):
    asked = run.ask()
    first = decide(alice, asked).json()
    late = decide(bob, asked, "reject")
    assert code(late) == (409, "already-decided")
    assert {name: late.json()[name] for name in ("state", "decision", "decided_by", "decided_at")} == {
        "state": "decided", "decision": "approve", "decided_by": "user:alice", "decided_at": first["decided_at"],
    }  # fmt: skip
    assert "alice" in late.json()["detail"]
    assert code(decide(alice, asked)) == (409, "already-decided")
    assert len(run.answers()) == 1


def test_a_key_makes_a_decision_repeatable(run, alice):
    asked = run.ask()
    path, headers = f"/v1/approvals/{asked.approval_id}/decision", {"Idempotency-Key": "k-1"}
    answers = [
        alice._client.post(path, {"decision": decision}, "application/json", headers=headers)
        for decision in ("approve", "approve", "reject")
    ]
    assert [one.status_code for one in answers] == [200, 200, 422]
    assert answers[0].json() == answers[1].json()
    assert answers[2].json()["code"] == "idempotency-key-reused"


def test_only_what_the_question_allows(run, alice):
    asked = run.ask(allow=["approve", "respond"], response_schema=SCHEMA)
    assert pointers(decide(alice, asked, "reject")) == ["/decision"]
    assert pointers(decide(alice, asked, "approve", payload={"day": "mon"})) == ["/payload"]
    assert pointers(decide(alice, asked, "respond", payload={"day": "sun"})) == ["/payload/day"]
    assert pointers(decide(alice, asked, "respond")) == ["/payload"]
    assert pointers(decide(alice, asked, "maybe")) == ["/decision"]
    assert decide(alice, asked, "respond", payload={"day": "mon"}).status_code == 200


def test_edited_arguments_are_of_the_same_kind(run, alice):
    asked, without, empty = run.ask(args=[1, 2]), run.ask(), run.ask(args=[])
    assert pointers(decide(alice, asked, "edit", payload={"a": 1})) == ["/payload"]
    assert pointers(decide(alice, without, "edit", payload=3)) == ["/payload"]
    assert pointers(decide(alice, empty, "edit", payload={})) == ["/payload"]
    assert decide(alice, asked, "edit", payload=[1]).status_code == 200
    assert decide(alice, without, "edit", payload={"a": 1}).status_code == 200


def test_only_those_who_are_asked(run, alice, bob):
    asked = run.ask(assignees=["alice"])
    assert code(decide(bob, asked)) == (403, "not-assigned")
    assert code(decide(Agent(run.workspace, scopes=["act", "read"]), asked)) == (403, "not-assigned")
    viewer = Agent(run.workspace, run.tenant, "alice", scopes=["read"])
    assert code(decide(viewer, asked)) == (403, "forbidden")
    assert code(decide(Agent(run.workspace, "globex", "alice", scopes=["act"]), asked)) == (404, "not-found")
    assert decide(alice, asked).status_code == 200


def test_the_version_that_somebody_saw(run, alice, bob):
    asked = run.ask(quorum=2)
    decide(alice, asked)
    late = decide(bob, asked, expected_version=1)
    assert code(late) == (409, "version-conflict")
    assert late.json()["version"] == 2
    assert decide(bob, asked, expected_version=2).json()["state"] == "decided"


def test_two_of_three_with_a_vote_taken_back(run, alice, bob):
    asked = run.ask("plan-v", "q-v", quorum=2, assignees=["alice", "bob", "carol"])
    vote = f"/approvals/{asked.approval_id}/vote"
    first = decide(alice, asked, comment="fine").json()
    assert (first["state"], [one["by"] for one in first["votes"]], first["version"]) == ("pending", ["user:alice"], 2)
    assert code(decide(alice, asked, "reject")) == (409, "already-voted")
    assert alice.delete(vote).json()["votes"] == []
    assert code(alice.delete(vote)) == (409, "no-vote")
    assert decide(bob, asked).json()["state"] == "pending"
    assert moves(run, "q-v") == ["pending", "awaiting_approval"]
    assert decide(run.person("carol"), asked).json()["decided_by"] == "user:carol"
    assert code(bob.delete(vote)) == (409, "already-decided")
    notes = plan_of(run, "plan-v").log.filter(type__startswith="approval.v").order_by("seq")
    assert [(row.type, row.by, row.reason) for row in notes] == [
        ("approval.voted", "user:alice", "fine"),
        ("approval.vote_withdrawn", "user:alice", ""),
        ("approval.voted", "user:bob", ""),
    ]
    assert moves(run, "q-v")[-1] == "completed"


def test_a_quorum_agrees_on_the_same(run, alice, bob):
    asked = run.ask(quorum=2, args={"a": 1, "b": 2})
    decide(alice, asked, "edit", payload={"a": 2, "b": 2})
    decide(bob, asked, "edit", payload={"a": 3, "b": 2})
    assert state(asked) == "pending"
    assert decide(run.person("carol"), asked, "edit", payload={"b": 2, "a": 3}).json()["payload"] == {"a": 3, "b": 2}


def test_one_rejection_settles_unless_the_question_says_otherwise(run, alice, bob):
    strict, patient = run.ask(quorum=2), run.ask(quorum=2, reject_quorum=2)
    decide(alice, strict, "reject")
    decide(alice, patient, "reject")
    assert (state(strict), state(patient)) == ("decided", "pending")
    decide(bob, patient, "reject", comment="no")
    assert (state(patient), patient.decision, patient.comment) == ("decided", "reject", "no")


def test_a_question_ends_with_its_plan_and_its_task(run, alice):
    plans = [run.plan(2)[0] for _ in range(3)]
    asked = [run.ask(plan_id, f"q-{plan_id}") for plan_id in plans]
    run.record(run.change(PlanMove, plan_id=plans[0], to="cancelled", reason="sold"))
    run.say("system-events", "plan.completed", {"plan_id": plans[1]}, plan_id=plans[1])
    run.record(run.change(TaskMove, task_id=f"q-{plans[2]}", to="cancelled"))
    assert [state(one) for one in asked] == ["withdrawn"] * 3
    assert [task_of(run, f"q-{plan_id}").state for plan_id in plans] == ["cancelled"] * 3
    late = decide(alice, asked[0])
    assert code(late) == (409, "withdrawn")
    assert alice.get(f"/approvals/{asked[0].approval_id}").json()["comment"] == "sold"
    assert run.answers() == []


def test_an_agent_takes_its_question_back(run, alice):
    by_fact, by_rest = run.ask(task_id="q-1"), run.ask(task_id="q-2")
    run.say("system-events", "task.state_changed", {"task_id": "q-1", "new_state": "cancelled"}, correlation_id="q-1")
    agent = Agent(run.workspace, run.tenant, run.user, scopes=["publish"])
    answer = agent.post("/approvals/q-2/withdraw", {"reason": "changed my mind"})
    assert (answer.status_code, answer.json()["state"]) == (200, "withdrawn")
    assert code(agent.post("/approvals/q-2/withdraw", {})) == (409, "withdrawn")
    assert code(decide(alice, by_rest)) == (409, "withdrawn")
    assert (state(by_fact), task_of(run, "q-2").state) == ("withdrawn", "cancelled")


def test_an_answer_from_elsewhere_ends_the_question(run, alice):
    """An agent that consumes such requests may answer them itself."""
    asked = run.ask(task_id="q-1", answered="approval.decided")
    run.say("action-results", "approval.decided", {"task_id": "q-1", "status": "completed"}, correlation_id="q-1")
    assert (state(asked), task_of(run, "q-1").state) == ("withdrawn", "completed")
    assert code(decide(alice, asked)) == (409, "withdrawn")


def test_a_task_that_is_tried_again_asks_again(run, alice):
    first = run.ask(task_id="q-1")
    decide(alice, first, "reject")
    run.move("q-1", "pending")
    assert task_of(run, "q-1").state == "awaiting_approval"
    second = alice.get("/approvals/q-1").json()
    assert (second["state"], second["id"] != first.approval_id) == ("pending", True)
    assert alice.post("/approvals/q-1/decision", {"decision": "approve"}).json()["id"] == second["id"]
    assert task_of(run, "q-1").state == "completed"
    assert len(run.answers()) == 2


def test_a_refusal_leaves_nothing(run, alice, bob):
    asked = run.ask(assignees=["alice"])
    before = LogRow.objects.filter(workspace=run.workspace).count()
    decide(bob, asked)
    decide(alice, asked, "edit", payload=1)
    bob.delete(f"/approvals/{asked.approval_id}/vote")
    assert LogRow.objects.filter(workspace=run.workspace).count() == before
    assert state(asked) == "pending"


def test_a_paused_plan_can_be_decided(run, alice):
    plan_id, _ = run.plan()
    run.record(run.change(PlanMove, plan_id=plan_id, to="paused"))
    asked = run.ask(plan_id, "q-1")
    assert decide(alice, asked).status_code == 200
    assert (task_of(run, "q-1").state, plan_of(run, plan_id).state) == ("completed", "paused")


def test_a_plan_that_waits_for_the_answer_goes_on(run, alice):
    plan_id, _ = run.plan()
    asked = run.ask(plan_id)
    fact = {"plan_id": plan_id, "expected_event": "approval.decided"}
    run.say("system-events", "plan.waiting_for_input", fact, plan_id=plan_id)
    assert plan_of(run, plan_id).state == "paused"
    decide(alice, asked)
    assert plan_of(run, plan_id).state == "in_progress"


def test_held_requests_that_are_offered_again_ask_nobody_twice(run, alice):
    """An agent moves its task on by itself; then the plan is paused and goes on."""
    asked = run.ask("plan-h", "q-1")
    run.running("plan-h", "q-1")
    assert state(asked) == "withdrawn"
    for to in ("paused", "in_progress"):
        run.record(run.change(PlanMove, plan_id="plan-h", to=to))
    assert (state(asked), task_of(run, "q-1").state) == ("withdrawn", "running")
    assert alice.get("/approvals", task="q-1").json()["items"][0]["state"] == "withdrawn"
