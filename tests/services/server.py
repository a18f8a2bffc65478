"""The real server process: `manage.py serve` on a free port, with a data folder of its own."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

import httpx

from tests.services.process import ROOT, Process, clean_environment
from tests.services.redis import free_port
from tests.services.waiting import wait_until

SCOPES = "publish,read,act"


class ServerProcess:
    """A server at `base_url`, started by `with` or `start()`; at the end its exit code and its log must be clean.

    Environment variables of the server are keyword arguments: `ServerProcess(DATABASE_URL=..., REDIS_URL=...)`.
    Several servers share one world when they are given the same database and Redis; on SQLite each has its own.
    """

    def __init__(self, *, server: str = "daphne", port: int | None = None, **env: str):
        self.port = port or free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.live_url = f"ws://127.0.0.1:{self.port}/ws/live"
        self.data_dir = Path(tempfile.mkdtemp(prefix="soorma-server-"))
        self.env = clean_environment(SOORMA_DATA_DIR=str(self.data_dir), SECRET_KEY="of the tests", **env)
        command = [sys.executable, "manage.py", "serve", "--port", str(self.port), "--server", server]
        self.process = Process(command, env=self.env)
        self._keys: dict[tuple[str, ...], str] = {}

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self, seconds: float = 60) -> None:
        """Start the process and wait until it answers."""
        self.process.start()
        wait_until(self._answers, seconds, lambda: f"the server's /health; its log:\n{self.log}")

    def stop(self) -> None:
        """SIGTERM; a server that does not end with 0 within 20 seconds is an error."""
        code = self.process.stop()
        assert code == 0, f"the server ended with {code}:\n{self.log}"

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL for it and the processes that it has started; `alone`: these are left to themselves."""
        self.process.kill(alone=alone)

    def restart(self) -> None:
        """End it cleanly, if it runs, and start it again on the same port and data."""
        if self.process.running:
            self.stop()
        self.start()

    @property
    def log(self) -> str:
        """All that the server has written."""
        return self.process.output

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def children(self) -> list[int]:
        """Process ids of those that it has started."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def __enter__(self) -> Self:
        try:
            if "DATABASE_URL" in self.env:
                self.manage("migrate", "--verbosity", "0")  # the server migrates SQLite alone by itself
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self.process.running:
                self.stop()
            assert "Traceback (most recent call last)" not in self.log, self.log
        finally:
            self.close()

    def close(self) -> None:
        """Kill what still runs and remove the data."""
        self.process.close()
        shutil.rmtree(self.data_dir, ignore_errors=True)

    # -- access -------------------------------------------------------------------------------------------------------

    def manage(self, *arguments: str) -> str:
        """What a management command prints on stdout, run beside the server on its data."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def api_key(self, workspace: str = "default", tenant: str = "", user: str = "", scopes: str = SCOPES) -> str:
        """A key of this workspace, which is made if it is missing; asked twice for the same, it is the same key."""
        wanted = (workspace, tenant, user, scopes)
        if wanted not in self._keys:
            bound = [word for pair in (("--tenant", tenant), ("--user", user)) if pair[1] for word in pair]
            self._keys[wanted] = self.manage("create_api_key", "--workspace", workspace, "--scopes", scopes, *bound)
        return self._keys[wanted]

    def member(self, name: str, workspace: str = "default", role: str = "admin") -> str:
        """Create a member if it is missing; gives the name."""
        self.manage("create_member", name, "--workspace", workspace, "--role", role)
        return name

    def sign_in_link(self, name: str) -> str:
        """A link that signs this member in, once."""
        return self.manage("sign_in_link", name, "--base-url", self.base_url)

    def client(self, key: str = "", **options: object) -> httpx.Client:
        """An HTTP client with this key's bearer token; close it, or use it in a `with`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # verify=False: there is no TLS here, and reading the certificates would cost more than most requests.
        return httpx.Client(
            base_url=self.base_url, headers=headers, timeout=30, trust_env=False, verify=False, **options
        )

    def agent_env(self, key: str) -> dict[str, str]:
        """The environment of an agent: what the SDK reads, and SOORMA_TOKEN for the agent's own code."""
        services = ("REGISTRY", "EVENT_SERVICE", "MEMORY", "MEMORY_SERVICE", "TRACKER")
        urls = {f"SOORMA_{service}_URL": self.base_url for service in services}
        return {**urls, "SOORMA_TOKEN": key}

    def _answers(self) -> bool:
        assert self.process.running, f"the server ended with {self.process.returncode}:\n{self.log}"
        with self.client() as client:
            try:
                return client.get("/health").status_code == 200
            except httpx.TransportError:
                return False
