"""The agents page's lines: who has registered, whether it is there, and which tasks it holds."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.conf import settings
from django.utils import timezone

from tracker.models import Agent
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment
from tracker.states import TASK

LONGEST = 1000  # agents on the page
HELD = 3  # tasks shown of an agent


def roster(sight: Sight) -> list[dict[str, Any]]:
    """Agents in sight by name and instance, signed-off ones last; two queries.

    [{agent_id, name, presence: live | silent | away, consumed_events: [type], heartbeat_at, tasks, more: int}]; `tasks`
    are the first three that it holds, [{plan_id, task_id, name, state}], `more` how many others.
    """
    agents = list(sight.agents().order_by("signed_off_at", "base_name", "agent_id")[:LONGEST])
    agents.sort(key=lambda agent: agent.signed_off_at is not None)
    held = _held(sight, [agent.agent_id for agent in agents])
    alive_since = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    return [_line(agent, held[agent.agent_id], alive_since) for agent in agents]


def _held(sight: Sight, agent_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    held: dict[str, list[dict[str, Any]]] = defaultdict(list)
    tasks = sight.tasks().filter(state__in=TASK.open_states, agent_id__in=agent_ids).order_by("id")
    for row in tasks.values("agent_id", "plan__plan_id", "task_id", "name", "state", "stalled")[: HELD * LONGEST]:
        state = "stalled" if row["stalled"] else row["state"]
        held[row["agent_id"]].append(
            {"plan_id": row["plan__plan_id"], "task_id": row["task_id"], "name": row["name"], "state": state}
        )
    return held


def _line(agent: Agent, tasks: list[dict[str, Any]], alive_since: datetime) -> dict[str, Any]:
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "presence": _presence(agent, alive_since),
        "consumed_events": orjson.loads(agent.consumed_events),
        "heartbeat_at": moment(agent.heartbeat_at),
        "tasks": tasks[:HELD],
        "more": max(0, len(tasks) - HELD),
    }


def _presence(agent: Agent, alive_since: datetime) -> str:
    if agent.signed_off_at is not None:
        return "away"
    return "live" if agent.heartbeat_at > alive_since else "silent"
