"""What the list streams of the tracker show: plans and agents."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.db.models import QuerySet

from tracker.api.plans import chosen
from tracker.live.list_stream import View
from tracker.live.protocol import Item, stamp_of
from tracker.models import Plan
from tracker.projections.snapshots import plan_items
from tracker.roster import AWAY, CONNECTED, LIVE, instances
from tracker.schemas import PlanFilter

WINDOW = 50  # plans in a snapshot and in a digest
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
        here = self.connected.get(view.sight.workspace_id, ())
        lines = [line for line in instances(view.sight) if line["presence"] != AWAY]
        return [_stamped(line["agent_id"], agent_line(line, line["agent_id"] in here)) for line in lines]

    def changed(self, view: View, keys: Collection[int]) -> tuple[list[Item], list[str]]:
        """Not asked for: the window is the whole list."""
        return self.window(view), []


def agent_line(line: dict[str, Any], here: bool) -> dict[str, Any]:
    """An instance as an item of the stream; `here`: it is connected to this process, which knows it first.

    Without the times of heartbeats, which change all the time; `live`: the last one is recent enough.
    """
    connected = here or line["connected"]
    presence = CONNECTED if here and line["presence"] == LIVE else line["presence"]
    item = {name: value for name, value in line.items() if name != "heartbeat_at"}
    return item | {"connected": connected, "presence": presence, "live": presence in {CONNECTED, LIVE}}


def _stamped(id: str, body: dict[str, Any]) -> Item:
    stamp = stamp_of(body)
    return Item(id, stamp, {**body, "stamp": stamp})
