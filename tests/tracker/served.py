"""The whole application in this process, with everything that runs in its background, and agents that call it."""

import asyncio
import threading
from contextlib import asynccontextmanager

import httpx
from channels.testing import WebsocketCommunicator
from django.db import connection, transaction

from soorma_site.asgi import application
from tests.accounts.factories import make_key
from tests.tracker.live_client import HOST, PATIENCE, in_thread
from tracker import writer
from tracker.runtime import runtime

PROBLEM = "application/problem+json"


def an_event(**fields):
    """An envelope; a field that is None is left out."""
    event = {
        "source": "parts-planner",
        "type": "parts.check.requested",
        "topic": "action-requests",
        "tenant_id": "acme",
        "user_id": "alice",
        "data": {},
    } | fields
    return {name: value for name, value in event.items() if value is not None}


def code(response):
    """Status and code of a problem."""
    assert response.headers["Content-Type"] == PROBLEM, response.text
    body = response.json()
    assert {"type", "title", "status", "detail", "code"} <= set(body)
    assert body["status"] == response.status_code
    return response.status_code, body["code"]


@asynccontextmanager
async def served():
    """An HTTP client of the application, which runs until the end."""
    runtime.ensure_started()
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            yield http
    finally:
        await runtime.stop()


@asynccontextmanager
async def database_held():
    """Nothing is written until the end: somebody else has the lock that every commit needs."""
    held, free = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("LOCK TABLE tracker_logrow IN EXCLUSIVE MODE")
            held.set()
            free.wait()

    holder = asyncio.create_task(in_thread(hold))
    try:
        await asyncio.to_thread(held.wait)
        yield
    finally:
        free.set()
        await holder


async def waiting(count):
    """Whether so many changes wait to be written."""
    return writer.waiting() >= count


class Agent:
    """Calls the application with a key of its own."""

    def __init__(self, http, token):
        self.http, self.token = http, token

    @classmethod
    async def of(cls, http, workspace, tenant=None, user=None, scopes=("publish", "read", "act")):
        _, token = await in_thread(
            lambda: make_key(workspace, tenant_id=tenant, user_id=user, scopes=list(scopes)),
        )
        return cls(http, token)

    async def call(self, method, path, body=None, **headers):
        """`body`: an object, or bytes to be sent as they are."""
        given = {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
        headers = {"Authorization": f"Bearer {self.token}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        response = await self.http.request(method, path, headers=headers, **given)
        assert "Location" not in response.headers
        return response

    async def get(self, path):
        return await self.call("GET", path)

    async def post(self, path, body=None, **headers):
        return await self.call("POST", path, body, **headers)

    async def publish(self, **fields):
        return await self.post("/v1/events/publish", {"event": an_event(**fields)})

    async def batch(self, events, **headers):
        return await self.post("/v1/events/batch", events, **headers)

    async def log(self, plan_id):
        response = await self.get(f"/v1/tracker/plans/{plan_id}/log")
        return response.json()["items"]


class Socket:
    """An agent's socket to /ws/agent."""

    def __init__(self, token="", path="/ws/agent"):
        headers = [HOST, (b"authorization", f"Bearer {token}".encode())] if token else [HOST]
        self.socket = WebsocketCommunicator(application, path, headers=headers)

    async def __aenter__(self):
        accepted, _ = await self.socket.connect(timeout=PATIENCE)
        assert accepted
        return self

    async def __aexit__(self, *error):
        await self.socket.disconnect(timeout=PATIENCE)

    async def say(self, *events):
        for event in events:
            await self.socket.send_json_to(event)

    async def say_raw(self, frame):
        await self.socket.send_to(**{"text_data" if isinstance(frame, str) else "bytes_data": frame})

    async def hear(self):
        return await self.socket.receive_json_from(PATIENCE)

    async def acks(self, count):
        return [await self.hear() for _ in range(count)]

    async def closed(self):
        """The code that the server closes with."""
        message = await self.socket.receive_output(PATIENCE)
        assert message["type"] == "websocket.close", message
        return message["code"]
