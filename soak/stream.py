"""A steady load: log rows over many plans, in batches that are sent again until they are acknowledged."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import httpx

from soak.crew import AGAIN, envelope
from soak.stage import Stage
from tests.e2e.plain import FACTS, REQUESTS, RESULTS, answer_to

NOTES, TASKS = 8, 2  # of a batch: facts, a row each; requests, two rows each, and results of earlier ones, three
ROWS = NOTES + 2 * TASKS + 3 * TASKS  # of a batch
SENDERS = 6
LAG = 1.0  # seconds that a sender makes up for; what an outage took is gone
KIND = "soak.task.requested"


class Stream:
    """Publishes to all of the servers, straight; `events` counts what was acknowledged."""

    def __init__(self, stage: Stage, plans: Sequence[str], rate: float) -> None:
        """`rate`: rows a second."""
        self.plans, self.rate = plans, rate
        self.events = 0
        self.trouble: Counter[str] = Counter()
        self.sending = True
        self._addresses = stage.addresses
        self._headers = {"Authorization": f"Bearer {stage.key}"}
        self._open: list[tuple[str, str]] = []  # plan and task
        self._turns = itertools.cycle(plans)

    async def run(self) -> None:
        """Publish until `sending` is taken back; returns when every batch is acknowledged."""
        async with httpx.AsyncClient(headers=self._headers, timeout=15, trust_env=False, verify=False) as self._http:
            await asyncio.gather(*(self._send_all() for _ in range(SENDERS)))

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        pause = SENDERS * ROWS / self.rate
        due = loop.time() + random.random() * pause
        while self.sending:
            await asyncio.sleep(max(0, min(due - loop.time(), 0.5)))
            if loop.time() < due:
                continue
            await self._send(self._batch())
            due = max(due + pause, loop.time() - LAG)

    def _batch(self) -> list[dict[str, Any]]:
        events = [envelope(FACTS, "soak.noted", next(self._turns), "stream", {"text": "x" * 80}) for _ in range(NOTES)]
        for _ in range(TASKS):
            if len(self._open) > 4 * TASKS:
                plan_id, task_id = self._open.pop(random.randrange(len(self._open)))
                data = {"task_id": task_id, "status": "completed"}
                events.append(envelope(RESULTS, answer_to(KIND), plan_id, "worker", data, correlation_id=task_id))
            plan_id, task_id = next(self._turns), f"task-{uuid4().hex}"
            self._open.append((plan_id, task_id))
            more = {"correlation_id": task_id, "response_event": answer_to(KIND)}
            events.append(envelope(REQUESTS, KIND, plan_id, "stream", {"task_id": task_id}, **more))
        return events

    async def _send(self, events: list[dict[str, Any]]) -> None:
        while True:
            try:
                answer = await self._http.post(f"{random.choice(self._addresses)}/v1/events/batch", json=events)
                if answer.status_code not in AGAIN:
                    break
                self.trouble[str(answer.status_code)] += 1
            except httpx.TransportError as error:
                self.trouble[type(error).__name__] += 1
            await asyncio.sleep(random.uniform(0.1, 0.5))
        assert answer.status_code == 200, answer.text
        bad = [one for one in answer.json()["results"] if one["outcome"] not in ("recorded", "duplicate")]
        assert not bad, bad
        self.events += len(events)
