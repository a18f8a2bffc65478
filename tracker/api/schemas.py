"""The registry's payload schemas: a JSON Schema under a name and a version, never changed once it is there."""

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Query, Router
from pydantic import Field

from accounts.auth import needs
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, FromAgent, Id, Problem, answer, json_text, stored
from tracker.envelope import Text
from tracker.errors import Conflict, NotFound
from tracker.models import PayloadSchema
from tracker.projections.rows import moment

router = Router(tags=["registry"])


class SchemaIn(FromAgent):
    """A JSON Schema with its name and version."""

    schema_name: Id
    version: Id
    json_schema: dict[str, Any]
    description: str | None = None
    owner_agent_id: Text | None = None


class SchemaOut(SchemaIn):
    """A registered schema."""

    created_at: datetime
    updated_at: datetime


class SchemaRegistration(FromAgent):
    """The body of a registration."""

    payload_schema: SchemaIn = Field(alias="schema")


class SchemaRegistered(FromAgent):
    """That it worked."""

    schema_name: str
    version: str
    success: bool
    message: str


class SchemaList(FromAgent):
    """Schemas that fit."""

    schemas: list[SchemaOut]
    count: int


@router.post("/schemas", response={200: SchemaRegistered, 409: Problem, **REFUSALS}, by_alias=True)
@needs("publish")
def define(request: CallerRequest, body: SchemaRegistration) -> HttpResponse:
    """Register a schema. 409 if that name and version is taken."""
    schema, now = body.payload_schema, timezone.now()
    registered = {"createdAt": moment(now), "updatedAt": moment(now)}
    row, created = PayloadSchema.objects.get_or_create(
        workspace_id=request.caller.workspace_id,
        name=schema.schema_name,
        version=schema.version,
        defaults={
            "owner_agent_id": schema.owner_agent_id or "",
            "definition": json_text({**schema.model_dump(by_alias=True), **registered}, "schema"),
            "created_at": now,
        },
    )
    if not created:
        raise Conflict(f"{row.name} {row.version} is registered already")
    done = {"success": True, "message": f"{row.name} {row.version} is registered"}
    return answer({"schemaName": row.name, "version": row.version, **done})


@router.get("/schemas", response={200: SchemaList, **REFUSALS}, by_alias=True)
@needs("read")
def find(request: CallerRequest, owner_agent_id: Annotated[Text | None, Query()] = None) -> HttpResponse:
    """Schemas, by name, oldest version first."""
    owned = {} if owner_agent_id is None else {"owner_agent_id": owner_agent_id}
    rows = PayloadSchema.objects.filter(workspace_id=request.caller.workspace_id, **owned).order_by("name", "pk")
    schemas = [stored(row.definition) for row in rows]
    return answer({"schemas": schemas, "count": len(schemas)})


def _newest(request: CallerRequest, **wanted: str) -> HttpResponse:
    row = PayloadSchema.objects.filter(workspace_id=request.caller.workspace_id, **wanted).order_by("-pk").first()
    if row is None:
        raise NotFound("no such schema is registered")
    return answer(stored(row.definition))


@router.get("/schemas/{id:name}/versions/{version}", response={200: SchemaOut, **MISSING}, by_alias=True)
@needs("read")
def one_version(request: CallerRequest, name: Annotated[Id, Path()], version: Annotated[Id, Path()]) -> HttpResponse:
    """One version of a schema."""
    return _newest(request, name=name, version=version)


@router.get("/schemas/{id:name}", response={200: SchemaOut, **MISSING}, by_alias=True)
@needs("read")
def latest(request: CallerRequest, name: Annotated[Id, Path()]) -> HttpResponse:
    """The newest version of a schema."""
    return _newest(request, name=name)
