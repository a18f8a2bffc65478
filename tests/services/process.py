"""A child process that ends with the tests, whatever happens, and whose output can be read at any time."""

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.services.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def clean_environment(**overrides: str) -> dict[str, str]:
    """Our environment without what steers the server or the tests, and with `overrides`."""
    ours = (
        "SOORMA_",
        "DJANGO_",
        "PYTEST_",
        "TEST_",
        "DATABASE_URL",
        "REDIS_URL",
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "DEBUG",
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONUNBUFFERED": "1", **overrides}


class Process:
    """`argv` as a child process. Start it in the main thread: Linux ends it with the thread that started it.

    `user` (uid and gid as subprocess takes them) only matters to a test run as root.
    """

    end_signal = signal.SIGTERM

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        orphan_signal: signal.Signals = signal.SIGKILL,
        **popen: Any,
    ):
        self.argv = argv
        self.env = env
        self.cwd = cwd
        self.orphan_signal = orphan_signal
        self.popen = popen
        self._child: subprocess.Popen[bytes] | None = None
        self._log = tempfile.NamedTemporaryFile(prefix="soorma-test-", suffix=".log")  # noqa: SIM115

    @property
    def pid(self) -> int:
        """The process id of the running child."""
        assert self._child, "not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the child is alive."""
        return self._child is not None and self._child.poll() is None

    @property
    def output(self) -> str:
        """All that the process has written so far, over restarts too."""
        return Path(self._log.name).read_text(errors="replace")

    def start(self) -> None:
        """Start the child; its end is ours to bring about."""
        assert not self.running, "runs already"
        self._earlier = len(self.output)
        self._child = subprocess.Popen(
            self.argv,
            env=self.env,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=self._die_with_parent,  # noqa: PLW1509  (one system call, no lock)
            **self.popen,
        )

    def wait_for_output(self, text: str, seconds: float = 30) -> None:
        """Wait until `text` was written since the start; fails at once when the process ends before."""

        def written() -> bool:
            found = text in self.output[self._earlier :]
            assert found or self.running, f"{self.argv} ended with {self.returncode}:\n{self.output}"
            return found

        wait_until(written, seconds, lambda: f"{text!r} in the output of {self.argv}:\n{self.output}")

    @property
    def returncode(self) -> int | None:
        """How the last child ended: 0, a code, or minus the signal; None while it runs."""
        return self._child.poll() if self._child else None

    def stop(self, seconds: float = 20) -> int:
        """Ask the process to end and give its exit code; one that does not end is killed, and that is an error."""
        assert self._child, "not started"
        if self.running:
            self._child.send_signal(self.end_signal)
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv} did not end within {seconds:g} s:\n{self.output}") from None

    def kill(self, *, alone: bool = False) -> None:
        """SIGKILL for the process and the children it has, or for it alone, and wait until it is gone."""
        if self._child and self.running:
            self._child.kill() if alone else os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()

    def close(self) -> None:
        """Kill what still runs and drop the output."""
        self.kill()
        with contextlib.suppress(FileNotFoundError):
            self._log.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _die_with_parent(self) -> None:
        _libc.prctl(PR_SET_PDEATHSIG, self.orphan_signal)
