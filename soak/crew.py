"""The load: publishers, workers and a planner of one tenant, in a thread with an event loop of its own.

They know several addresses and go to another one when the first does not answer. They try again, with the same event
id, until they are told that it is recorded; what they are told goes into the books.
"""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self
from uuid import uuid4

import httpx

from soak.books import Books
from soak.stage import Stage
from tests.e2e.plain import FACTS, REQUESTS, RESULTS, answer_to

KINDS = ("soak.check.requested", "soak.order.requested")
AGAIN = {429, 502, 503, 504}  # answers after which the same is to be tried again
SILENCE = 40.0  # seconds on a stream, whose heartbeat comes every 15
Envelope = dict[str, Any]


class Crew:
    """`with Crew(stage, books):` publishes and works until the block ends; `pause()` lets the publishers alone rest."""

    def __init__(
        self, stage: Stage, books: Books, *, publishers: int = 8, workers: int = 2, rest: float = 0.02
    ) -> None:
        """`workers`: instances of each agent name; `rest`: at most so many seconds between requests of a publisher."""
        self.books = books
        self._addresses, self._key = stage.addresses, stage.key
        self._publishers, self._workers, self._rest = publishers, workers, rest
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crew", daemon=True)
        self._began = threading.Event()
        self._idle = 0
        self._names: dict[str, list[str]] = {}
        self._kinds: dict[str, list[str]] = {}  # by agent name, what it consumes

    def __enter__(self) -> Self:
        self.new_plans()
        self._thread.start()
        self._began.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        assert not self._thread.is_alive(), "the load does not end"

    def new_plans(self, number: int = 5) -> list[str]:
        """What is published from now on belongs to new plans."""
        self._plans = [f"soak-{uuid4().hex[:16]}" for _ in range(number)]
        self.books.plans += self._plans
        return self._plans

    def pause(self) -> None:
        """Publish no more; returns when each publisher has its answer, or has given up."""
        asyncio.run_coroutine_threadsafe(self._pause(), self._loop).result(120)

    def go_on(self) -> None:
        """Publish again."""
        self._loop.call_soon_threadsafe(self._publishing.set)

    # -- inside the thread --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over, self._publishing, self._resting = asyncio.Event(), asyncio.Event(), asyncio.Condition()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(
            headers=headers, limits=limits, timeout=httpx.Timeout(10, read=30), trust_env=False, verify=False
        ) as self._http:
            await self._register_all()
            self._publishing.set()
            work = [self._publish(number) for number in range(self._publishers)]
            work += [self._listen(name, agent_id) for name, ids in self._names.items() for agent_id in ids]
            tasks = [asyncio.create_task(one) for one in work]
            self._began.set()
            ended = asyncio.create_task(self._over.wait())
            done, _ = await asyncio.wait({ended, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, *self._answers):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in done - {ended}:
                task.result()  # whoever ends by itself has an error to tell

    async def _pause(self) -> None:
        self._publishing.clear()
        async with self._resting:
            await self._resting.wait_for(lambda: self._idle == self._publishers)

    async def _try(
        self, call: Callable[[str], Awaitable[httpx.Response]], tries: int = 10_000
    ) -> httpx.Response | None:
        """The first answer that is final; None when all tries are used up."""
        for attempt in range(tries):
            try:
                answer = await call(random.choice(self._addresses))
            except httpx.TransportError as error:
                self.books.trouble[type(error).__name__] += 1
            else:
                if answer.status_code not in AGAIN:
                    return answer
                self.books.trouble[str(answer.status_code)] += 1
            await asyncio.sleep(random.uniform(0.5, 1) * min(1.0, 0.05 * 2**attempt))
        return None

    async def _send(self, envelope: Envelope, tries: int = 10_000) -> bool:
        """Publish until it is acknowledged."""
        self.books.sent[envelope["id"]] = envelope["plan_id"]
        answer = await self._try(
            lambda base: self._http.post(f"{base}/v1/events/publish", json={"event": envelope}), tries
        )
        if answer is None:
            return False
        if answer.status_code != 200:
            self.books.refused[f"{answer.status_code} {answer.text[:200]}"] += 1
            return False
        self.books.acknowledged[envelope["id"]] = envelope["plan_id"]
        return True

    async def _publish(self, number: int) -> None:
        while True:
            if not self._publishing.is_set():
                await self._wait_for_go()
            # One in four gives up at the first error: then the event is there once, or not at all.
            await self._send(self._event(f"publisher-{number}"), 1 if random.random() < 0.25 else 10_000)
            await asyncio.sleep(random.uniform(0, self._rest))

    async def _wait_for_go(self) -> None:
        async with self._resting:
            self._idle += 1
            self._resting.notify_all()
        await self._publishing.wait()
        self._idle -= 1

    def _event(self, source: str) -> Envelope:
        plan_id = random.choice(self._plans)
        if random.random() < 0.3:
            return envelope(FACTS, "soak.noted", plan_id, source, {"n": random.random()})
        kind, task_id = random.choice(KINDS), f"task-{uuid4().hex}"
        more = {"correlation_id": task_id, "response_event": answer_to(kind)}
        return envelope(REQUESTS, kind, plan_id, source, {"task_id": task_id}, **more)

    # -- agents -------------------------------------------------------------------------------------------------------

    async def _register_all(self) -> None:
        self._answers: set[asyncio.Task[None]] = set()
        names = {kind.split(".")[1] + "-worker": [kind] for kind in KINDS} | {"soak-planner": []}
        self._kinds = names
        for name, kinds in names.items():
            self._names[name] = [f"{name}-{number}" for number in range(self._workers if kinds else 1)]
            for agent_id in self._names[name]:
                agent = {
                    "agentId": agent_id, "name": name, "description": "", "capabilities": [], "consumedEvents": kinds,
                    "producedEvents": [],
                }  # fmt: skip
                answer = await self._try(
                    lambda base, body=agent: self._http.post(f"{base}/v1/agents", json={"agent": body})
                )
                assert answer, "not registered"
                answer.raise_for_status()

    async def _listen(self, name: str, agent_id: str) -> None:
        """An agent that connects again whenever its stream ends."""
        topic = RESULTS if name == "soak-planner" else REQUESTS
        query = f"topics={topic}&agent_id={agent_id}&agent_name={name}"
        while True:
            url = f"{random.choice(self._addresses)}/v1/events/stream?{query}"
            try:
                async with self._http.stream("GET", url, timeout=httpx.Timeout(10, read=SILENCE)) as answer:
                    if answer.status_code == 200:
                        async for message in messages(answer):
                            self._take(name, message)
            except httpx.TransportError:
                pass
            await asyncio.sleep(random.uniform(0.05, 0.3))

    def _take(self, name: str, message: Envelope) -> None:
        if message["topic"] == RESULTS:
            self.books.heard[message["id"]] += 1
            return
        if message["type"] not in self._kinds[name]:
            return  # it listens to the whole topic
        self.books.handed[message["data"]["task_id"]] += 1
        task = asyncio.create_task(self._answer(name, message))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, name: str, request: Envelope) -> None:
        task_id = request["data"]["task_id"]
        data = {"task_id": task_id, "status": "completed"}
        more = {"correlation_id": request["correlation_id"]}
        result = envelope(RESULTS, request["response_event"], request["plan_id"], name, data, **more)
        if await self._send(result):
            self.books.answered[task_id] = result["id"]


def envelope(topic: str, type: str, plan_id: str, source: str, data: dict[str, Any], **more: Any) -> Envelope:
    """An event as the SDK sends it."""
    return {
        "id": str(uuid4()), "topic": topic, "type": type, "source": source, "plan_id": plan_id, "tenant_id": "acme",
        "user_id": "alice", "data": data, **more,
    }  # fmt: skip


async def messages(answer: httpx.Response) -> AsyncIterator[Envelope]:
    """The messages of an event stream."""
    event = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            event = line[7:]
        elif line.startswith("data: ") and event == "message":
            yield json.loads(line[6:])
