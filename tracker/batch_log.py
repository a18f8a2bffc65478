"""The server's log of what it records: one line for each commit and one for each change that was refused.

A line has counts, names and ids, never anything of a payload.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog

from tracker.changes import Batch, Change, Message, Outcome

log = structlog.get_logger(__name__)
CODE = re.compile(r"[a-z]+(-[a-z]+)+")


def told(changes: Sequence[Change], batch: Batch, seconds: float) -> None:
    """Write the lines of a commit."""
    outcomes = Counter(outcome.result for outcome in batch.outcomes)
    line = {"changes": len(changes), "rows": batch.row_count, "plans": batch.plan_count}
    single = _names(changes[0], batch.outcomes[0]) if len(changes) == 1 else {}
    log.info("batch", **line, ms=round(seconds * 1000, 1), **outcomes, **single)
    for change, outcome in zip(changes, batch.outcomes, strict=True):
        if outcome.result in {"refused", "unknown"}:
            log.info("refused", result=outcome.result, **_why(outcome), **_names(change, outcome))


def _why(outcome: Outcome) -> dict[str, str]:
    """The code of a refusal, if it has one. Sentences quote what was said; they stand in the plan's log, at `seq`."""
    return {"reason": outcome.detail} if CODE.fullmatch(outcome.detail) else {}


def _names(change: Change, outcome: Outcome) -> dict[str, Any]:
    """Which change it was, and of what: only what is known."""
    names = {
        "kind": type(change).__name__,
        "by": change.by,
        "event_id": outcome.event_id,
        "plan_id": outcome.plan_id,
        "task_id": outcome.task_id,
        "seq": outcome.seq,
    }
    if isinstance(change, Message):
        heard = change.envelope
        names |= {"topic": heard.topic, "type": heard.type, "correlation_id": heard.correlation_id}
        names["trace_id"] = heard.trace_id
    return {name: value for name, value in names.items() if value}
