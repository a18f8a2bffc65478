"""People decide, agents go on: with the real SDK, from afar, many at once, and when somebody is away."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.e2e.company import AGENTS, Company
from tests.e2e.plain import REQUESTS, RESULTS, Listener, Tenant
from tests.services.waiting import wait_until

ASKED, ANSWERED, GOAL, WORK = "approval.requested", "approval.decided", "trip.goal", "trip.requested"


@pytest.fixture(scope="module")
def tenant(server):
    with contextlib.closing(Tenant(server, "deciding")) as one:
        yield one


@pytest.fixture(scope="module")
def company(server, tenant, tmp_path_factory):
    """An agent of each kind that asks."""
    company = Company(server, tenant.key, tmp_path_factory.mktemp("gates"))
    try:
        company.hire(
            worker=(AGENTS / "asking_worker.py", "asking-worker", WORK),
            planner=(AGENTS / "asking_planner.py", "asking-planner", GOAL),
        )
        yield company
    finally:
        company.dismiss()


def pending(tenant, plan_id, what=""):
    """The question of a plan, once it is there."""

    def found():
        return tenant.http.get("/v1/approvals", params={"plan": plan_id, "state": "pending"}).json()["items"]

    [card] = wait_until(found, 20, lambda: f"a question of {plan_id} {what}")
    return card


def decide(tenant, card, decision, client=None, **more):
    said = {"decision": decision, **more}
    return (client or tenant.http).post(f"/v1/approvals/{card['id']}/decision", json=said)


def decided(tenant, card, decision, **more):
    answer = decide(tenant, card, decision, **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("decision", "outcome"), [("approve", "done"), ("reject", "left")])
def test_a_worker_of_the_sdk_goes_on(tenant, company, decision, outcome):
    plan_id = f"plan-{uuid4().hex}"
    request = tenant.ask(WORK, {"label": plan_id}, plan_id=plan_id)
    card = pending(tenant, plan_id, company.output())
    assert (card["title"], card["args"], card["requested_by"]) == ("Do it?", {"label": plan_id}, "agent:asking-worker")
    assert {one["state"] for one in tenant.tasks(plan_id)} == {"delegated", "awaiting_approval"}
    assert tenant.plan(plan_id)["approvals_pending"] == 1
    decided(tenant, card, decision, comment="because")
    wait_until(lambda: tenant.task(request["data"]["task_id"])["state"] == "completed", 20, company.output)
    result = next(row for row in tenant.log(plan_id) if row["topic"] == RESULTS and row["source"] == "asking-worker")
    assert result["data"]["result"] == {"outcome": outcome, "decided_by": "user:alice", "comment": "because"}
    told = tenant.http.get(f"/v1/approvals/{card['id']}").json()
    assert told["delivered_at"] >= told["decided_at"]
    assert told["answered"]["seq"] == result["seq"]
    [move] = [row for row in tenant.log(plan_id) if row["by"] == "user:alice" and row["kind"] == "transition"]
    assert (move["to_state"], move["reason"]) == ("completed" if decision == "approve" else "failed", "because")
    assert move["data"]["waited_seconds"] > 0
    assert not [row for row in tenant.log(plan_id) if row["refused"]]


@pytest.mark.parametrize(("decision", "state"), [("approve", "completed"), ("reject", "failed")])
def test_a_planner_of_the_sdk_goes_on(tenant, company, decision, state):
    plan_id = f"plan-{uuid4().hex}"
    tenant.publish(REQUESTS, GOAL, {"label": "Rome"}, correlation_id=plan_id, response_event="trip.completed")
    card = pending(tenant, plan_id, company.output())
    assert (card["title"], card["risk"], card["goal_event"]) == ("Go on with Rome?", "high", GOAL)
    # The SDK asks first, and stores the state that it is in after that.
    wait_until(lambda: tenant.plan(plan_id)["current_state"] == "approval", 20, company.output)
    decided(tenant, card, decision, comment="because")
    wait_until(lambda: tenant.plan(plan_id)["state"] == state, 20, company.output)
    answer = next(row for row in tenant.log(plan_id) if row["type"] == "trip.completed")
    said = {"approve": ("decided_by", "user:alice"), "reject": ("error", "because")}[decision]
    assert said in {**answer["data"], **answer["data"].get("result", {})}.items()


def test_fifty_people_at_once(server, tenant):
    plan_id = f"plan-{uuid4().hex}"
    tenant.ask(ASKED, {"title": "Who?"}, plan_id=plan_id, response_event=ANSWERED)
    card = pending(tenant, plan_id)
    with ThreadPoolExecutor(50) as pool, contextlib.ExitStack() as stack:
        people = [stack.enter_context(server.client(tenant.key)) for _ in range(50)]
        choices = [("approve", "reject")[number % 2] for number in range(50)]
        answers = list(pool.map(lambda two: decide(tenant, card, two[1], two[0]), zip(people, choices, strict=True)))
    first, *late = sorted(answers, key=lambda one: one.status_code)
    assert [first.status_code, {one.status_code for one in late}] == [200, {409}]
    told = {name: first.json()[name] for name in ("decision", "decided_by", "decided_at")}
    assert [one.json() | told | {"code": "already-decided"} for one in late] == [one.json() for one in late]
    assert len([row for row in tenant.log(plan_id) if row["type"] == ANSWERED]) == 1


def test_the_answer_waits_for_an_agent_that_is_away(tenant):
    name, plan_id = f"away-{uuid4().hex[:8]}", f"plan-{uuid4().hex}"
    agent_id = tenant.register(name, ["nothing.requested"])
    with Listener(tenant, RESULTS, name=name, agent_id=agent_id):
        tenant.ask(ASKED, {"title": "Well?"}, plan_id=plan_id, source=name, response_event=ANSWERED)
    wait_until(lambda: not tenant.connected(agent_id), 20, "a server that has seen its agent leave")
    card = decided(tenant, pending(tenant, plan_id), "respond", payload={"yes": True})
    assert card["delivered_at"] is None
    with Listener(tenant, RESULTS, name=name, agent_id=agent_id) as back:
        [answer] = back.heard(1)
        assert (answer["id"], answer["source"], answer["plan_id"]) == (card["id"], "tracker", plan_id)
        assert answer["data"]["payload"] == {"yes": True}
        wait_until(lambda: tenant.http.get(f"/v1/approvals/{card['id']}").json()["delivered_at"], 20, "a delivery")
    rows = [row for row in tenant.log(plan_id) if row["type"] == "approval.delivered"]
    assert [row["by"] for row in rows] == [f"agent:{name}"]


def test_an_agent_that_consumes_such_requests_gets_them_and_people_may_still_decide(tenant):
    name, plan_id = f"desk-{uuid4().hex[:8]}", f"plan-{uuid4().hex}"
    with Listener(tenant, REQUESTS, name=name, agent_id=tenant.register(name, [ASKED])) as desk:
        tenant.ask(ASKED, {"title": "Well?"}, plan_id=plan_id, response_event=ANSWERED)
        desk.heard(1)
        card = pending(tenant, plan_id)
        wait_until(lambda: tenant.handed(plan_id), 20, "a note of who was given it")
        assert tenant.task(card["task_id"])["state"] == "awaiting_approval"
        decided(tenant, card, "approve")


def test_a_restart_loses_nothing(start_server):
    server = start_server()
    with contextlib.closing(Tenant(server, "restart")) as tenant:
        large = {"text": "x" * 200_000}
        plans = [f"plan-{number}" for number in range(3)]
        for plan_id in plans:
            tenant.ask(
                ASKED, {"title": "Well?", "args": large}, plan_id=plan_id, response_event=ANSWERED, source="buyer"
            )
        first = decided(tenant, pending(tenant, plans[0]), "edit", payload=large)
        server.kill()
        server.start()
        assert tenant.http.get(f"/v1/approvals/{first['id']}").json()["payload"] == large
        for plan_id in plans[1:]:
            card = pending(tenant, plan_id)
            assert card["left_out"] == ["args"]
            decided(tenant, card, "approve")
            assert tenant.plan(plan_id)["state"] == "completed"


def test_a_question_expires_once_although_a_server_is_killed(start_server, postgres, redis):
    world = {"DATABASE_URL": postgres.new_database(), "REDIS_URL": redis.url}
    one, other = start_server(**world), start_server(**world)
    with contextlib.closing(Tenant(other, "expiry")) as tenant:
        plans = [f"plan-{number}" for number in range(20)]
        with contextlib.closing(Tenant(one, "expiry")) as there:
            for number, plan_id in enumerate(plans):
                data = {"title": "Well?", "expires_in": 2 + number / 20}
                (there, tenant)[number % 2].ask(ASKED, data, plan_id=plan_id, response_event=ANSWERED)
            both_decide(tenant, there)
        wait_until(lambda: tenant.plan(plans[5])["state"] == "failed", 20, "the first that expire")
        one.kill()
        wait_until(lambda: {tenant.plan(p)["state"] for p in plans} == {"failed"}, 20, "all expired")
        for plan_id in plans:
            log = tenant.log(plan_id)
            assert len([row for row in log if row["type"] == ANSWERED]) == 1
            [card] = tenant.http.get("/v1/approvals", params={"plan": plan_id}).json()["items"]
            assert (card["state"], card["decided_by"]) == ("expired", "system")


def both_decide(here, there):
    """Of people at two servers one decides."""
    here.ask(ASKED, {"title": "Who?"}, plan_id="plan-both", response_event=ANSWERED)
    card = pending(here, "plan-both")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: decide((here, there)[n % 2], card, "approve"), range(10)))
    assert sorted(one.status_code for one in answers) == [200, *[409] * 9]


def test_a_question_that_cannot_be_put_is_answered(tenant):
    plan_id = f"plan-{uuid4().hex}"
    tenant.ask(ASKED, {"title": "Well?", "quorum": -1}, plan_id=plan_id, response_event=ANSWERED)
    wait_until(lambda: tenant.plan(plan_id)["state"] == "failed", 20, "an answer by the server")
    [answer] = [row for row in tenant.log(plan_id) if row["type"] == ANSWERED]
    assert (answer["data"]["decision"], answer["data"]["decided_by"]) == ("reject", "system")
    assert "quorum" in answer["data"]["comment"]
