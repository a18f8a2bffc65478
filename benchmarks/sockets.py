"""Many WebSockets in one process at little cost: frames are handed on as bytes, nobody looks into all of them."""

import asyncio
import base64
import os
import time
from collections.abc import Callable

import uvloop

from benchmarks.client import END_OF_HEAD

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
Heard = Callable[["Socket", bytes], None]


class Socket(asyncio.Protocol):
    """One socket: sends a text once it is open, and hands on every text that comes."""

    def __init__(self, path: str, key: str, first: str, heard: Heard):
        self._path, self._key, self._first, self._heard = path, key, first, heard
        self._read = bytearray()
        self._shaken = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        lines = [
            f"GET {self._path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", f"Authorization: Bearer {self._key}",
        ]  # fmt: skip
        self.transport.write("\r\n".join(lines).encode() + END_OF_HEAD)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionError("the handshake was refused"))

    def data_received(self, data: bytes) -> None:
        self._read += data
        if not self._shaken and not self._shake():
            return
        while (frame := self._frame()) is not None:
            code, body = frame
            if code == TEXT:
                self._heard(self, body)
            elif code == PING:
                self._write(PONG, body)
            elif code == CLOSE:
                self.transport.close()

    def _shake(self) -> bool:
        end = self._read.find(END_OF_HEAD)
        if end < 0:
            return False
        if b" 101 " not in self._read[:end].split(b"\r\n", 1)[0]:
            raise ConnectionError(bytes(self._read))
        del self._read[: end + len(END_OF_HEAD)]
        self._shaken = True
        if self._first:
            self._write(TEXT, self._first.encode())
        self.opened.set_result(None)
        return True

    def _frame(self) -> tuple[int, bytes] | None:
        """The next whole frame: its code and body. Servers do not mask, and none of ours splits a text."""
        read = self._read
        if len(read) < 2:
            return None
        size, head = read[1] & 127, 2
        if size > 125:
            width = 2 if size == 126 else 8
            head += width
            if len(read) < head:
                return None
            size = int.from_bytes(read[2:head], "big")
        if len(read) < head + size:
            return None
        code, body = read[0] & 15, bytes(read[head : head + size])
        del read[: head + size]
        return code, body

    def _write(self, code: int, body: bytes) -> None:
        size = bytes([128 | len(body)]) if len(body) < 126 else bytes([128 | 126]) + len(body).to_bytes(2, "big")
        # A mask of zeros is a mask.
        self.transport.write(bytes([128 | code]) + size + bytes(4) + body)


async def open_sockets(port: int, path: str, key: str, first: str, number: int, heard: Heard) -> list[Socket]:
    """So many open sockets; 50 shake hands at once."""
    loop, opened = asyncio.get_running_loop(), []
    for start in range(0, number, 50):
        some = []
        for _ in range(min(50, number - start)):
            made = await loop.create_connection(lambda: Socket(path, key, first, heard), "127.0.0.1", port)
            some.append(made[1])
        await asyncio.gather(*(socket.opened for socket in some))
        opened += some
    return opened


async def wait_for(check: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true in time."""
    until = time.perf_counter() + seconds
    while not check():
        if time.perf_counter() > until:
            return False
        await asyncio.sleep(0.005)
    return True


run = uvloop.run
