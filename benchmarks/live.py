"""Sockets that follow one plan: deliveries a second, from commit to frame, and what sockets cost that never read.

A delivery is one event on one socket. Limits: a bare server of the same kind whose `POST /all` sends its body to every
socket, and one that does so by `group_send` of the in-memory channel layer.
"""

import asyncio
import json
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks import sockets
from benchmarks.client import Load, load_async, request
from benchmarks.options import parser
from benchmarks.stage import Stage, bare, memory, stage
from benchmarks.table import Line, Table
from benchmarks.workload import Fleet

LAYER, BARE = {"daphne": 5.0}, {"uvicorn": 0.4}
POST_TO_FRAME = {"uvicorn": 10.0, "daphne": 20.0}  # milliseconds, the 99th of a hundred
PUBLISHERS = 16
ROWS, MESSAGE = b'{"op":"rows"', b'"kind":"message"'
SLOW, SLOW_MB = 20, 20
PATIENCE = 20
QUIET = 2  # seconds without a delivery, after which none will come


@dataclass
class Heard:
    """What came on all sockets: deliveries, and of some how many milliseconds they took from commit to frame."""

    deliveries: int = 0
    last: float = 0.0
    times: list[float] = field(default_factory=list)
    by_socket: dict[Any, int] = field(default_factory=dict)

    def row(self, socket: sockets.Socket, frame: bytes) -> None:
        """A frame of ours: rows, each message of them one delivery."""
        count = frame.count(MESSAGE) if frame.startswith(ROWS) else 0
        if not count:
            return
        self._count(socket, count)
        if self.deliveries % 17 < count:  # looking into every frame would cost more than sending it
            recorded = json.loads(frame)["rows"][0]["recorded_at"]
            self.times.append(1000 * (time.time() - datetime.fromisoformat(recorded).timestamp()))

    def plain(self, socket: sockets.Socket, frame: bytes) -> None:
        """A frame of a bare server: one delivery."""
        self._count(socket, 1)

    def _count(self, socket: sockets.Socket, count: int) -> None:
        self.deliveries += count
        self.by_socket[socket] = self.by_socket.get(socket, 0) + count
        self.last = time.perf_counter()

    def percentile(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[int(share * (len(ordered) - 1))] if ordered else 0.0


def main(argv: list[str] | None = None) -> list[Line]:
    arguments = parser(__doc__)
    arguments.add_argument("--sockets", nargs="+", type=int, default=[1, 100, 1000])
    arguments.add_argument("--rate", type=int, default=200, help="events a second when latency is measured")
    arguments.set_defaults(databases=["sqlite"])
    options = arguments.parse_args(argv)
    table = Table("Live: one plan, N sockets (deliveries/s)")
    for server in options.servers:
        with stage(server, "sqlite") as on, bare(server, "--layer") as layer_port:
            fleet = on.seed(Fleet("live", plans=1, tasks=200))
            for number in options.sockets:
                against(table, on, fleet, number, layer_port, options)
            latency(table, on, fleet, options)
            never_reading(table, on, fleet)
    return table.lines


def against(table: Table, on: Stage, fleet: Fleet, number: int, layer_port: int, options: Namespace) -> None:
    """Deliveries a second beside both limits, all three by turns."""
    most = number == 1000
    beside_bare = Line(f"{on.server}, {number} sockets", "bare WebSocket", BARE.get(on.server) if most else None)
    beside_layer = Line(f"{on.server}, {number} sockets", "group_send", LAYER.get(on.server) if most else None)
    for _ in range(options.runs):
        beside_bare.limit.append(forwarded(on.bare_port, number, options.seconds))
        beside_layer.limit.append(forwarded(layer_port, number, options.seconds))
        rate, beside_bare.note = delivered(on, fleet, number, options.seconds)
        beside_bare.ours.append(rate)
        beside_layer.ours.append(rate)
    table.add(beside_bare)
    table.add(beside_layer)


def delivered(on: Stage, fleet: Fleet, number: int, seconds: float) -> tuple[float, str]:
    """Our deliveries a second, and a note: commit to frame, and whether every socket got every event."""
    heard = Heard()
    first = json.dumps({"op": "sub", "stream": f"plan:{fleet.plans[0]}"})

    async def run() -> tuple[float, str]:
        opened = await sockets.open_sockets(on.port, "/ws/live", on.key, first, number, heard.row)
        await asyncio.sleep(1)  # snapshots
        heard.deliveries, heard.times, heard.by_socket = 0, [], {}
        begin = time.perf_counter()
        got = await load_async(on.port, fleet.publish(on.key, PUBLISHERS), seconds)
        wanted = got.answers * number
        await sockets.wait_for(lambda: heard.deliveries >= wanted, PATIENCE)
        for socket in opened:
            socket.transport.abort()
        note = f"commit to frame p50 {heard.percentile(0.5):.1f} ms, p99 {heard.percentile(0.99):.1f} ms"
        if heard.deliveries != wanted:
            note += f"; {wanted - heard.deliveries:,} of {wanted:,} MISSING"
        return heard.deliveries / (heard.last - begin), note

    return sockets.run(run())


def forwarded(port: int, number: int, seconds: float) -> float:
    """Deliveries a second of a server that only forwards, of texts as long as our frames."""
    heard, one = Heard(), request("POST", "/all", b"x" * 1300)

    def endless() -> Iterator[bytes]:
        while True:
            yield one

    async def run() -> float:
        opened = await sockets.open_sockets(port, "/all", "", "", number, heard.plain)
        begin = time.perf_counter()
        await load_async(port, [endless() for _ in range(PUBLISHERS)], seconds)
        # The layer drops what is too much for it: there is no number to wait for.
        await sockets.wait_for(lambda: time.perf_counter() - max(heard.last, begin) > QUIET, PATIENCE)
        for socket in opened:
            socket.transport.abort()
        return max(1, heard.deliveries) / (max(heard.last, begin + seconds) - begin)

    return sockets.run(run())


def latency(table: Table, on: Stage, fleet: Fleet, options: Namespace, number: int = 100) -> None:
    """From the POST of one event to its frame on every socket, at a steady rate."""
    line = Line(
        f"{on.server}, {number} sockets, {options.rate} events/s",
        "POST to frame, p99",
        most=POST_TO_FRAME[on.server],
        unit=" ms",
    )
    for _ in range(options.runs):
        times = sockets.run(_steady(on, fleet, number, options.rate, options.seconds))
        line.ours.append(times[int(0.99 * (len(times) - 1))])
        line.note = f"p50 {times[len(times) // 2]:.1f} ms, {len(times):,} frames"
    table.add(line)


async def _steady(on: Stage, fleet: Fleet, number: int, rate: int, seconds: float) -> list[float]:
    sent: dict[bytes, float] = {}
    times: list[float] = []

    def heard(socket: sockets.Socket, frame: bytes) -> None:
        now = time.perf_counter()
        at = frame.find(b'"event_id":"')
        while at >= 0:
            name = frame[at + 12 : at + 48]
            if (begin := sent.get(name)) and frame.startswith(b'"kind":"message"', frame.rfind(b'"kind"', 0, at)):
                times.append(1000 * (now - begin))
            at = frame.find(b'"event_id":"', at + 1)

    first = json.dumps({"op": "sub", "stream": f"plan:{fleet.plans[0]}"})
    opened = await sockets.open_sockets(on.port, "/ws/live", on.key, first, number, heard)
    await asyncio.sleep(1)
    (events,) = fleet.publish(on.key, 1)
    begin, total = time.perf_counter(), int(rate * seconds)

    def paced(part: int) -> Iterator[tuple[float, bytes]]:
        for turn in range(part, total, PUBLISHERS):
            yield begin + turn / rate, next(events)

    await asyncio.gather(*(_publisher(on.port, paced(part), sent) for part in range(PUBLISHERS)))
    await sockets.wait_for(lambda: len(times) >= total * number, PATIENCE)
    for socket in opened:
        socket.transport.abort()
    if len(times) < total * number:
        raise RuntimeError(f"{len(times)} frames of {total * number} came")
    return sorted(times)


async def _publisher(port: int, events: Iterator[tuple[float, bytes]], sent: dict[bytes, float]) -> None:
    """Send each request at its time; the answer to one is read before the next."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for at, one in events:
        await asyncio.sleep(max(0, at - time.perf_counter()))
        place = one.index(b'"id": "') + 7
        sent[one[place : place + 36]] = time.perf_counter()
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


def never_reading(table: Table, on: Stage, fleet: Fleet, seconds: float = 5) -> None:
    """The server's memory with sockets that follow the plan and never read, to that without them."""
    line = Line(f"{on.server}, {SLOW} sockets that never read", "more memory", most=SLOW_MB, unit=" MB")

    async def run() -> float:
        first = json.dumps({"op": "sub", "stream": f"plan:{fleet.plans[0]}", "after": 0})
        before = memory(on.process.pid)
        opened = await sockets.open_sockets(on.port, "/ws/live", on.key, first, SLOW, lambda socket, frame: None)
        for socket in opened:
            socket.transport.pause_reading()
        got = await load_async(on.port, fleet.publish(on.key, PUBLISHERS), seconds)
        line.note = f"{got.answers:,} events meanwhile, p99 {got.percentile(0.99):.0f} ms"
        held = memory(on.process.pid) - before
        for socket in opened:
            socket.transport.abort()
        return held

    without: Load = sockets.run(load_async(on.port, fleet.publish(on.key, PUBLISHERS), seconds))
    line.ours.append(max(0.1, sockets.run(run())))
    line.note += f" (without them {without.answers:,}, {without.percentile(0.99):.0f} ms)"
    table.add(line)


if __name__ == "__main__":
    main()
