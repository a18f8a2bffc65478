"""Questions to people: from the request to the answer."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from planner.approvals import AnswersSent
from planner.models import Approval
from tests.accounts.factories import browser_of, make_member, make_workspace
from tests.planner.asking import ANSWERED, Asker, decide
from tests.planner.calls import Agent, code
from tests.tracker.factories import assert_log_tells_all, moves, plan_of, task_of
from tracker.changes import SubTask, TaskContextStored

# Each of its parts refers twice to the next: looked at one by one, they are a billion.
MANY = {"$ref": "#/$defs/0", "$defs": {str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(30)}}
MANY["$defs"]["30"] = {"type": "object"}


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
    assert [found(assignee=other) for other in ("o", "Bob", "user:bob", "%")] == [[], [], [small.approval_id], []]
    assert found(tenant="globex") == []
    first = alice.get("/approvals", limit=1).json()
    assert [one["id"] for one in first["items"]] == [large.approval_id]
    assert found(limit=1, cursor=first["next_cursor"]) == [small.approval_id]


def test_a_question_without_a_plan_opens_one(run, alice):
    asked = run.ask(correlation_id="c-7", task_id="q-7")
    card = alice.get("/approvals/q-7").json()
    assert (card["plan_id"], plan_of(run, "c-7").state) == ("c-7", "in_progress")
    assert plan_of(run, "c-7").log.filter(kind="message", type="approval.requested").count() == 1
    decide(alice, asked)
    assert plan_of(run, "c-7").state == "completed"


def test_a_question_of_a_delegated_task_is_the_plans(run, alice):
    plan_id, (parent,) = run.plan()
    sub = SubTask(sub_task_id="sub-1")
    stored = {"event_type": "parts.check.requested", "data": {"task_id": parent}, "sub_tasks": [sub]}
    run.record(run.change(TaskContextStored, task_id=parent, plan_id=plan_id, **stored))
    asked = run.ask(task_id="sub-1")
    assert (task_of(run, parent).state, asked.plan.plan_id) == ("delegated", plan_id)
    decide(alice, asked)
    assert task_of(run, parent).state == "running"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"title": 5}, "title: Input should be a valid string"),
        ({"quorum": 3, "assignees": ["a", "b"]}, "data: a quorum larger than the 2 assignees can never be met"),
        ({"quorum": 0}, "quorum: Input should be greater than or equal to 1"),
        ({"allow": []}, "allow: List should have at least 1 item after validation, not 0"),
        ({"response_schema": {"type": "nonsense"}}, "response_schema: is no JSON Schema: /type"),
        ({"response_schema": {"$ref": "https://example.org/x"}}, "response_schema: refers to what is not there"),
        ({"response_schema": {"properties": {"a": {"$ref": "x.json"}}}}, "response_schema: refers to another document"),
        ({"response_schema": {"$ref": "#"}}, "response_schema: goes round in circles"),
        ({"response_schema": {"enum": ["x" * 40_000]}}, "response_schema: may have 32768 characters"),
        ({"on_expiry": "escalate", "expires_in": 1}, "data: to escalate, escalate_to must name somebody"),
        ({"response_schema": {"$schema": []}}, "response_schema: cannot be evaluated: TypeError"),
        ({"response_schema": MANY}, "response_schema: takes too long to be evaluated"),
        ({"expires_in": -1}, "expires_in: Input should be greater than 0"),
    ],
)
def test_what_cannot_be_asked_is_answered_at_once(run, data, fault):
    assert run.ask("plan-w", "q-1", **data) is None
    assert run.clock() == ["recorded", "duplicate"]
    task = task_of(run, "q-1")
    assert task.state == "failed"
    assert fault in task.error
    [row] = run.answers()
    said = json.loads(row.data)
    assert (said["decision"], said["decided_by"], said["success"], said["task_id"]) == (
        "reject",
        "system",
        False,
        "q-1",
    )
    assert said["comment"] == task.error


def test_what_can_be_understood_is(run, alice):
    run.ask(
        task_id="q-1", title="\x00", assignees=["user:alice", "alice", "bob"], allow=["reject", "approve"], quorum="2",
        risk=None, odd=True,
    )  # fmt: skip
    card = alice.get("/approvals/q-1").json()
    assert (card["title"], card["assignees"], card["allow"], card["quorum"], card["risk"]) == (
        "\ufffd", ["alice", "bob"], ["approve", "reject"], 2, "medium",
    )  # fmt: skip
    run.ask(task_id="q-2", title=" ", action="order")
    assert alice.get("/approvals/q-2").json()["title"] == "order"


def test_asked_twice_it_is_one_question(run):
    for _ in range(2):
        run.ask("plan-1", "q-1", action_id="a-1")
    assert [one.task.task_id for one in Approval.objects.filter(workspace=run.workspace)] == ["a-1"]


def test_a_pattern_that_would_run_for_ever_is_stopped(run, alice):
    asked = run.ask(response_schema={"type": "string", "pattern": r"^(\w|\w\w)+\d$"})
    answer = decide(alice, asked, "respond", payload="a" * 5000 + "!")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/payload")


def test_agents_ask_by_rest(run, alice):
    agent = Agent(run.workspace, run.tenant, run.user)
    body = {"title": "Order?", "args": {"n": 4}, "task_id": "q-1", "plan_id": "plan-r", "source": "buyer",
            "response_event": "approval.decided"}  # fmt: skip
    first = agent.post("/approvals", body)
    assert first.status_code == 201
    card = first.json()
    assert (card["requested_by"], card["plan_id"], card["args"], card["answered"]) == (
        "agent:buyer", "plan-r", {"n": 4}, None,
    )  # fmt: skip
    assert code(agent.post("/approvals", {**body, "quorum": 0})) == (422, "invalid")
    assert code(agent.post("/approvals", {"title": "x", "expires": 5})) == (422, "invalid")
    assert code(Agent(run.workspace).post("/approvals", {"title": "x"})) == (422, "invalid")
    assert code(Agent(run.workspace, scopes=["act", "read"]).post("/approvals", body)) == (403, "forbidden")
    unbound = Agent(run.workspace).post("/approvals", {"title": "x", "tenant_id": "acme", "user_id": "bob"})
    assert unbound.status_code == 201
    headers = {"Idempotency-Key": "ask-1"}
    answers = [
        agent._client.post("/v1/approvals", {"title": title}, "application/json", headers=headers)
        for title in ("a", "a", "b")
    ]
    assert [one.status_code for one in answers] == [201, 201, 422]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_how_the_agent_went_on(run, alice):
    plan_id, _ = run.plan()
    asked = run.ask(plan_id, "q-1", source="planner")
    decide(alice, asked)
    assert alice.get("/approvals/q-1").json()["answered"] is None
    run.request(plan_id, "next-1", type="slot.book.requested")
    assert alice.get("/approvals/q-1").json()["answered"]["type"] == "slot.book.requested"


def test_that_the_answer_was_sent_is_noted_once(run, alice):
    asked = run.ask("plan-s", "q-1", source="buyer")
    decide(alice, asked)
    [row] = run.answers()
    for name in ("somebody", "buyer", "buyer"):
        run.record(run.change(AnswersSent, row_ids=[row.pk], name=name))
    assert alice.get("/approvals/q-1").json()["delivered_at"]
    assert plan_of(run, "plan-s").log.filter(type="approval.delivered").count() == 1


def test_a_list_takes_as_many_queries_however_long_it_is(run, alice, django_assert_num_queries):
    run.ask()
    alice.get("/approvals")
    with CaptureQueriesContext(connection) as queries:
        alice.get("/approvals")
    count = len(queries)
    for _ in range(30):
        decide(alice, run.ask(quorum=2))
    with django_assert_num_queries(count):
        assert len(alice.get("/approvals").json()["items"]) == 31


def test_a_member_decides_in_a_session_with_its_token(run):
    asked = run.ask()
    browser = browser_of(make_member(run.workspace, role="operator", name="dora"), enforce_csrf_checks=True)
    path, body = f"/v1/approvals/{asked.approval_id}/decision", {"decision": "approve"}
    assert browser.post(path, body, "application/json").status_code == 403
    browser.get("/plans")
    token = {"X-CSRFToken": browser.cookies["csrftoken"].value}
    answer = browser.post(path, body, "application/json", headers=token)
    assert (answer.status_code, answer.json()["decided_by"]) == (200, "user:dora")
