"""Agents of the real SDK die, come back, fall silent, or take long: what their tasks look like to who watches."""

import contextlib
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.company import AGENTS
from tests.e2e.plain import Tenant
from tests.e2e.test_pages import live, row
from tests.services.agents import AgentProcess
from tests.services.proxy import Proxy
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

GRACE = 1.0
GRACES = {"STALL": str(GRACE), "START": "3", "HEARTBEAT": "2"}


@pytest.fixture(scope="module")
def brisk():
    """A server that does not wait long for an agent."""
    graces = {f"SOORMA_{name}_GRACE_SECONDS": seconds for name, seconds in GRACES.items()}
    with ServerProcess(**graces, SOORMA_AGENT_TTL_SECONDS="2") as process:
        yield process


@pytest.fixture(scope="module")
def tenant(brisk):
    with contextlib.closing(Tenant(brisk, "liveness")) as one:
        yield one


class Staff:
    """Busy workers of one name and type; each is at work until it may finish."""

    def __init__(self, tenant, folder):
        self.tenant, self.folder, self.stack = tenant, folder, contextlib.ExitStack()
        self.name = f"worker-{uuid4().hex[:8]}"
        self.type = f"{self.name}.requested"

    def hire(self, agent_id, server=None):
        arguments = (self.name, self.type, agent_id, str(self.folder), "0.3")
        agent = AgentProcess(server or self.tenant.server, AGENTS / "busy_worker.py", self.tenant.key, *arguments)
        return self.stack.enter_context(agent)

    def may_finish(self, agent_id):
        (self.folder / f"{agent_id}.done").touch()

    def ask(self, **data):
        task_id = f"task-{uuid4().hex[:8]}"
        self.tenant.ask(self.type, data, task_id=task_id, plan_id=f"plan-{task_id}")
        return task_id

    def hand_out(self, count):
        """Ask for so many tasks, one after the other; gives them by the agents that hold them, in turn."""
        tasks = [self.ask() for _ in range(count)]
        return {wait_until(lambda: self.tenant.task(task)["agent_id"], 20): task for task in tasks}  # noqa: B023

    def stalled(self, task_id, reason, seconds=20):
        wait_until(
            lambda: (self.tenant.task(task_id)["stalled_reason"] or "") == reason,
            seconds,
            lambda: f"{reason!r}: {self.tenant.task(task_id)}",
        )


@pytest.fixture
def staff(tenant, tmp_path):
    one = Staff(tenant, tmp_path)
    with one.stack:
        yield one


@pytest.fixture
def watch(brisk, browser, console_errors):
    """Open the page of a task's plan."""
    contexts = []

    def watch(task_id):
        brisk.member("vera", "liveness", "viewer")
        context = browser.new_context(base_url=brisk.base_url)
        contexts.append(context)
        page = context.new_page()
        console_errors.watch(page)
        page.goto(brisk.sign_in_link("vera"))
        page.goto(f"/plans/plan-{task_id}")
        live(page)
        return page

    yield watch
    for context in contexts:
        context.close()


def test_a_killed_worker_is_seen_on_the_open_page_and_its_successor_takes_over_nothing(staff, watch, shots):
    worker = staff.hire("w-1")
    task = staff.ask()
    worker.wait_for_output(f"got {task}")
    page = watch(task)
    expect(row(page, staff.name)).to_contain_text("Running")
    worker.kill()
    expect(row(page, staff.name)).to_contain_text("Stalled", timeout=(GRACE + 5) * 1000)
    expect(row(page, staff.name)).to_contain_text("disconnected")
    expect(page.locator("[data-f=stalled]")).to_have_text("1 stalled")
    row(page, staff.name).click()
    expect(page.locator("#panel")).to_contain_text("Stalled: the connection of its agent was lost. Since ")
    shots(page, "stalled-plan")
    page.goto("/plans")
    expect(page.get_by_role("row", name=f"plan-{task}")).to_contain_text("1 stalled")
    staff.hire("w-1")
    staff.stalled(task, "restarted")


def test_a_worker_that_is_restarted_at_once_under_its_id_has_lost_its_task(staff):
    worker = staff.hire("w-1")
    task = staff.ask()
    worker.wait_for_output(f"got {task}")
    worker.kill()
    worker.start()
    staff.stalled(task, "restarted")
    fresh = staff.ask()
    worker.wait_for_output(f"got {fresh}")
    staff.may_finish("w-1")
    wait_until(lambda: staff.tenant.task(fresh)["state"] == "completed", 20)
    assert staff.tenant.task(task)["stalled_reason"] == "restarted"
    assert staff.tenant.task(fresh)["stalled"] is False


def test_after_a_restart_of_the_server_only_who_is_gone_is_called_stalled(staff, brisk):
    # A busy agent of the SDK reads its stream, and sees that it has ended, only when its work is done.
    busy, dead = staff.hire("w-busy"), staff.hire("w-dead")
    tasks = staff.hand_out(2)
    busy.wait_for_output(f"got {tasks['w-busy']}")
    brisk.kill()
    dead.kill()
    brisk.start()
    staff.stalled(tasks["w-dead"], "disconnected")
    assert staff.tenant.task(tasks["w-busy"])["stalled"] is False
    staff.may_finish("w-busy")
    wait_until(lambda: staff.tenant.task(tasks["w-busy"])["state"] == "completed", 20, lambda: busy.output)
    assert [r for r in staff.tenant.log(f"plan-{tasks['w-busy']}") if r["type"] == "task.stalled"] == []


class Behind:
    """A server as an agent behind a proxy sees it."""

    def __init__(self, server, proxy):
        self.server, self.proxy = server, proxy

    def agent_env(self, key):
        mine = self.server.agent_env(key)
        return {n: v.replace(self.server.base_url, self.proxy.base_url) for n, v in mine.items()}


def test_a_worker_in_a_black_hole_falls_silent_while_a_busy_one_does_not(staff, brisk):
    with Proxy(brisk.port) as proxy:
        cut_off = staff.hire("w-cut-off", server=Behind(brisk, proxy))
        busy = staff.hire("w-busy")
        held = staff.hand_out(2)
        task, other = held["w-cut-off"], held["w-busy"]
        cut_off.wait_for_output(f"got {task}")
        busy.wait_for_output(f"got {other}")
        proxy.passing.clear()
        staff.stalled(task, "silent")
        assert staff.tenant.task(other)["stalled"] is False
        proxy.passing.set()
        staff.stalled(task, "")
        for one in ("w-cut-off", "w-busy"):
            staff.may_finish(one)
        wait_until(lambda: {staff.tenant.task(one)["state"] for one in (task, other)} == {"completed"}, 20)
    marks = [r["type"] for r in staff.tenant.log(f"plan-{task}") if r["type"] in ("task.stalled", "task.alive")]
    assert marks == ["task.stalled", "task.alive"]
    assert [r for r in staff.tenant.log(f"plan-{other}") if r["type"] == "task.stalled"] == []


def test_another_instance_takes_over_and_the_late_answer_of_the_first_is_refused(brisk, tmp_path):
    with contextlib.closing(Tenant(brisk, "second-chances")) as tenant, Proxy(brisk.port) as proxy:
        with brisk.client(brisk.api_key("second-chances")) as admin:
            policy = {"action": "retry", "attempts": 2, "backoff": 0}
            assert admin.put("/v1/policies", json={"items": [policy]}).status_code == 200
        staff = Staff(tenant, tmp_path)
        with staff.stack:
            first = staff.hire("w-first", server=Behind(brisk, proxy))
            task = staff.ask()
            first.wait_for_output(f"got {task}")
            second = staff.hire("w-second")
            proxy.passing.clear()
            second.wait_for_output(f"got {task}")
            proxy.passing.set()
            staff.may_finish("w-first")
            first.wait_for_output(f"answered {task}")
            assert tenant.task(task)["state"] == "running"
            staff.may_finish("w-second")
            wait_until(lambda: tenant.plan(f"plan-{task}")["state"] == "completed", 20, lambda: second.output)
        log = tenant.log(f"plan-{task}")
    moves = [
        (row["to_state"], row["data"].get("attempt"), row["data"].get("agent_id")) for row in log if row["version"]
    ]
    assert [move for move in moves if move[0] in ("pending", "running")] == [
        ("pending", 1, None), ("running", None, "w-first"), ("pending", 2, ""), ("running", None, "w-second"),
    ]  # fmt: skip
    answers = [row for row in log if row["topic"] == "action-results"]
    assert [(row["data"]["result"]["by"], row["refused"]) for row in answers] == [
        ("w-first", True),
        ("w-second", False),
    ]
