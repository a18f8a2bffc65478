"""The registry's agents: who is there, what they consume and produce."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated, Any

import orjson
from django.conf import settings
from django.db.models import Q
from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Query, Router
from pydantic import Field

from accounts.auth import Caller, needs
from tracker import presence
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, FromAgent, Id, Prose, answer, json_text, stored
from tracker.changes import Heartbeat, Registered
from tracker.envelope import Text
from tracker.errors import NotFound
from tracker.models import Agent, Presence
from tracker.runtime import runtime
from tracker.writer import record

UNKNOWN = "no such agent is registered"
PLACEHOLDER = "unknown"  # the SDK's event of a capability that names none

router = Router(tags=["registry"])


class EventIn(FromAgent):
    """An event as its users describe it."""

    event_name: Id
    topic: Id
    description: str = ""
    payload_schema_name: Text | None = None
    response_schema_name: Text | None = None
    payload_schema: dict[str, Any] | None = None
    response_schema: dict[str, Any] | None = None


class Capability(FromAgent):
    """One thing that an agent can do."""

    task_name: str
    description: str = ""
    consumed_event: EventIn
    produced_events: list[EventIn] = Field(default_factory=list)


class AgentIn(FromAgent):
    """One instance of an agent; `name` may end in its version (`parts-worker:0.1.0`)."""

    agent_id: Id
    name: Id
    description: Prose = ""
    capabilities: list[Capability] = Field(default_factory=list)
    consumed_events: list[Id] | None = None
    produced_events: list[Id] | None = None

    def consumes(self) -> list[str]:
        """Event types that it handles: those it lists, else those of its capabilities."""
        return self.consumed_events or _names(c.consumed_event for c in self.capabilities)

    def produces(self) -> list[str]:
        """Event types that it emits: those it lists, else those of its capabilities."""
        return self.produced_events or _names(event for c in self.capabilities for event in c.produced_events)


class AgentRegistration(FromAgent):
    """The body of a registration."""

    agent: AgentIn


class AgentRegistered(FromAgent):
    """That it worked."""

    agent_id: str
    success: bool
    message: str


class AgentList(FromAgent):
    """Agents that fit."""

    agents: list[AgentIn]
    count: int


def _names(events: Iterable[EventIn]) -> list[str]:
    return list(dict.fromkeys(event.event_name for event in events if event.event_name != PLACEHOLDER))


def base_name(name: str) -> str:
    """The name by which the bus knows an agent: without the version at its end."""
    return name.rpartition(":")[0] or name


@router.post("/agents", response={200: AgentRegistered, **REFUSALS}, by_alias=True)
@needs("publish")
def register(request: CallerRequest, body: AgentRegistration) -> HttpResponse:
    """Register an agent, or register it anew."""
    caller, agent, now = request.caller, body.agent, timezone.now()
    row = Agent(
        workspace_id=caller.workspace_id,
        tenant_id=caller.tenant_id or "",
        agent_id=agent.agent_id,
        name=agent.name,
        base_name=base_name(agent.name),
        description=agent.description,
        capabilities=json_text([c.model_dump(by_alias=True) for c in agent.capabilities], "agent/capabilities"),
        consumed_events=json_text(agent.consumes(), "agent/consumedEvents"),
        produced_events=json_text(agent.produces(), "agent/producedEvents"),
        registered_at=now,
        heartbeat_at=now,
    )
    Agent.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "agent_id", "tenant_id"],
        update_fields=[
            "name", "base_name", "description", "capabilities", "consumed_events", "produced_events",
            "registered_at", "heartbeat_at", "signed_off_at",
        ],
    )  # fmt: skip
    record([Registered(name=row.base_name, **_whose(row))])
    runtime.agent_registered(caller.workspace_id, row.tenant_id, row.base_name)
    return answer({"agentId": agent.agent_id, "success": True, "message": f"{agent.name} is registered"})


def _whose(agent: Agent | Presence) -> dict[str, Any]:
    """Of which agent a change tells."""
    names = ("workspace_id", "tenant_id", "agent_id")
    return {"by": f"agent:{agent.agent_id}"} | {name: getattr(agent, name) for name in names}


def _visible(caller: Caller) -> Q:
    """Agents that have not signed off and that the caller may see: of its tenant, and of the whole workspace."""
    live = Q(workspace_id=caller.workspace_id, signed_off_at=None)
    return live if caller.tenant_id is None else live & Q(tenant_id__in=[caller.tenant_id, ""])


def _own(caller: Caller, agent_id: str) -> Q:
    """The agents of this id that the caller answers for."""
    own = Q(workspace_id=caller.workspace_id, agent_id=agent_id, signed_off_at=None)
    return own if caller.tenant_id is None else own & Q(tenant_id=caller.tenant_id)


def _presences(caller: Caller, agent_id: str) -> Iterable[Presence]:
    """What is known of the agents of this id that the caller answers for."""
    known = Presence.objects.filter(workspace_id=caller.workspace_id, agent_id=agent_id)
    return known if caller.tenant_id is None else known.filter(tenant_id=caller.tenant_id)


def _freshest(agents: Iterable[Agent]) -> list[Agent]:
    """One agent a name: the one that was heard of last."""
    by_name = {agent.name: agent for agent in sorted(agents, key=lambda agent: (agent.heartbeat_at, agent.pk))}
    return sorted(by_name.values(), key=lambda agent: agent.name)


def _shown(agent: Agent) -> dict[str, Any]:
    return {
        "agentId": agent.agent_id,
        "name": agent.name,
        "description": agent.description,
        "capabilities": stored(agent.capabilities),
        "consumedEvents": stored(agent.consumed_events),
        "producedEvents": stored(agent.produced_events),
    }


def _listed(agents: Iterable[Agent]) -> HttpResponse:
    shown = [_shown(agent) for agent in _freshest(agents)]
    return answer({"agents": shown, "count": len(shown)})


def _takes_part(event: str | None, events: str) -> bool:
    return event is None or event in orjson.loads(events)


@router.get("/agents", response={200: AgentList, **REFUSALS}, by_alias=True)
@needs("read")
def find(
    request: CallerRequest,
    agent_id: Annotated[Text | None, Query()] = None,
    name: Annotated[Text | None, Query()] = None,
    consumed_event: Annotated[Text | None, Query()] = None,
    produced_event: Annotated[Text | None, Query()] = None,
) -> HttpResponse:
    """Agents that have not signed off; `name` is any part of theirs, in either case. One a name, the freshest."""
    wanted = _visible(request.caller) & (Q() if agent_id is None else Q(agent_id=agent_id))
    return _listed(
        agent
        for agent in Agent.objects.filter(wanted)
        if (name or "").casefold() in agent.name.casefold()
        and _takes_part(consumed_event, agent.consumed_events)
        and _takes_part(produced_event, agent.produced_events)
    )


@router.get("/agents/discover", response={200: AgentList, **REFUSALS}, by_alias=True)
@needs("read")
def discover(request: CallerRequest, consumed_event: Annotated[Text | None, Query()] = None) -> HttpResponse:
    """Agents that were heard of lately."""
    since = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    heard_of = Agent.objects.filter(_visible(request.caller), heartbeat_at__gte=since)
    return _listed(agent for agent in heard_of if _takes_part(consumed_event, agent.consumed_events))


@router.put("/agents/{id:agent_id}/heartbeat", response={200: AgentRegistered, **MISSING}, by_alias=True)
@needs("publish")
def heartbeat(request: CallerRequest, agent_id: Annotated[Id, Path()]) -> HttpResponse:
    """The agent is alive. 404 asks it to register again."""
    if not Agent.objects.filter(_own(request.caller, agent_id)).update(heartbeat_at=timezone.now()):
        raise NotFound(UNKNOWN)
    news = [Heartbeat(**_whose(one)) for one in _presences(request.caller, agent_id) if presence.is_news(one)]
    if news:
        record(news)
    return answer({"agentId": agent_id, "success": True, "message": "heard"})


@router.delete("/agents/{id:agent_id}", response={200: AgentRegistered, **MISSING}, by_alias=True)
@needs("publish")
def sign_off(request: CallerRequest, agent_id: Annotated[Id, Path()]) -> HttpResponse:
    """The agent leaves. Its name stays known: what is meant for it waits until an instance is back."""
    caller = request.caller
    leaving = list(Agent.objects.filter(_own(caller, agent_id)))
    if not Agent.objects.filter(_own(caller, agent_id)).update(signed_off_at=timezone.now()):
        raise NotFound(UNKNOWN)
    for agent in leaving:
        runtime.agent_registered(caller.workspace_id, agent.tenant_id, agent.base_name)
    return answer({"agentId": agent_id, "success": True, "message": "signed off"})
