"""The documentation names what there is, all of it, and nothing else."""

import re

from django.core.management import get_commands

from soorma_site.env import declared
from tests.services.process import ROOT

OURS = ("accounts", "tracker", "planner", "soorma_site")
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in {"node_modules", "var", "test-results"} for part in path.parts)
)
GUIDES = [path for path in PAGES if path.name == "README.md" or ROOT / "docs" in path.parents]
TARGET = re.compile(r"^([a-z]+):.*?## ", re.MULTILINE)


def text_of(pages):
    return "\n".join(path.read_text() for path in pages)


def code_in(text):
    """The code spans and blocks of a page, where commands stand."""
    return "\n".join(re.findall(r"^```.*?^```|^ {4}[^\n]+|`[^`\n]+`", text, re.DOTALL | re.MULTILINE))


def anchors(page):
    """The anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_configuration_names_every_variable_with_its_default():
    page = (ROOT / "docs/configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|) ?\|", page, re.MULTILINE)
    assert dict(rows) == {variable.name: variable.default for variable in declared}


def test_every_make_target_is_documented():
    documented = set(re.findall(r"\bmake ([a-z]+)", code_in(text_of(GUIDES))))
    assert set(TARGET.findall((ROOT / "Makefile").read_text())) - {"help"} - documented == set()


def test_no_page_names_a_make_target_that_does_not_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", code_in(text_of(PAGES)))) - targets == set()


def test_every_management_command_is_documented():
    commands = {name for name, app in get_commands().items() if app in OURS}
    documented = set(re.findall(r"manage\.py ([a-z_]+)", text_of(GUIDES)))
    assert commands - documented == set()


def test_no_page_names_a_management_command_that_does_not_exist():
    named = set(re.findall(r"manage\.py ([a-z_]+)", code_in(text_of(PAGES))))
    assert named - set(get_commands()) == set()


def test_relative_links_lead_somewhere():
    assert [(str(page.relative_to(ROOT)), link) for page in PAGES for link in broken_links(page)] == []


def broken_links(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        elsewhere = re.match(r"[a-z]+:", link)
        if not elsewhere and not (path.exists() and (not anchor or anchor in anchors(path))):
            yield link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120
