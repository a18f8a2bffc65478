"""Clients of the live socket that follow a plan as a page does (static/js/live.js), and write down every row."""

import asyncio
import json
import random
from collections import Counter
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

SILENCE = 45.0  # the server speaks at least every 20 s
PAUSES = (0.4, 15.0)  # seconds between two tries to connect: the first, the longest
PATIENCE = 3.0  # how long an answer to "sub" may take before it is asked again
Row = tuple[int, str, str, str | None]  # seq, kind, event id, to_state


class Watcher:
    """One socket on one plan; `rows` is all that it was shown."""

    def __init__(self, url: str, key: str, plan_id: str) -> None:
        """`url`: of the live socket."""
        self.url, self.key, self.stream = url, key, f"plan:{plan_id}"
        self.plan_id = plan_id
        self.rows: list[Row] = []
        self.seen = 0
        self.repeated = 0  # rows that came although they had been shown
        self.asked_for_gaps = 0  # on an open socket
        self.healed = 0  # rows that were committed while there was no socket
        self.times_healed = 0
        self.opened = 0
        self.resyncs: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self._current = False
        self._asked = 0.0
        self._healing = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        attempt = 0
        while True:
            try:
                headers = {"Authorization": f"Bearer {self.key}"}
                async with connect(
                    self.url, additional_headers=headers, proxy=None, compression=None, max_size=None,
                    ping_interval=None, open_timeout=10, close_timeout=1,
                ) as socket:  # fmt: skip
                    attempt = 0
                    self.opened += 1
                    await self._follow(socket)
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError) as error:
                self.errors[type(error).__name__] += 1
            pause = min(PAUSES[1], PAUSES[0] * 2**attempt)
            attempt += 1
            await asyncio.sleep(pause / 2 + random.random() * pause / 2)

    async def _follow(self, socket: ClientConnection) -> None:
        self._current, self._healing = False, 0
        await self._ask(socket)
        while True:
            frame = json.loads(await asyncio.wait_for(socket.recv(), SILENCE))
            if frame["op"] == "rows":
                await self._take(socket, frame["rows"])
            elif frame["op"] == "head":
                await self._compare(socket, frame["seq"])
            elif frame["op"] == "resync":
                self.resyncs[frame["reason"]] += 1
            elif frame["op"] == "snapshot":
                self.seen = frame["seq"]
            else:
                self.errors[frame.get("code", frame["op"])] += 1
                await socket.close()

    async def _ask(self, socket: ClientConnection) -> None:
        self._asked = asyncio.get_running_loop().time()
        await socket.send(json.dumps({"op": "sub", "stream": self.stream, "after": self.seen}))

    async def _take(self, socket: ClientConnection, rows: list[dict[str, Any]]) -> None:
        fresh = [row for row in rows if row["seq"] > self.seen]
        self.repeated += len(rows) - len(fresh)
        if not fresh:
            return
        if fresh[0]["seq"] != self.seen + 1:
            await self._gap(socket)
            return
        self.rows += [shown(row) for row in fresh]
        self.seen = fresh[-1]["seq"]
        if not self._current:
            self._healing += len(fresh)

    async def _compare(self, socket: ClientConnection, head: int) -> None:
        if head > self.seen:
            await self._gap(socket)
        elif not self._current:
            self._current = True
            self.healed += self._healing
            self.times_healed += bool(self._healing)

    async def _gap(self, socket: ClientConnection) -> None:
        if asyncio.get_running_loop().time() - self._asked >= PATIENCE:
            self.asked_for_gaps += 1
            await self._ask(socket)


def shown(row: dict[str, Any]) -> Row:
    """What is compared of a row."""
    return row["seq"], row["kind"], row["event_id"], row["to_state"]
