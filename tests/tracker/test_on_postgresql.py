import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from tests.services.process import ROOT

# This run is told by its environment that it is the one on PostgreSQL (tests/settings.py); it leaves this file out.
ON_POSTGRESQL = "TEST_RUN_DATABASE_URL"
FOLDERS = ("tests/tracker", "tests/planner")
SECONDS = 1500


@pytest.mark.timeout(SECONDS + 60)
def test_everything_that_passes_on_sqlite_passes_on_postgresql(postgres, tmp_path):
    report, output = tmp_path / "report.xml", tmp_path / "output"
    options = ["-v", "--tb=short", "-p", "no:playwright", "-p", "no:cacheprovider", "--override-ini=addopts="]
    chosen = ["-m", "not soak", f"--ignore={__file__}", *FOLDERS]
    command = [sys.executable, "-m", "pytest", *options, "--durations=10", f"--junitxml={report}", *chosen]
    environment = {**os.environ, ON_POSTGRESQL: postgres.url, "PYTHONUNBUFFERED": "1"}
    with output.open("w") as file:
        try:
            run = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=file, stderr=file, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done within {SECONDS} s:\n{tail(output)}")
    assert run.returncode == 0, tail(output)
    suite = ET.parse(report).getroot().find("testsuite")
    counts = {name: int(suite.get(name)) for name in ("failures", "errors", "skipped")}
    assert counts == {"failures": 0, "errors": 0, "skipped": 0}, tail(output)
    assert suite.find("properties/property[@name='database']").get("value") == "postgresql"


def tail(path):
    return path.read_text(errors="replace")[-20_000:]
