"""docs/events.md names every topic and every fact that the tracker understands, and no others."""

import re

from tests.services.process import ROOT
from tracker.envelope import TOPICS
from tracker.linking import PLAN_FACTS, TASK_FACTS


def named_in(heading):
    """What the first column of the table under a heading names."""
    section = (ROOT / "docs/events.md").read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    firsts = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {name for first in firsts for name in re.findall(r"`([^`]+)`", first)}


def test_every_topic_is_there():
    assert named_in("The topics") == set(TOPICS)


def test_every_fact_is_there():
    assert named_in("Facts") == PLAN_FACTS | TASK_FACTS
