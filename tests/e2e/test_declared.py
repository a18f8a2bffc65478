"""Declared plans from outside: real workers, a person, and a server that is killed between any two steps."""

import contextlib
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.declared import TYPES, asked, came_to_its_end, decide, declare, everything, path, pending_approval
from tests.e2e.plain import REQUESTS, RESULTS, Listener, Tenant
from tests.services.waiting import wait_until

STEP_WORKER = ROOT / "tests/e2e/agents/step_worker.py"


@pytest.fixture
def tag():
    """Keeps the types of this test apart."""
    return uuid4().hex[:8]


def requested(tag, *types):
    return [f"{type}-{tag}.requested" for type in types]


def test_two_plain_workers_and_a_person_carry_a_plan_through(server, start_agent, workspace, tag):
    with contextlib.closing(Tenant(server, workspace)) as tenant:
        start_agent(server, STEP_WORKER, tenant.key, "one", *requested(tag, "check", "brakes", "book"))
        start_agent(server, STEP_WORKER, tenant.key, "two", *requested(tag, "tyres", "slow"))
        with Listener(tenant, RESULTS, name="asker") as asker:
            plan_id = declare(tenant, everything(tag, timeout=1))
            card = wait_until(lambda: pending_approval(tenant, plan_id), 30, lambda: tenant.log(plan_id)[-5:])
            assert card["title"] == "Replace at 0.8?"
            assert card["args"] == {"brakes": {"wear": 0.8}, "tyres": {"wear": 0.1}}
            decide(tenant, card)
            wait_until(lambda: tenant.plan(plan_id)["state"] == "completed", 30)
            came_to_its_end(tenant, plan_id)
            assert asked(tenant, plan_id) == {
                "check": [1], "brakes": [1, 2], "tyres": [1], "slow": [1, 2], "approval": [1], "book": [1],
            }  # fmt: skip
            wait_until(lambda: "service.finished" in asker.types(), 10, "the answer to whoever set the goal")
        other = declare(tenant, everything(tag, timeout=1))
        decide(tenant, wait_until(lambda: pending_approval(tenant, other), 30), "reject")
        wait_until(lambda: tenant.plan(other)["state"] == "completed", 20)
        assert path(tenant, other)[-2:] == ["ask", "skipped"]


def test_a_step_whose_worker_is_killed_is_taken_by_the_next_one(server, start_agent, workspace, tag):
    """A worker that dies and is started again is a new life: what the old one held is asked for again at once."""
    with contextlib.closing(Tenant(server, workspace)) as tenant:
        states = {
            "start": {"action": {"event_type": f"slow-{tag}.requested", "response_event": f"slow-{tag}.completed",
                                 "data": {"silent_first": 1, "give": {"n": 2}}}, "default_next": "done"},
            "done": {"is_terminal": True},
        }  # fmt: skip
        plan_id = declare(tenant, {"goal": "slow.goal", "states": states})
        worker = start_agent(server, STEP_WORKER, tenant.key, "one", *requested(tag, "slow"))
        worker.wait_for_output(f"took slow-{tag}.requested 1.")
        worker.kill()
        start_agent(server, STEP_WORKER, tenant.key, "one", *requested(tag, "slow"))
        wait_until(lambda: tenant.plan(plan_id)["state"] == "completed", 30, lambda: tenant.log(plan_id)[-5:])
        assert asked(tenant, plan_id) == {"slow": [1, 2]}


class Hand:
    """An agent of all steps that the test moves by hand: one request after the other, over streams that break."""

    def __init__(self, tenant, tag):
        self.tenant, self.types = tenant, requested(tag, *TYPES)
        self.agent_id = tenant.register("hand", self.types)
        self.got = []  # all requests that came, in order
        self._streams = contextlib.ExitStack()

    def connect(self):
        """Listen, again after the server was killed; the same instance, as the SDK does it."""
        self._streams.close()
        self._streams = contextlib.ExitStack()
        listener = Listener(self.tenant, REQUESTS, name="hand", agent_id=self.agent_id, on_message=self._take)
        self._streams.enter_context(listener)

    def _take(self, envelope):
        if envelope["type"] in self.types:
            self.got.append(envelope)

    def next(self, done):
        """The next request that is not answered yet."""
        return wait_until(lambda: next((one for one in self.got if one["id"] not in done), None), 20, self.told)

    def told(self):
        return f"a request after {[(one['type'], one['id'][-2:]) for one in self.got]}"

    def answer(self, request):
        """As `step_worker.py` does."""
        data, attempt = request["data"], int(request["id"].rpartition(".")[2])
        if attempt <= data.get("fail_first", 0):
            return self.tenant.answer(request, "hand", status="failed", error="broke")
        return self.tenant.answer(request, "hand", result=data["give"])

    def close(self):
        self._streams.close()


@pytest.mark.timeout(300)
def test_a_server_that_is_killed_between_any_two_steps_comes_to_the_same_end(start_server, tag):
    """After every single thing that happens it is killed: each request, answer and decision is tried."""
    server = start_server()
    with contextlib.closing(Tenant(server, "w")) as tenant, contextlib.closing(Hand(tenant, tag)) as hand:
        plan_id, done, lost = declare(tenant, everything(tag, timeout=30)), set(), []
        killed(server, hand)  # between the plan and its first step
        while True:
            state = tenant.plan(plan_id)
            if state["state"] == "completed":
                break
            if card := pending_approval(tenant, plan_id):
                decide(tenant, card)
            else:
                request = hand.next(done)
                done.add(request["id"])
                if request["data"].get("silent_first") and request["id"].endswith(".1"):
                    lost.append(request)  # its holder loses its connection, with the server, before it answers
                else:
                    hand.answer(request)
            killed(server, hand)
        came_to_its_end(tenant, plan_id)
        attempts = asked(tenant, plan_id)
        assert attempts["approval"] == [1]
        assert attempts["brakes"][:2] == [1, 2]
        assert len(attempts["slow"]) >= 2
        assert lost
        assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in attempts.values())
        # Each attempt was handed over once, so a further one was asked for only when that one had failed or was lost.
        handed = Counter(tenant.task(task)["event_type"].partition("-")[0] for task in tenant.handed(plan_id))
        assert handed == {type: len(numbers) for type, numbers in attempts.items() if type != "approval"}
        assert [row["seq"] for row in tenant.log(plan_id)] == list(range(1, tenant.plan(plan_id)["seq"] + 1))


def killed(server, hand):
    """SIGKILL, and everything begins anew where it was."""
    server.kill()
    server.start()
    with contextlib.suppress(httpx.TransportError):
        hand.tenant.http.get("/health")  # a connection of before is found out
    hand.connect()
