"""Which topics a subscription's patterns match. Patterns match topics, never event types."""

from collections.abc import Iterable

from tracker.envelope import TOPICS


def matches(pattern: str, topic: str) -> bool:
    """Dot-separated tokens: exact, `*` for exactly one, a trailing `>` for one or more."""
    wanted, given = pattern.split("."), topic.split(".")
    for i, token in enumerate(wanted):
        if token == ">" and i == len(wanted) - 1:
            return len(given) > i
        if i >= len(given) or token not in ("*", given[i]):
            return False
    return len(wanted) == len(given)


def matched(patterns: Iterable[str]) -> frozenset[str]:
    """All topics that at least one of the patterns matches."""
    patterns = list(patterns)
    return frozenset(topic for topic in TOPICS if any(matches(p, topic) for p in patterns))
