"""Policies: what a workspace wants done with a task that has stalled, and how long tasks may take. Read, never written.

The first policy whose patterns fit the task's type and its plan's goal applies; without one it is only told.
"""

import time
from dataclasses import dataclass
from fnmatch import fnmatchcase

from django.conf import settings

from tracker.models import Policy
from tracker.records import PlanRecord

FRESH_SECONDS = 2.0  # how long they are believed when another process may have changed them
TELL, RETRY, FAIL, ASK = "tell", "retry", "fail", "ask"


@dataclass(frozen=True, slots=True)
class Rules:
    """What applies to a task. `timeout` None: it may take as long as it takes."""

    timeout: float | None = None
    action: str = TELL
    attempts: int = 1  # in all, the first one too
    backoff: float = 0.0  # seconds before the second attempt; doubled before each further one
    then: str = TELL  # when there are no more attempts
    late: str = "refuse"  # results of attempts that were given up on: refuse, accept


_kept: dict[int, tuple[float, list[tuple[str, str, Rules]]]] = {}


def of(plan: PlanRecord, event_type: str) -> Rules:
    """What applies to tasks of this type in this plan."""
    for types, goals, rules in _of_workspace(plan.workspace_id):
        if fnmatchcase(event_type, types) and fnmatchcase(plan.goal_event, goals):
            return rules
    return Rules()


def timeout_of(plan: PlanRecord, event_type: str) -> float | None:
    """How many seconds such a task may go without progress if its request does not say."""
    timeout = of(plan, event_type).timeout
    return timeout if timeout is not None else settings.TASK_TIMEOUT_SECONDS or None


def forget(workspace_id: int | None = None) -> None:
    """They have changed: of this workspace, or anywhere."""
    if workspace_id is None:
        _kept.clear()
    else:
        _kept.pop(workspace_id, None)


def _of_workspace(workspace_id: int) -> list[tuple[str, str, Rules]]:
    now = time.monotonic()
    kept = _kept.get(workspace_id)
    if kept is None or (settings.REDIS_URL and now - kept[0] > FRESH_SECONDS):
        kept = _kept[workspace_id] = (now, _read(workspace_id))
    return kept[1]


def _read(workspace_id: int) -> list[tuple[str, str, Rules]]:
    names = ("timeout", "action", "attempts", "backoff", "then", "late")
    found = Policy.objects.filter(workspace_id=workspace_id).order_by("position", "id")
    return [(one.task_type, one.goal, Rules(**{name: getattr(one, name) for name in names})) for one in found]
