"""A client that costs little: raw sockets on uvloop, requests made beforehand, one at a time on each connection."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import uvloop

END_OF_HEAD = b"\r\n\r\n"
LENGTH = b"content-length:"
PATIENCE = 30  # seconds for the answers that are still on their way at the end


def request(method: str, path: str, body: bytes = b"", *, key: str = "", **headers: str) -> bytes:
    """A whole HTTP/1.1 request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body:
        lines.append(f"Content-Type: {headers.pop('content_type', 'application/json')}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + END_OF_HEAD + body


@dataclass
class Load:
    """What one run brought: answers in `seconds`, how long each took (seconds too), and those that were no success."""

    answers: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    faults: list[bytes] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def percentile(self, share: float) -> float:
        """The time within which this share of the answers came, in milliseconds."""
        ordered = sorted(self.times)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the answer to the last one is whole, until the deadline or the last request."""

    def __init__(self, requests: Iterator[bytes], deadline: float, load: Load):
        self.requests, self.deadline, self.load = requests, deadline, load
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._read = bytearray()
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(error or ConnectionError("the server closed the connection"))

    def send(self) -> None:
        following = next(self.requests, None) if time.perf_counter() < self.deadline else None
        if following is None:
            self.over.set_result(None)
            self.transport.close()
            return
        self._sent = time.perf_counter()
        self.transport.write(following)

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._wanted:
            head = self._read.find(END_OF_HEAD)
            if head < 0:
                return
            self._wanted = head + len(END_OF_HEAD) + _length(bytes(self._read[:head]))
        if len(self._read) >= self._wanted:
            self._answered()

    def _answered(self) -> None:
        self.load.answers += 1
        self.load.times.append(time.perf_counter() - self._sent)
        if self._read[9:10] != b"2":
            self.load.faults.append(bytes(self._read))
        self._read.clear()
        self._wanted = 0
        self.send()


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(LENGTH)
    if at < 0:
        raise ValueError(f"an answer without its length: {head!r}")
    return int(lowered[at + len(LENGTH) :].split(b"\r\n", 1)[0])


def load(port: int, connections: Sequence[Iterator[bytes]], seconds: float = 3600) -> Load:
    """Run one connection for each iterator of requests; an answer that is no success is an error."""
    return uvloop.run(load_async(port, connections, seconds))


async def load_async(port: int, connections: Sequence[Iterator[bytes]], seconds: float = 3600) -> Load:
    """`load` in a loop that runs already."""
    loop, result = asyncio.get_running_loop(), Load()
    deadline = time.perf_counter() + seconds
    opened = [
        (await loop.create_connection(lambda r=requests: _Connection(r, deadline, result), "127.0.0.1", port))[1]
        for requests in connections
    ]
    begin = time.perf_counter()
    for connection in opened:
        connection.deadline = begin + seconds
        connection.send()
    await asyncio.wait_for(asyncio.gather(*(connection.over for connection in opened)), seconds + PATIENCE)
    result.seconds = time.perf_counter() - begin
    if result.faults:
        raise RuntimeError(f"{len(result.faults)} of {result.answers} were refused, the first: {result.faults[0]!r}")
    return result
