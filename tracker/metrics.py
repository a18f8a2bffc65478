"""How an agent has done: its tasks of a period counted and timed, by the database."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Avg, Count, DurationField, ExpressionWrapper, F, Q, QuerySet

from tracker.errors import Invalid, NotFound
from tracker.models import Task
from tracker.projections.lookup import Sight

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=3650)
DURATION = ExpressionWrapper(F("ended_at") - F("started_at"), output_field=DurationField())


def period_length(period: str) -> timedelta:
    """The length of a period written as 15m, 1h, 7d or 2w, up to ten years; raises Invalid."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([mhdw])", period, re.ASCII)
    length = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None
    if length is None or length > LONGEST:
        fault = {
            "pointer": "/period",
            "detail": "a number and m, h, d or w, as in 15m, 1h, 7d; at most 3650d",
        }
        raise Invalid("the period cannot be read", errors=[fault])
    return length


def tasks_of(sight: Sight, agent: str) -> QuerySet[Task]:
    """The tasks that an agent held: all of a name (with or without its version), or those of one instance."""
    if "\x00" in agent:
        return Task.objects.none()
    registered = (
        sight.agents().filter(Q(agent_id=agent) | Q(name=agent)).values_list("agent_id", "base_name").distinct()
    )
    names = {agent} | {base_name for agent_id, base_name in registered if agent_id != agent}
    # An instance by the name as well: that is what the index begins with.
    hosts = {base_name for agent_id, base_name in registered if agent_id == agent}
    held = Q(agent__in=sorted(names)) | Q(agent__in=sorted(hosts), agent_id=agent)
    return sight.tasks().filter(held)


def agent_metrics(sight: Sight, agent: str, period: str) -> dict[str, Any]:
    """The agent's tasks that were created in the last `period`; the rate is that of completed to completed and failed.

    Raises Invalid for a period that cannot be read, NotFound for an agent that neither registered nor held a task.
    """
    since = datetime.now(UTC) - period_length(period)
    tasks = tasks_of(sight, agent)
    completed = Q(state="completed")
    sums = tasks.filter(created_at__gte=since).aggregate(
        total=Count("id"),
        completed=Count("id", filter=completed),
        failed=Count("id", filter=Q(state="failed")),
        duration=Avg(DURATION, filter=completed),
    )
    if not sums["total"] and not tasks.exists() and not _registered(sight, agent):
        raise NotFound("there is no agent with this id or name")
    judged = sums["completed"] + sums["failed"]
    return {
        "agent_id": agent,
        "period": period,
        "total_tasks": sums["total"],
        "completed_tasks": sums["completed"],
        "failed_tasks": sums["failed"],
        "avg_duration_seconds": sums["duration"].total_seconds() if sums["duration"] else 0.0,
        "success_rate": sums["completed"] / judged if judged else 0.0,
    }


def _registered(sight: Sight, agent: str) -> bool:
    named = Q(agent_id=agent) | Q(base_name=agent) | Q(name=agent)
    return "\x00" not in agent and sight.agents().filter(named).exists()
