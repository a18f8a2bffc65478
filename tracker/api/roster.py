"""Agents as people look at them: who is there, what each is doing, what waits and why, what it has done."""

from datetime import datetime
from typing import Annotated

from django.http import HttpResponse
from ninja import Path, Router, Schema

from accounts.auth import needs
from tracker.api.reading import sight
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, Id, answer
from tracker.roster import agent_page, roster
from tracker.schemas import Tenant

router = Router(tags=["agents"])


class HeldTask(Schema):
    """A task that an instance holds."""

    plan_id: str
    task_id: str
    name: str
    state: str
    since: datetime


class Instance(Schema):
    """One registered instance. `life` counts how often it was started under this id."""

    agent_id: str
    name: str
    base_name: str
    version: str | None
    presence: str
    connected: bool
    connected_since: datetime | None
    life: int
    description: str
    consumed_events: list[str]
    produced_events: list[str]
    registered_at: datetime
    heartbeat_at: datetime
    tasks: list[HeldTask]
    holds: int
    more: int


class Queue(Schema):
    """What waits for an agent. `why`: held, nobody_listens, agent_away, full, queued; `detail`: the same in words."""

    event_type: str
    count: int
    since: datetime
    why: str
    detail: str


class AgentLine(Schema):
    """An agent by name. `presence`: connected, live (heard of lately), silent, away (signed off)."""

    name: str
    presence: str
    description: str
    consumed_events: list[str]
    produced_events: list[str]
    holds: int
    instances: list[Instance]
    waiting: list[Queue]


class Roster(Schema):
    """All agents, and all that waits for one."""

    agents: list[AgentLine]
    waiting: list[Queue]


class PastTask(Schema):
    """A task that an agent held, with its outcome: how long it waited, and how long it was worked on."""

    plan_id: str
    task_id: str
    name: str
    event_type: str
    state: str
    stalled: bool
    attempt: int
    agent_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    queue_seconds: float | None
    work_seconds: float | None


class AgentPage(AgentLine):
    """An agent with its newest tasks."""

    history: list[PastTask]


@router.get("/tracker/agents", response={200: Roster, **REFUSALS})
@needs("read")
def list_agents(request: CallerRequest, tenant: Tenant = None) -> HttpResponse:
    """Agents by name with their instances, and what waits for an agent."""
    return answer(roster(sight(request, tenant)))


@router.get("/tracker/agents/{id:agent_id}", response={200: AgentPage, **MISSING})
@needs("read")
def one_agent(request: CallerRequest, agent_id: Annotated[Id, Path()], tenant: Tenant = None) -> HttpResponse:
    """One agent by its name, or by the id of an instance, with its newest 50 tasks."""
    return answer(agent_page(sight(request, tenant), agent_id))
