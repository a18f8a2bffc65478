import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from tests.services.process import ROOT

# This run is told by its environment that it is the one on PostgreSQL (tests/settings.py); it leaves this file out.
ON_POSTGRESQL = "TEST_RUN_DATABASE_URL"
FOLDERS = ("tests/tracker", "tests/planner", "tests/accounts")


@pytest.mark.timeout(900)
def test_everything_that_passes_on_sqlite_passes_on_postgresql(postgres, tmp_path):
    report = tmp_path / "report.xml"
    options = [
        "-q",
        "--tb=short",
        "-p",
        "no:playwright",
        "-p",
        "no:cacheprovider",
        "--override-ini=addopts=",
        "-m",
        "not soak",
    ]
    command = [sys.executable, "-m", "pytest", *options, f"--ignore={__file__}", f"--junitxml={report}", *FOLDERS]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, ON_POSTGRESQL: postgres.url},
        capture_output=True,
        text=True,
        check=False,
    )
    told = f"{run.stdout[-20_000:]}{run.stderr[-2_000:]}"
    assert run.returncode == 0, told
    suite = ET.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("failures", "errors", "skipped")}
    assert counts == {"failures": 0, "errors": 0, "skipped": 0}, told
    assert suite.find("properties/property[@name='database']").get("value") == "postgresql"
