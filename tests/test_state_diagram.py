"""The state diagrams in docs/architecture.md are the state table, drawn."""

import re

import pytest

from tests.services.process import ROOT
from tracker.states import PLAN, TASK


def drawn(machine):
    """The machine as a Mermaid diagram: every move once, in the table's order."""
    moves = [
        f"    {move.source} --> {move.target}: {move.verb}{' (stalled)' if move.only_stalled else ''}"
        for move in machine.moves
    ]
    return "\n".join(["stateDiagram-v2", *moves])


@pytest.mark.parametrize("machine", [TASK, PLAN], ids=lambda machine: machine.subject)
def test_the_diagram_is_the_table(machine):
    page = (ROOT / "docs/architecture.md").read_text()
    section = page.split(f"### The states of a {machine.subject}\n", 1)[1]
    assert re.search(r"```mermaid\n(.*?)\n```", section, re.DOTALL)[1] == drawn(machine)
