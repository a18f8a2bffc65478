"""A TCP proxy that is a bad network: it cuts, swallows and delays what passes."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Sequence

PIECE = 65_536  # bytes read at once


class Link:
    """One connection through the proxy."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        """`near`: to the client, `far`: to the server."""
        self.near, self.far = near, far
        self.passing = asyncio.Event()
        self.passing.set()
        self.rate = 0  # bytes a second, 0: as they come

    def reset(self) -> None:
        """Cut both ends with a RST."""
        for end in (self.near, self.far):
            sock = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what comes from one end to the other, until one of them ends."""
        try:
            while piece := await reader.read(min(PIECE, max(1, self.rate // 10)) if self.rate else PIECE):
                if self.rate:
                    await asyncio.sleep(len(piece) / self.rate)
                await self.passing.wait()
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.close() if self.passing.is_set() else writer.transport.abort()


class Proxy:
    """Listens on `port` of 127.0.0.1; each connection goes to a server that takes it. For its event loop alone."""

    def __init__(self, backends: Sequence[int]) -> None:
        """`backends`: ports of 127.0.0.1."""
        self.port = 0
        self.links: set[Link] = set()
        self.cuts = 0
        self._backends = list(backends)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and cut what is open."""
        self._server.close()
        for link in list(self.links):
            link.reset()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await self._connect()
        if far is None:
            writer.transport.abort()
            return
        link = Link(writer, far[1])
        self.links.add(link)
        try:
            # A callback of asyncio's streams must not end cancelled.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(link.carry(reader, far[1]), link.carry(far[0], writer))
        finally:
            self.links.discard(link)
            writer.transport.abort()
            far[1].transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for port in random.sample(self._backends, len(self._backends)):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port)
        return None

    def some(self, share: float) -> list[Link]:
        """So many of the connections, at random; at least one if there is any."""
        links = list(self.links)
        return random.sample(links, min(len(links), max(1, round(share * len(links)))))

    async def cut(self, share: float) -> None:
        """Reset some of the connections."""
        for link in self.some(share):
            self.cuts += 1
            link.reset()

    async def swallow(self, share: float, seconds: float) -> None:
        """Some of the connections lead nowhere for a while; then half of them go on, and the others are reset."""
        links = self.some(share)
        for link in links:
            link.passing.clear()
        await asyncio.sleep(seconds)
        for number, link in enumerate(links):
            if number % 2:
                self.cuts += 1
                link.reset()
            link.passing.set()

    async def slow(self, share: float, seconds: float, rate: int = 2_000) -> None:
        """Some of the connections carry `rate` bytes a second for a while."""
        links = self.some(share)
        for link in links:
            link.rate = rate
        await asyncio.sleep(seconds)
        for link in links:
            link.rate = 0
