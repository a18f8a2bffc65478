"""The registry's event definitions. Publishing and listening are not here: they are plain ASGI (tracker.bus)."""

from typing import Annotated

from django.http import HttpResponse
from django.utils import timezone
from ninja import Query, Router

from accounts.auth import needs
from tracker.api.agents import EventIn
from tracker.api.wire import REFUSALS, CallerRequest, FromAgent, answer, json_text, stored
from tracker.envelope import Text
from tracker.models import EventDefinition

router = Router(tags=["registry"])


class EventRegistration(FromAgent):
    """The body of a registration."""

    event: EventIn


class EventRegistered(FromAgent):
    """That it worked."""

    event_name: str
    success: bool
    message: str


class EventList(FromAgent):
    """Events that fit."""

    events: list[EventIn]
    count: int


@router.post("/events", response={200: EventRegistered, **REFUSALS}, by_alias=True)
@needs("publish")
def define(request: CallerRequest, body: EventRegistration) -> HttpResponse:
    """Describe an event type, or describe it anew: one description a name and topic."""
    row = EventDefinition(
        workspace_id=request.caller.workspace_id,
        name=body.event.event_name,
        topic=body.event.topic,
        definition=json_text(body.event.model_dump(by_alias=True), "event"),
        updated_at=timezone.now(),
    )
    EventDefinition.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "name", "topic"],
        update_fields=["definition", "updated_at"],
    )
    return answer({"eventName": row.name, "success": True, "message": f"{row.name} is registered"})


@router.get("/events", response={200: EventList, **REFUSALS}, by_alias=True)
@needs("read")
def find(
    request: CallerRequest,
    event_name: Annotated[Text | None, Query()] = None,
    topic: Annotated[Text | None, Query()] = None,
) -> HttpResponse:
    """Event types, by name; all of them without a filter."""
    wanted = {"name": event_name, "topic": topic}
    rows = EventDefinition.objects.filter(
        workspace_id=request.caller.workspace_id, **{key: value for key, value in wanted.items() if value is not None}
    ).order_by("name", "topic")
    events = [stored(row.definition) for row in rows]
    return answer({"events": events, "count": len(events)})
