"""Who is there: agents by name and instance, what each is doing, what waits for them and why."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import orjson
from django.conf import settings
from django.db.models import Count, Min, QuerySet
from django.utils import timezone

from tracker.errors import NotFound
from tracker.metrics import tasks_of
from tracker.models import Agent, Presence, Task
from tracker.projections.lookup import Sight
from tracker.projections.rows import moment
from tracker.states import TASK

LONGEST = 1000  # instances
HELD = 3  # tasks shown of an instance in a list
MOST_HELD = 100  # of a name by itself
RECENT = 50  # tasks in a history
CONNECTED, LIVE, SILENT, AWAY = "connected", "live", "silent", "away"
Line = dict[str, Any]


class Stream(NamedTuple):
    """An instance's connection: since when, unless it has none; its life; whether its heartbeats have stopped."""

    since: datetime | None
    life: int
    silent: bool


def roster(sight: Sight) -> dict[str, list[Line]]:
    """{"agents": agents in sight by name, signed-off ones last; "waiting": what waits for an agent, see `queues`}.

    An agent: {name, presence: connected | live | silent | away (of the instance that is best off), description,
    consumed_events, produced_events: [type], holds: number of tasks, instances, waiting: queues of what it consumes}.
    An instance: see `instances`. Four queries, whatever the number.
    """
    lines = instances(sight)
    waiting = queues(sight, lines)
    names: dict[str, list[Line]] = {}
    for line in lines:
        names.setdefault(line["base_name"], []).append(line)
    found = [_named(name, some, waiting) for name, some in names.items()]
    found.sort(key=lambda one: (one["presence"] == AWAY, one["name"]))
    return {"agents": found, "waiting": waiting}


def instances(sight: Sight, name: str | None = None, shown: int = HELD) -> list[Line]:
    """The registered instances in sight, of one name or all, those that signed off last.

    [{agent_id, name (with its version), base_name, version, presence, connected, connected_since, life, description,
    consumed_events, produced_events, registered_at, heartbeat_at, tasks, holds, more}]: `tasks` are the first `shown`
    that it holds, [{plan_id, task_id, name, state, since}], `more` how many others. Three queries.
    """
    agents = sight.agents() if name is None else sight.agents().filter(base_name=name)
    rows = list(agents.order_by("signed_off_at", "base_name", "agent_id")[:LONGEST])
    rows.sort(key=lambda agent: (agent.signed_off_at is not None, agent.base_name))
    ids = [agent.agent_id for agent in rows]
    held, streams = _held(sight, ids), _streams(sight, ids)
    alive_since = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    nothing = Stream(None, 1, silent=False)
    return [
        _instance(a, streams.get((a.agent_id, a.tenant_id), nothing), held[a.agent_id], shown, alive_since)
        for a in rows
    ]


def _instance(agent: Agent, stream: Stream, tasks: list[Line], shown: int, alive_since: datetime) -> Line:
    _, _, version = agent.name.rpartition(":")
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "base_name": agent.base_name,
        "version": version if version != agent.name else None,
        "presence": _presence(agent, stream, alive_since),
        "connected": stream.since is not None,
        "connected_since": moment(stream.since),
        "life": stream.life,
        "description": agent.description,
        "consumed_events": orjson.loads(agent.consumed_events),
        "produced_events": orjson.loads(agent.produced_events),
        "registered_at": moment(agent.registered_at),
        "heartbeat_at": moment(agent.heartbeat_at),
        "tasks": tasks[:shown],
        "holds": len(tasks),
        "more": max(0, len(tasks) - shown),
    }


def _presence(agent: Agent, stream: Stream, alive_since: datetime) -> str:
    if agent.signed_off_at is not None:
        return AWAY
    if stream.since is not None:
        return SILENT if stream.silent else CONNECTED
    return LIVE if agent.heartbeat_at > alive_since else SILENT


def _streams(sight: Sight, agent_ids: list[str]) -> dict[tuple[str, str], Stream]:
    known = Presence.objects.filter(workspace_id=sight.workspace_id, agent_id__in=agent_ids)
    columns = known.values_list("agent_id", "tenant_id", "connection", "connected_at", "life", "silent_at")
    return {
        (agent_id, tenant): Stream(since if connection else None, life, silent is not None)
        for agent_id, tenant, connection, since, life, silent in columns
    }


def _held(sight: Sight, agent_ids: list[str]) -> dict[str, list[Line]]:
    held: dict[str, list[Line]] = defaultdict(list)
    states = sorted(TASK.open_states - {"pending"})
    tasks = sight.tasks().filter(state__in=states, ended_at=None, agent_id__in=agent_ids).order_by("started_at", "id")
    columns = ("agent_id", "plan__plan_id", "task_id", "name", "state", "stalled", "started_at", "created_at")
    for agent_id, plan_id, task_id, name, state, stalled, started, created in tasks.values_list(*columns):
        shown = {"plan_id": plan_id, "task_id": task_id, "name": name, "state": "stalled" if stalled else state}
        held[agent_id].append({**shown, "since": moment(started or created)})
    return held


def _named(name: str, lines: list[Line], waiting: list[Line]) -> Line:
    here = [line for line in lines if line["presence"] != AWAY] or lines
    consumed = _union(line["consumed_events"] for line in here)
    return {
        "name": name,
        "presence": min((line["presence"] for line in lines), key=(CONNECTED, LIVE, SILENT, AWAY).index),
        "description": here[0]["description"],
        "consumed_events": consumed,
        "produced_events": _union(line["produced_events"] for line in here),
        "holds": sum(line["holds"] for line in lines),
        "instances": lines,
        "waiting": [queue for queue in waiting if queue["event_type"] in set(consumed)],
    }


def _union(lists: Iterable[list[str]]) -> list[str]:
    return list(dict.fromkeys(event for events in lists for event in events))


# --- what waits -------------------------------------------------------------------------------------------------------


def queues(sight: Sight, lines: list[Line], types: Iterable[str] | None = None) -> list[Line]:
    """What waits for an agent, by event type and reason; what has waited longest first. One query.

    [{event_type, count, since, why, detail}]; why: `held` (an operator holds their plan), `nobody_listens` (no
    registered agent consumes the type), `agent_away` (those that do are not connected), `full` (the streams of all of
    them are full), `queued` (it is just being handed over).
    """
    tasks = _pending(sight, types).order_by().values_list("event_type", "plan__held")
    counted = tasks.annotate(number=Count("id"), since=Min("created_at"))
    crowded = _crowded(sight.workspace_id)
    found = [_queue(kind, held, number, since, lines, crowded) for kind, held, number, since in counted]
    return sorted(found, key=lambda queue: (queue["since"], queue["event_type"], queue["why"]))


def _pending(sight: Sight, types: Iterable[str] | None) -> QuerySet[Task]:
    pending = sight.tasks().filter(state="pending", ended_at=None)
    return pending if types is None else pending.filter(event_type__in=list(types))


def _queue(kind: str, held: bool, number: int, since: datetime, lines: list[Line], crowded: set[str]) -> Line:
    why, detail = ("held", "an operator holds their plan") if held else reason(kind, lines, crowded)
    return {"event_type": kind, "count": number, "since": moment(since), "why": why, "detail": detail}


def reason(event_type: str, lines: list[Line], crowded: set[str]) -> tuple[str, str]:
    """Why requests of a type wait, and the same in words. `crowded`: names all of whose streams are full."""
    able = [line for line in lines if event_type in line["consumed_events"] and line["presence"] != AWAY]
    there = [line for line in able if line["connected"]]
    nobody = f"no connected agent consumes {event_type}"
    if not able:
        gone = sorted({line["base_name"] for line in lines if event_type in line["consumed_events"]})
        return ("agent_away", f"{nobody}: {_listed(gone)} signed off") if gone else ("nobody_listens", nobody)
    if not there:
        return "agent_away", f"{nobody}: {_listed(sorted({line['base_name'] for line in able}))} lost the connection"
    names = sorted({line["base_name"] for line in there})
    if crowded.issuperset(names):
        return "full", f"all connected instances of {_listed(names)} have as much as they take"
    return "queued", f"{_listed(names)} takes them on"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _crowded(workspace_id: int) -> set[str]:
    """Agent names all of whose streams in this process are full."""
    from tracker.runtime import runtime  # which serves the lists of agents

    groups = [group for key, group in list(runtime.bus.groups.items()) if key[0] == workspace_id]
    return {group.key[2] for group in groups if group.connections and all(one.full for one in group.connections)}


# --- one agent --------------------------------------------------------------------------------------------------------


def agent_page(sight: Sight, name: str) -> Line:
    """One agent name, as in `roster`, with up to 100 tasks of each instance, and its newest tasks.

    `history`: [{plan_id, task_id, name, event_type, state, stalled, attempt, agent_id, created_at, started_at,
    ended_at, queue_seconds, work_seconds}]. `name` may be an instance's id, or have its version. Raises NotFound for
    one that neither registered nor held a task.
    """
    base = _base_name(sight, name)
    lines = instances(sight, base, MOST_HELD)
    history = recent(tasks_of(sight, base))
    if not lines and not history:
        raise NotFound("there is no agent with this name or id")
    consumed = _union(line["consumed_events"] for line in lines)
    waiting = queues(sight, instances(sight), consumed) if consumed else []
    nobody = {"presence": AWAY, "description": "", "consumed_events": [], "produced_events": [], "holds": 0}
    agent = _named(base, lines, waiting) if lines else {"name": base, **nobody, "instances": [], "waiting": []}
    return {**agent, "history": history}


def _base_name(sight: Sight, name: str) -> str:
    if "\x00" in name:
        raise NotFound("there is no agent with this name or id")
    for column in ("base_name", "name", "agent_id"):
        if found := sight.agents().filter(**{column: name}).values_list("base_name", flat=True).first():
            return found
    return name


def recent(tasks: QuerySet[Task]) -> list[Line]:
    """The newest of these tasks, as in a history."""
    rows = tasks.select_related("plan").defer("plan__goal_data", "plan__error").order_by("-created_at", "-id")
    return [_past(task) for task in rows[:RECENT]]


def _past(task: Task) -> Line:
    queue = (task.started_at - task.created_at).total_seconds() if task.started_at else None
    work = (task.ended_at - task.started_at).total_seconds() if task.started_at and task.ended_at else None
    return {
        "plan_id": task.plan.plan_id,
        "task_id": task.task_id,
        "name": task.name,
        "event_type": task.event_type,
        "state": task.state,
        "stalled": task.stalled,
        "attempt": task.attempt,
        "agent_id": task.agent_id or None,
        "created_at": moment(task.created_at),
        "started_at": moment(task.started_at),
        "ended_at": moment(task.ended_at),
        "queue_seconds": None if queue is None else max(0.0, queue),
        "work_seconds": None if work is None else max(0.0, work),
    }
