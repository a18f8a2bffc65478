"""`manage.py demo`: the server and the example agents together, so that the dashboard has something to show."""

import http.client
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any, Self
from uuid import uuid4

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from accounts.bootstrap import ensure_default
from accounts.models import ApiKey, Membership, Role

HOST = "127.0.0.1"
TENANT, USER = "demo", "fleet"
START_SECONDS = 60  # that the server may take to answer
END_SECONDS = 15  # that a process may take to end before it is killed
SETTLE_SECONDS = 2  # before the first goal; one that comes too early waits for its planner
# The depot twice: instances of one name share the work.
AGENTS = (
    "fleet_planner.py",
    "parts_worker.py",
    "scheduling_worker.py",
    "depot_worker.py",
    "depot_worker.py",
    "plain_http_agent.py",
)
TYRES = ""  # in place of a part: a plan that needs no planner
RUNS = (
    ("van-7", "brake pads"),
    ("bus-2", "oil filter"),
    ("truck-4", TYRES),
    ("van-3", "flux capacitor"),  # nobody knows this part: its check fails, and the plan with it
    ("bus-9", "battery"),
    ("van-12", "wiper blades"),
    ("bus-4", "gearbox"),  # the last one: a person is asked
)
TELL = """
  Dashboard   {link}
              (signs you in, once)

  What to look at
  - Plans: every {every:g} seconds a goal becomes a plan, and its row moves while you watch.
  - Open one: the parts check runs, then scheduling is delegated to three sub-tasks side by side.
  - The flux capacitor: nobody knows that part, so the check fails, and the plan with it.
  - The gearbox: it is the last one, so the parts worker asks you. Decide in Approvals, or wait two minutes.
  - Tyre checks: answered by an agent without an SDK, in a plan that closes on its own.
  - Agents: the depot runs twice and shares its work.

  Ctrl-C ends the server and the agents. Their data stays in {data}.
"""


class Command(BaseCommand):
    """Starts processes of its own, publishes goals at a gentle rhythm, and ends exactly what it started."""

    help = "Run the server together with live demo agents."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="port to listen on, on 127.0.0.1 only")
        parser.add_argument("--every", type=float, default=10, help="seconds between two goals")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until Ctrl-C, SIGTERM or the terminal's end; CommandError when the server does not start or ends."""
        if importlib.util.find_spec("soorma") is None:
            raise CommandError("The demo's agents need the SDK: `make demo`, or pip install -r requirements-demo.txt")
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
        port, every = options["port"], options["every"]
        if answers(port):
            raise CommandError(f"Something listens on port {port} already: give another --port (make demo PORT=8001)")
        with Processes() as server:
            server.start("manage.py", "serve", "--host", HOST, "--port", str(port), stdout=subprocess.DEVNULL)
            if wait_for(port, server, stop):
                self.play(port, every, server, stop)

    def play(self, port: int, every: float, server: "Processes", stop: threading.Event) -> None:
        """Start the agents, say what to look at, and publish one goal after another."""
        url = f"http://{HOST}:{port}"
        with demo_key(url) as (token, link), Processes() as agents:
            for name in AGENTS:
                agents.start(f"examples/{name}", env=agent_environment(url, token))
            self.stdout.write(TELL.format(link=link, every=every, data=settings.DATA_DIR))
            self.stdout.flush()
            runs, pause = cycle(RUNS), min(every, SETTLE_SECONDS)
            while not stop.wait(pause):
                pause = every
                if server.ended():
                    raise CommandError("The server has ended.")
                for name in agents.ended():
                    self.stderr.write(f"{name} has ended")
                for envelope in events_of(*next(runs)):
                    publish(port, token, envelope)


class Processes:
    """Children that run our own Python and end with this block, the last one started first."""

    def __init__(self) -> None:
        self.running: dict[subprocess.Popen[bytes], str] = {}

    def start(self, script: str, *args: str, env: dict[str, str] | None = None, stdout: int | None = None) -> None:
        """Start a script of this project. In a session of its own: Ctrl-C is for us, who end them in order."""
        argv = [sys.executable, script, *args]
        child = subprocess.Popen(argv, cwd=settings.BASE_DIR, env=env, stdout=stdout, start_new_session=True)
        self.running[child] = script

    def ended(self) -> list[str]:
        """The scripts that have ended by themselves since the last call."""
        over = [child for child in self.running if child.poll() is not None]
        return [self.running.pop(child) for child in over]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        children = list(reversed(self.running))
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def demo_key(url: str) -> Iterator[tuple[str, str]]:
    """A key for the agents, revoked afterwards, and a sign-in link of an admin who sees what they do."""
    link = ensure_default(url) or url
    admin = Membership.objects.filter(role=Role.ADMIN).select_related("workspace").order_by("pk")[0]
    key, token = ApiKey.objects.issue(
        admin.workspace, name="demo", scopes=("publish", "read"), tenant_id=TENANT, user_id=USER
    )
    connections.close_all()
    try:
        yield token, link
    finally:
        key.revoke()
        connections.close_all()


def agent_environment(url: str, token: str) -> dict[str, str]:
    """Our environment with what an agent needs to find the server."""
    services = ("REGISTRY", "EVENT_SERVICE", "MEMORY", "TRACKER")
    urls = {f"SOORMA_{name}_URL": url for name in services}
    return {**os.environ, **urls, "SOORMA_TOKEN": token, "SOORMA_TENANT": TENANT, "SOORMA_USER": USER}


def events_of(vehicle: str, part: str) -> list[dict[str, Any]]:
    """The events that set one run off."""
    run = str(uuid4())
    if part == TYRES:
        started = {"plan_id": run, "goal": f"tyre check of {vehicle}", "total_actions": 1}
        return [
            event("plan.started", "system-events", run, started, plan_id=run),
            event(
                "tyres.check.requested",
                "action-requests",
                run,
                {"vehicle": vehicle},
                answer="tyres.check.completed",
                plan_id=run,
            ),
        ]
    wanted = {"vehicle": vehicle, "part": part}
    return [event("maintenance.goal", "action-requests", run, wanted, answer="maintenance.completed")]


def event(
    type: str, topic: str, run: str, data: dict[str, Any], *, answer: str | None = None, plan_id: str | None = None
) -> dict[str, Any]:
    """An envelope of the demo's own."""
    return {
        "source": "demo",
        "type": type,
        "topic": topic,
        "correlation_id": run,
        "tenant_id": TENANT,
        "user_id": USER,
        "data": data,
        "response_event": answer,
        "response_topic": answer and "action-results",
        "plan_id": plan_id,
    }


def publish(port: int, token: str, envelope: dict[str, Any]) -> None:
    """Publish an event; CommandError when the server does not take it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        status, body = ask(port, "POST", "/v1/events/publish", json.dumps({"event": envelope}), headers)
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"The server does not answer: {error}") from error
    if status != 200:
        raise CommandError(f"The server refused a goal of the demo: {status} {body.decode(errors='replace')}")


def wait_for(port: int, server: Processes, stop: threading.Event) -> bool:
    """Whether the server is up; False when we are told to stop. CommandError when it ends or never answers."""
    deadline = time.monotonic() + START_SECONDS
    while not stop.wait(0.1):
        if server.ended():
            raise CommandError("The server could not start; what it said is above.")
        if answers(port):
            return True
        if time.monotonic() > deadline:
            raise CommandError(f"The server did not answer within {START_SECONDS} seconds.")
    return False


def answers(port: int) -> bool:
    """Whether something speaks HTTP on the port."""
    try:
        ask(port, "GET", "/health")
    except (OSError, http.client.HTTPException):
        return False
    return True


def ask(
    port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One HTTP request to the server: status and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
