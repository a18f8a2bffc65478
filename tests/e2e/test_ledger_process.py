"""The server and the process of its ledger: either dies, or is told to end, under load."""

import contextlib
import os
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.plain import FACTS, Tenant
from tests.services.process import Process, clean_environment
from tests.services.waiting import wait_until

PUBLISHERS = 4


def gone(pid):
    """Whether a process has ended, buried or not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


class Load:
    """Publishes facts of one plan from several connections until it is ended; keeps what was acknowledged."""

    def __init__(self, tenant):
        self.tenant, self.acknowledged, self.refused, self._end = tenant, [], 0, threading.Event()

    def __enter__(self):
        self._pool = ThreadPoolExecutor(PUBLISHERS)
        self._running = [self._pool.submit(self._publish) for _ in range(PUBLISHERS)]
        return self

    def _publish(self):
        with self.tenant.server.client(self.tenant.key) as client, contextlib.suppress(httpx.TransportError):
            while not self._end.is_set():
                event = self.tenant.envelope(FACTS, "load.went_on", plan_id="load", correlation_id="load")
                answer = client.post("/v1/events/publish", json={"event": event})
                if answer.status_code == 200:
                    self.acknowledged.append(event["id"])
                else:
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
                    self.refused += 1

    def more(self, count):
        """Wait until so many more are acknowledged."""
        target = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= target, 60, lambda: self.tenant.server.log[-3000:])

    def __exit__(self, *error):
        self._end.set()
        self._pool.shutdown()
        if not any(error):
            for one in self._running:
                one.result()


def recorded(tenant):
    """The events in the log of the load's plan, which has no gap."""
    rows = tenant.log("load")
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    events = [row["event_id"] for row in rows if row["kind"] == "message"]
    assert len(events) == len(set(events))
    return set(events)


def figure(tenant, name):
    """A figure without labels of /metrics."""
    with tenant.server.client() as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return next(family.samples[0].value for family in families if family.name == name)


@pytest.fixture
def loaded(start_server):
    def begin(**options):
        server = start_server(**{"SOORMA_LEDGER_PROCESSES": "1"} | options)
        tenant = Tenant(server, "w")
        tenant.publish("action-requests", "load.requested", {"task_id": "t"}, plan_id="load", correlation_id="load")
        opened.append(tenant)
        return Load(tenant)

    opened = []
    yield begin
    for tenant in opened:
        tenant.close()


@pytest.fixture(params=[("daphne", "sqlite"), ("uvicorn", "postgresql")], ids=" on ".join)
def options(request):
    """Of a server: each kind, each database."""
    kind, database = request.param
    if database == "sqlite":
        return {"server": kind}
    return {"server": kind, "DATABASE_URL": request.getfixturevalue("postgres").new_database()}


def test_when_the_ledgers_process_is_killed_the_server_goes_on(loaded, options):
    with loaded(**options) as load:
        server = load.tenant.server
        [ledger] = server.children
        load.more(50)
        assert figure(load.tenant, "soorma_ledger_processes") == 1
        os.kill(ledger, signal.SIGKILL)
        load.more(50)
        assert figure(load.tenant, "soorma_ledger_processes") == 0
    assert set(load.acknowledged) <= recorded(load.tenant)
    assert load.refused <= PUBLISHERS  # what it was recording
    assert "the ledger's process has ended" in server.log
    with server.client() as client:
        assert client.get("/ready").status_code == 200


def test_who_comes_while_a_batch_is_on_its_way_is_told_of_it(start_server):
    server = start_server(SOORMA_LEDGER_PROCESSES="1")
    [ledger] = server.children
    with contextlib.closing(Tenant(server, "w")) as tenant, ThreadPoolExecutor(2) as pool:
        tenant.ask(task_id="first", plan_id="load")
        seq = len(tenant.log("load"))
        os.kill(ledger, signal.SIGSTOP)
        asked = pool.submit(tenant.ask, task_id="second", plan_id="load")
        wait_until(lambda: figure(tenant, "soorma_writer_waiting") == 1)
        poll = {"stream": "plan:load", "after": seq, "wait": 4}  # well below the time between two heads
        with server.client(tenant.key) as client:
            polled = pool.submit(client.get, "/v1/live", params=poll)
            wait_until(lambda: figure(tenant, "soorma_live_subscriptions") == 1)
            os.kill(ledger, signal.SIGCONT)
            asked.result()
            rows = [row for frame in polled.result().json()["frames"] for row in frame["rows"]]
        assert [row["seq"] for row in rows] == [seq + 1, seq + 2]


def test_when_the_server_is_killed_its_ledgers_processes_end_by_themselves(loaded, postgres):
    with loaded(DATABASE_URL=postgres.new_database(), SOORMA_LEDGER_PROCESSES="2") as load:
        process = load.tenant.server
        ledgers = process.children
        load.more(50)
        process.kill(alone=True)
        wait_until(lambda: all(map(gone, ledgers)), 10, lambda: "the end of the ledger's processes")
    process.start()
    assert set(load.acknowledged) <= recorded(load.tenant)


def test_told_to_end_together_they_end_cleanly(loaded, options):
    """As a service manager and a terminal do it: the signal goes to all processes at once."""
    with loaded(**options) as load:
        process = load.tenant.server
        [ledger] = process.children
        load.more(50)
        os.killpg(process.pid, signal.SIGTERM)
        wait_until(lambda: not process.process.running, 20, lambda: process.log[-3000:])
    assert process.process.returncode == 0
    assert gone(ledger)
    process.start()
    assert set(load.acknowledged) <= recorded(load.tenant)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_server_that_cannot_listen_ends_with_its_ledger(server, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "manage.py", "serve", "--port", str(taken.getsockname()[1]), "--server", server]
        env = clean_environment(SOORMA_DATA_DIR=str(tmp_path), SOORMA_LEDGER_PROCESSES="1")
        with Process(command, env=env) as process:
            wait_until(lambda: not process.running, 30, lambda: process.output)
            assert "in use" in process.output
            assert process.returncode != 0


def test_without_a_process_a_thread_records(start_server):
    server = start_server(SOORMA_LEDGER_PROCESSES="0")
    assert server.children == []
    with contextlib.closing(Tenant(server, "w")) as tenant:
        tenant.ask(task_id="t", plan_id="load")
        assert tenant.task("t")["state"] == "pending"
        assert figure(tenant, "soorma_ledger_processes") == 0
