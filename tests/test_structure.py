"""What no file of this repository may be or contain."""

import re

from tests.services.process import ROOT

CODE = {".py", ".js", ".css", ".html", ".sh"}
TEXT = CODE | {".md", ".txt", ".toml", ".json", ".svg"}
MADE = {"__pycache__", "node_modules", "test-results", "var"}
# Written so that this file passes too.
LEFT_OVERS = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
A_MACHINES_PATH = re.compile(r"(?<![\w.>*/])/" r"(home|root|Users|work|tmp)/")


def files():
    for path in sorted(ROOT.rglob("[!.]*")):
        made = any(part in MADE or part.startswith(".") for part in path.relative_to(ROOT).parts)
        if not made and path.is_file() and (path.suffix in TEXT or path.name == "Makefile"):
            yield path


def lines_with(pattern):
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_is_long():
    code = [path for path in files() if path.suffix in CODE and path.parent.name != "migrations"]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in code}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_nothing_is_left_for_later():
    assert lines_with(LEFT_OVERS) == []


def test_no_file_names_a_path_of_somebodys_machine():
    assert lines_with(A_MACHINES_PATH) == []
