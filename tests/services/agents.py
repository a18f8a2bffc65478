"""Agents of the real SDK, each a process of its own, connected to a server under test."""

import sys
import tempfile
from pathlib import Path
from typing import Self

from tests.services.process import ROOT, Process, clean_environment
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

# The SDK tells through its log that its stream is open; an agent's own code need not set logging up.
RUN = """if True:
    import logging, runpy, sys
    logging.basicConfig(level=logging.INFO)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


class AgentProcess:
    """A Python file, or a piece of code, that runs an agent of the SDK against `server` with the API key `key`.

    The code finds its token in SOORMA_TOKEN and the server in the SDK's own variables, and ends on SIGTERM as the SDK's
    `Agent.run()` does. `connects=False` is for code that never listens.
    """

    def __init__(
        self, server: ServerProcess, code: str | Path, key: str, *arguments: str, connects: bool = True, **env: str
    ):
        self._folder = tempfile.TemporaryDirectory(prefix="soorma-agent-")
        self.connects = connects
        path = code if isinstance(code, Path) else Path(self._folder.name) / "agent.py"
        if isinstance(code, str):
            path.write_text(code)
        environment = clean_environment(**server.agent_env(key), PYTHONPATH=f"{path.parent}:{ROOT}", **env)
        self.process = Process([sys.executable, "-c", RUN, path, *arguments], env=environment)

    def start(self) -> None:
        """Start the agent and wait until it listens to the server."""
        self.process.start()
        if self.connects:
            self.process.wait_for_output("Connected to Event Service")

    def stop(self) -> None:
        """SIGTERM: the agent signs off and ends with 0."""
        code = self.process.stop()
        assert code == 0, f"the agent ended with {code}:\n{self.output}"

    def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does."""
        self.process.kill()

    def wait(self, seconds: float = 30) -> str:
        """Wait until the agent has ended by itself, with 0, and give its output."""
        wait_until(lambda: not self.process.running, seconds, lambda: f"the end of the agent:\n{self.output}")
        assert self.process.returncode == 0, self.output
        return self.output

    def wait_for_output(self, text: str, seconds: float = 30) -> None:
        """Wait until the agent, since its start, has printed `text`."""
        self.process.wait_for_output(text, seconds)

    @property
    def output(self) -> str:
        """All that the agent has printed and logged."""
        return self.process.output

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self.process.running:
                self.stop()
        finally:
            self.close()

    def close(self) -> None:
        """Kill what still runs."""
        self.process.close()
        self._folder.cleanup()
