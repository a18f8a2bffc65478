"""One tenant's side of the wire, without the SDK: for what the SDK cannot be made to do."""

import contextlib
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Self
from uuid import uuid4

import httpx

from tests.services.waiting import wait_until

REQUESTS, RESULTS, FACTS = "action-requests", "action-results", "system-events"


class Tenant:
    """A tenant of a workspace, with a key of its own; unbound when `bound` is False."""

    def __init__(self, server, workspace, tenant="acme", user="alice", *, bound=True, **options):
        self.server, self.workspace, self.tenant, self.user = server, workspace, tenant, user
        self.key = server.api_key(workspace, *((tenant, user) if bound else ()), **options)
        self.http = server.client(self.key)

    def close(self):
        self.http.close()

    # -- publish ------------------------------------------------------------------------------------------------------

    def envelope(self, topic, type, data=None, **more):
        base = {"id": str(uuid4()), "source": "planner", "tenant_id": self.tenant, "user_id": self.user}
        return base | {"topic": topic, "type": type, "data": data or {}} | more

    def publish(self, topic, type, data=None, **more):
        """Publish an event and give its envelope."""
        return self.send(self.envelope(topic, type, data, **more))

    def send(self, envelope, client=None):
        answer = (client or self.http).post("/v1/events/publish", json={"event": envelope})
        assert answer.status_code == 200, answer.text
        assert answer.json()["event_id"] == envelope["id"], answer.text
        return envelope

    def send_all(self, envelopes, connections=8):
        """Publish all of them without a pause, over several connections at once, in this order on each of them."""
        with ThreadPoolExecutor(connections) as pool:
            parts = [pool.submit(self._send_part, envelopes[n::connections]) for n in range(connections)]
            for part in parts:
                part.result()

    def _send_part(self, envelopes):
        # The standard library's client costs a third of httpx, and here the client is what takes the time.
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        with contextlib.closing(HTTPConnection("127.0.0.1", self.server.port, timeout=60)) as connection:
            for envelope in envelopes:
                connection.request("POST", "/v1/events/publish", json.dumps({"event": envelope}), headers)
                answer = connection.getresponse()
                said = json.loads(answer.read())
                assert (answer.status, said.get("event_id")) == (200, envelope["id"]), said

    def ask(self, type="parts.check.requested", data=None, *, task_id=None, **more):
        """A request for a task, in `plan_id` when that is given."""
        task_id = task_id or f"task-{uuid4().hex[:12]}"
        more = {"correlation_id": task_id, "response_event": answer_to(type)} | more
        return self.publish(REQUESTS, type, {"task_id": task_id, **(data or {})}, **more)

    def answer(self, request, source="worker", client=None, **data):
        """The result of a request."""
        more = {name: request[name] for name in ("correlation_id", "plan_id") if name in request}
        data = {"task_id": request["data"].get("task_id"), "status": "completed", **data}
        return self.send(
            self.envelope(RESULTS, request.get("response_event", answer_to(request["type"])), data, source=source)
            | more,
            client,
        )

    # -- agents -------------------------------------------------------------------------------------------------------

    def register(self, name, consumes=(), agent_id=None):
        """Register an agent as the SDK does; gives its id."""
        agent_id = agent_id or f"{name}-{uuid4().hex[:8]}"
        agent = {
            "agentId": agent_id, "name": f"{name}:1.0.0", "description": "", "capabilities": [],
            "consumedEvents": list(consumes), "producedEvents": [],
        }  # fmt: skip
        answer = self.http.post("/v1/agents", json={"agent": agent})
        assert answer.status_code == 200, answer.text
        return agent_id

    def sign_off(self, agent_id):
        assert self.http.delete(f"/v1/agents/{agent_id}").is_success

    # -- ask the tracker ----------------------------------------------------------------------------------------------

    def get(self, path):
        answer = self.http.get(f"/v1/tracker/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def plan(self, plan_id):
        """The plan, None when it is unknown."""
        answer = self.http.get(f"/v1/tracker/plans/{plan_id}")
        return answer.json() if answer.status_code == 200 else None

    def tasks(self, plan_id):
        """All tasks of a plan."""
        return self._pages(f"plans/{plan_id}/tasks")

    def all_tasks(self):
        """All tasks of all plans."""
        return self._pages("tasks")

    def connected(self, agent_id):
        """Whether the server runs and has this agent's stream open."""
        try:
            frames = self.http.get("/v1/live", params={"stream": "agents", "wait": 0}).json()["frames"]
        except httpx.TransportError:
            return False
        items = [item for frame in frames for item in frame.get("data", {}).get("items", ())]
        return any(item["agent_id"] == agent_id and item["connected"] for item in items)

    def states(self, plan_id):
        """The states of a plan's tasks, by task id."""
        return {task["task_id"]: task["state"] for task in self.tasks(plan_id)}

    def task(self, task_id):
        return self.get(f"tasks/{task_id}")

    def log(self, plan_id):
        """All rows of a plan's log."""
        rows, after = [], 0
        while page := self.get(f"plans/{plan_id}/log?after={after}&limit=200")["items"]:
            rows += page
            after = page[-1]["seq"]
        return rows

    def group_of(self, parent_id):
        """The delegation group of a task; its worker made the id, and stored it in the context of the task."""
        plan_id = self.task(parent_id)["plan_id"]
        sub_task = next(task["task_id"] for task in self.tasks(plan_id) if task["parent_task_id"] == parent_id)
        context = self.http.get(f"/v1/memory/task-context/by-subtask/{sub_task}").json()
        [group_id] = {sub["parallel_group_id"] for sub in context["state"]["_sub_tasks"].values()}
        return group_id

    def handed(self, plan_id):
        """Which tasks have been handed over, one entry each time."""
        return [
            row["task_id"]
            for row in self.log(plan_id)
            if row["reason"] and ("handed" in row["reason"] or "connection ended" in row["reason"])
        ]

    def _pages(self, path):
        items, cursor = [], ""
        while True:
            page = self.get(f"{path}?limit=200{cursor}")
            items += page["items"]
            if not page["next_cursor"]:
                return items
            cursor = f"&cursor={page['next_cursor']}"


class Listener:
    """A stream that is open: `messages` are the envelopes that came, `frames` everything."""

    def __init__(self, tenant, *topics, name, agent_id=None, on_message=None):
        self.tenant, self.name, self.agent_id = tenant, name, agent_id or f"{name}-{uuid4().hex[:8]}"
        self.on_message = on_message or (lambda envelope: None)
        self.frames, self.messages, self.end = [], [], None
        self.query = f"topics={','.join(topics)}&agent_id={self.agent_id}&agent_name={name}"
        self._leaving = False
        self._socket = None
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.frames or self.end, 20, lambda: "a stream")
        assert self.frames, self.end
        return self

    def __exit__(self, *error):
        self.leave()

    def leave(self):
        """Close the connection from this side, at once."""
        self._leaving = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def ended(self, seconds=20):
        """How the stream ended: `cleanly`, or the error."""
        wait_until(lambda: self.end, seconds, "the stream's end")
        return self.end

    def heard(self, count, seconds=20):
        """Wait until so many messages have come, and give them."""
        wait_until(lambda: len(self.messages) >= count, seconds, lambda: f"{count} messages, not {len(self.messages)}")
        return self.messages

    @property
    def ids(self):
        """Event ids of what came, in order."""
        return [one["id"] for one in self.messages]

    def ids_of(self, type):
        """Event ids of what came of one type, in order."""
        return [one["id"] for one in self.messages if one["type"] == type]

    def types(self):
        return [one["type"] for one in self.messages]

    def _listen(self):
        try:
            with (
                self.tenant.server.client(self.tenant.key) as client,
                client.stream("GET", f"/v1/events/stream?{self.query}", timeout=None) as answer,
            ):
                if answer.status_code != 200:
                    self.end = f"{answer.status_code} {answer.read().decode()}"
                    return
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                self._read(answer.iter_lines())
            self.end = "cleanly"
        except httpx.TransportError as error:
            self.end = "left" if self._leaving else repr(error)

    def _read(self, lines):
        event = ""
        for line in lines:
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
                if event == "message":
                    self.messages.append(data)
                    self.on_message(data)
                self.frames.append((event, data))


class PlainWorker(Listener):
    """A registered agent that answers each request of its types as soon as it comes."""

    def __init__(self, tenant, *types, name, agent_id=None, answers=True):
        self.types_taken, self.done = types, []
        self._client = tenant.server.client(tenant.key)
        super().__init__(tenant, REQUESTS, name=name, agent_id=agent_id, on_message=self._work if answers else None)

    def __enter__(self):
        self.tenant.register(self.name, self.types_taken, self.agent_id)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._client.close()
        # Until the server has seen that it is gone, it may hand over what comes next to it.
        wait_until(lambda: not self.tenant.connected(self.agent_id), 20, "a server that has seen its agent leave")

    def _work(self, envelope):
        if envelope["type"] in self.types_taken:
            self.done.append(envelope["data"]["task_id"])
            self.tenant.answer(envelope, self.name, self._client)


def answer_to(type):
    """The type of the result that answers a request."""
    return type.replace(".requested", ".completed")
