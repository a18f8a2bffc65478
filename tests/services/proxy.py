"""A proxy in front of a server, as companies have them: it lets no socket through, or suddenly nothing at all."""

import contextlib
import socket
import threading
from typing import Literal, Self

Sockets = Literal["pass", "refuse", "swallow"]
PIECE = 65_536
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Forwards to `port` of this machine. `sockets`: whether WebSockets pass, are refused, or get no answer ever.

    `passing`: clear it and nothing goes through, in either direction, though no connection is cut.
    """

    def __init__(self, port: int, sockets: Sockets = "pass") -> None:
        self.target = port
        self.sockets: Sockets = sockets
        self.passing = threading.Event()
        self.passing.set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.passing.set()
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for each in list(self._open):
            _end(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._open.add(near)
        with contextlib.suppress(OSError), near:
            head = _head(near)
            if b"upgrade: websocket" not in head.lower() or self.sockets == "pass":
                self._connect(near, head)
            elif self.sockets == "refuse":
                near.sendall(REFUSAL)
            else:
                near.recv(1)  # for ever, or until it gives up
        self._open.discard(near)

    def _connect(self, near: socket.socket, head: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as far:
            self._open.add(far)
            self.passing.wait()
            far.sendall(head)
            back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
            back.start()
            self._carry(near, far)
            back.join()
            self._open.discard(far)

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                self.passing.wait()
                sink.sendall(piece)
        _end(source)
        _end(sink)


def _head(near: socket.socket) -> bytes:
    """What comes first, up to the end of the request's head."""
    head = b""
    while b"\r\n\r\n" not in head and (piece := near.recv(PIECE)):
        head += piece
    return head


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
