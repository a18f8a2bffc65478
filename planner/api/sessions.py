"""/v1/memory/sessions: conversations that group plans."""

from typing import Annotated, Any

from django.http import HttpResponse
from django.utils import timezone
from ninja import Query, Router
from pydantic import BaseModel, Field

from accounts.auth import needs
from planner import owners
from planner.models import Session
from tracker.api.wire import REFUSALS, CallerRequest, FromAgent, Id, Prose, answer, json_text, stored
from tracker.projections.rows import moment

router = Router(tags=["memory"])


class SessionIn(FromAgent):
    """A conversation."""

    session_id: Id
    name: Prose | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SessionSummary(BaseModel):
    """A conversation; its last interaction is when it was stored or a plan was filed in it."""

    tenant_id: str
    user_id: str
    session_id: str
    name: str | None
    metadata: dict[str, Any]
    created_at: str
    last_interaction: str


def _shown(row: Session) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        "session_id": row.session_id,
        "name": row.name,
        "metadata": stored(row.metadata),
        "created_at": moment(row.created_at),
        "last_interaction": moment(row.updated_at),
    }


@router.post("/memory/sessions", response={201: SessionSummary, **REFUSALS})
@needs("publish")
def save(request: CallerRequest, body: SessionIn) -> HttpResponse:
    """Store a session, or store it anew."""
    caller, now = request.caller, timezone.now()
    row = Session(
        workspace_id=caller.workspace_id,
        **owners.settle(caller)._asdict(),
        session_id=body.session_id,
        name=body.name,
        metadata=json_text(body.metadata, "metadata"),
        created_at=now,
        updated_at=now,
    )
    Session.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "session_id", "tenant_id", "user_id"],
        update_fields=["name", "metadata", "updated_at"],
    )
    return answer(_shown(Session.objects.get(pk=row.pk)), status=201)


@router.get("/memory/sessions", response={200: list[SessionSummary], **REFUSALS})
@needs("read")
def find(request: CallerRequest, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> HttpResponse:
    """Sessions, the one last used first."""
    rows = Session.objects.filter(owners.visible(request.caller)).order_by("-updated_at", "-pk")[:limit]
    return answer([_shown(row) for row in rows])
