"""The server's settings for the tests: a data folder of their own, SQLite unless this run is told to use PostgreSQL.

A DATABASE_URL or REDIS_URL of the caller is not the server's here: it names the PostgreSQL or Redis that tests/services
use in place of throw-away ones.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

for name in ("DATABASE_URL", "REDIS_URL"):
    if given := os.environ.pop(name, ""):
        os.environ[f"TEST_{name}"] = given
if on_postgresql := os.environ.get("TEST_RUN_DATABASE_URL"):
    os.environ["DATABASE_URL"] = on_postgresql

os.environ["SOORMA_DATA_DIR"] = _data_dir = tempfile.mkdtemp(prefix="soorma-test-")
atexit.register(shutil.rmtree, _data_dir, ignore_errors=True)

from soorma_site.settings import *  # noqa: E402, F403
from soorma_site.settings import DATABASES  # noqa: E402

# Threads share a file, not a database in memory; on PostgreSQL the name is Django's own.
if not on_postgresql:
    DATABASES["default"]["TEST"] = {"NAME": str(Path(_data_dir) / "test.sqlite3")}
