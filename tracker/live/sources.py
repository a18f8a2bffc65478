"""What the list streams of the tracker show: plans and agents."""

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from tracker.api.plans import chosen
from tracker.live.list_stream import View
from tracker.live.protocol import Item, stamp_of
from tracker.models import Agent, Plan
from tracker.projections.rows import moment
from tracker.projections.snapshots import plan_items
from tracker.schemas import PlanFilter

WINDOW = 50  # plans in a snapshot and in a digest
LONGEST_LIST = 1000  # agents
CHUNK = 500  # keys in one statement


class Plans:
    """Plans, newest first, those that the filter admits; an item's id is its plan_id, its stamp its seq."""

    whole = False

    def window(self, view: View) -> list[Item]:
        """The newest 50."""
        return _plan_lines(admitted(view).order_by("-id")[:WINDOW])

    def changed(self, view: View, keys: Collection[int]) -> tuple[list[Item], list[str]]:
        """The plans with these primary keys: items that are admitted, ids that are not."""
        items: list[Item] = []
        gone: list[str] = []
        for some in _chunks(sorted(keys, reverse=True)):
            found = _plan_lines(admitted(view).filter(pk__in=some).order_by("-id"))
            items += found
            if len(found) < len(some):
                there = view.sight.plans().filter(pk__in=some).values_list("plan_id", flat=True)
                gone += set(there) - {item.id for item in found}
        return items, gone


def admitted(view: View) -> QuerySet[Plan]:
    """The plans in sight that the filter admits."""
    return chosen(view.sight.plans(), PlanFilter.model_validate_json(view.filter))


def _plan_lines(plans: Iterable[Plan]) -> list[Item]:
    return [Item(body["plan_id"], body["seq"], {**body, "stamp": body["seq"]}) for body in plan_items(plans)]


def _chunks(keys: list[int]) -> Iterable[list[int]]:
    return (keys[at : at + CHUNK] for at in range(0, len(keys), CHUNK))


class Agents:
    """Registered agents that have not signed off, by name; an item's id is its agent_id."""

    whole = True

    def __init__(self, connected: Mapping[int, Collection[str]]) -> None:
        """`connected`: by workspace (primary key), the agent_ids that hold a stream of events open."""
        self.connected = connected

    def window(self, view: View) -> list[Item]:
        """All of them."""
        agents = view.sight.agents().filter(signed_off_at=None).order_by("base_name", "agent_id")[:LONGEST_LIST]
        connected = self.connected.get(view.sight.workspace_id, ())
        return [_stamped(agent.agent_id, agent_line(agent, agent.agent_id in connected)) for agent in agents]

    def changed(self, view: View, keys: Collection[int]) -> tuple[list[Item], list[str]]:
        """Not asked for: the window is the whole list."""
        return self.window(view), []


def agent_line(agent: Agent, connected: bool) -> dict[str, Any]:
    """An agent as a line of a list; `live`: its last heartbeat is recent enough."""
    recent = timezone.now() - timedelta(seconds=settings.AGENT_TTL_SECONDS)
    return {
        "agent_id": agent.agent_id,
        "name": agent.name,
        "base_name": agent.base_name,
        "description": agent.description,
        "consumed_events": orjson.Fragment(agent.consumed_events),
        "produced_events": orjson.Fragment(agent.produced_events),
        "registered_at": moment(agent.registered_at),
        "live": agent.heartbeat_at > recent,
        "connected": connected,
    }


def _stamped(id: str, body: dict[str, Any]) -> Item:
    stamp = stamp_of(body)
    return Item(id, stamp, {**body, "stamp": stamp})
