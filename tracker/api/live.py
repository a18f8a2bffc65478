"""Tickets for the live socket, for clients that can set neither a cookie nor a header on it."""

from django.http import HttpResponse
from ninja import Router, Schema
from pydantic import Field

from accounts.auth import needs
from tracker.api.wire import REFUSALS, CallerRequest, answer
from tracker.live import access

router = Router(tags=["live"])


class Ticket(Schema):
    """What opens one socket."""

    ticket: str = Field(description="for /ws/live?ticket=; good once")
    expires_in: int = Field(description="seconds")


@router.post("/live-tickets", response={201: Ticket, **REFUSALS})
@needs("read")
def create_ticket(request: CallerRequest) -> HttpResponse:
    """A ticket that opens one live socket as the caller."""
    return answer({"ticket": access.issue(request.caller), "expires_in": access.TICKET_SECONDS}, status=201)
