"""`manage.py demo` from outside: the server and all examples together, and nothing left of them afterwards."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.services.process import ROOT, Process, clean_environment
from tests.services.redis import free_port
from tests.services.waiting import wait_until
from tests.test_events_page import named_in

BOUND = ("--workspace", "default", "--tenant", "demo", "--user", "fleet")


class Demo(Process):
    """The demo on a free port with a data folder of its own, quick."""

    def __init__(self, data_dir):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = clean_environment(SOORMA_DATA_DIR=str(data_dir), EXAMPLE_PACE="0.02")
        super().__init__(
            [sys.executable, "manage.py", "demo", "--port", str(self.port), "--every", "0.5"], env=environment
        )

    def start(self):
        super().start()
        self.wait_for_output("What to look at", 60)

    def close(self):
        # Not killed: it would leave behind what it started.
        if self.running:
            assert self.stop(40) == 0, self.output
        super().close()

    def key(self):
        """A key for what the demo's agents do."""
        command = [sys.executable, "manage.py", "create_api_key", *BOUND]
        return subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with Demo(tmp_path_factory.mktemp("demo")) as process:
        yield process


@pytest.fixture(scope="module")
def key(demo):
    return demo.key()


def children_of(pid):
    """The ids of the processes that this one has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(status.parent.name))
    return found


def items(url, key, path):
    """What a list of the API answers."""
    answer = httpx.get(f"{url}/v1/tracker/{path}", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    answer.raise_for_status()
    return answer.json()["items"]


def endings(url, key):
    """How plans ended, by what they were about."""
    return {(plan["goal_event"], plan["state"]) for plan in items(url, key, "plans") if plan["completed_at"]}


def test_the_demo_shows_plans_that_complete_fail_and_close_on_their_own(demo, key):
    wanted = {
        ("maintenance.goal", "completed"),
        ("maintenance.goal", "failed"),
        ("tyre check of truck-4", "completed"),
    }
    wait_until(lambda: endings(demo.url, key) == wanted, 60, lambda: f"{endings(demo.url, key)}\n{demo.output}")


def test_the_logs_of_its_plans_hold_no_type_that_the_documents_do_not_name(demo, key):
    wait_until(lambda: endings(demo.url, key), 60, lambda: demo.output)
    plans = [plan["plan_id"] for plan in items(demo.url, key, "plans")]
    rows = [row for plan in plans for row in items(demo.url, key, f"plans/{plan}/log")]
    assert {row["type"] for row in rows if row["kind"] != "message"} - named_in("What the log writes itself") == set()


def test_a_person_is_asked_and_the_plan_goes_on(demo, key):
    """Within moments, as the demo of the tests is quick: nobody says anything, and that agrees."""

    def asked():
        answer = httpx.get(f"{demo.url}/v1/approvals", headers={"Authorization": f"Bearer {key}"}, trust_env=False)
        return [one for one in answer.json()["items"] if one["delivered_at"]]

    card = wait_until(asked, 60, lambda: demo.output)[0]
    assert (card["title"], card["state"], card["decision"]) == ("Take the last gearbox?", "expired", "approve")
    where = f"plans/{card['plan_id']}/tasks"
    wait_until(
        lambda: {task["state"] for task in items(demo.url, key, where)} == {"completed"}, 30, lambda: demo.output
    )


def test_its_link_signs_in(demo):
    link = re.search(r"Dashboard +(\S+)", demo.output)[1]
    with httpx.Client(follow_redirects=True, trust_env=False) as browser:
        page = browser.get(link)
        if page.url.path != "/plans":
            page = browser.post(page.url, data={"csrfmiddlewaretoken": browser.cookies["csrftoken"]})
    assert (page.status_code, page.url.path) == (200, "/plans")


def test_the_client_gets_its_answer(demo, key):
    done = subprocess.run(
        [sys.executable, "examples/client.py", "van-1", "battery"],
        cwd=ROOT,
        env={**demo.env, "SOORMA_EVENT_SERVICE_URL": demo.url, "SOORMA_TOKEN": key},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + demo.output
    assert "the plan is completed, 5 of 5 tasks completed" in done.stdout


def test_it_ends_all_that_it_started_and_its_key(tmp_path):
    with Demo(tmp_path) as demo:
        started = children_of(demo.pid)
        assert len(started) == 7
        assert demo.stop(40) == 0
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    with sqlite3.connect(tmp_path / "soorma.sqlite3") as database:
        keys = database.execute("SELECT revoked_at IS NOT NULL FROM accounts_apikey WHERE name = 'demo'").fetchall()
    database.close()
    assert keys == [(1,)]
