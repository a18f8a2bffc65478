"""docs/dependencies.md has a line for each pinned package, and for no other."""

import re

from tests.services.process import ROOT


def pinned(name):
    """The packages that a requirements file pins."""
    lines = (ROOT / name).read_text().splitlines()
    return [re.match(r"[\w-]+", line)[0] for line in lines if line and line[0] not in "#-"]


def test_every_package_has_its_line():
    page = (ROOT / "docs/dependencies.md").read_text()
    files = ("requirements.txt", "requirements-demo.txt", "requirements-dev.txt")
    assert re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) == [
        package for name in files for package in pinned(name)
    ]
