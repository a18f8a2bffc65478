"""/v1/memory/task-context: what workers need to go on when their sub-tasks are done."""

from typing import Annotated, Any

import orjson
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from ninja import Path, Router
from pydantic import BaseModel, Field

from accounts.auth import Caller, needs
from planner import owners
from planner.models import DelegatedTask, TaskContext
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, FromAgent, Id, Ids, answer, json_text, no_content, stored
from tracker.changes import SubTask, TaskContextStored
from tracker.envelope import Text
from tracker.errors import NotFound
from tracker.linking import word
from tracker.projections.rows import moment
from tracker.writer import record

router = Router(tags=["memory"])


class TaskContextIn(FromAgent):
    """A worker's context of one task; `state._sub_tasks` says which sub-tasks form a group and which are done."""

    task_id: Id
    plan_id: Text | None = None
    event_type: Id
    response_event: Text | None = None
    response_topic: Text = "action-results"
    data: dict[str, Any] = Field(default_factory=dict)
    sub_tasks: Ids = Field(default_factory=list)
    state: dict[str, Any] = Field(default_factory=dict)
    user_id: Any = None


class TaskContextUpdate(FromAgent):
    """What has changed; a member that is left out or null has not."""

    sub_tasks: Ids | None = None
    state: dict[str, Any] | None = None


class TaskContextOut(BaseModel):
    """A stored task context."""

    tenant_id: str
    user_id: str | None
    task_id: str
    plan_id: str | None
    event_type: str
    response_event: str | None
    response_topic: str
    data: dict[str, Any]
    sub_tasks: list[str]
    state: dict[str, Any]
    created_at: str
    updated_at: str


def _shown(row: TaskContext) -> dict[str, Any]:
    return {
        "tenant_id": row.tenant_id,
        "user_id": row.user_id or None,
        "task_id": row.task_id,
        "plan_id": row.plan_id or None,
        "event_type": row.event_type,
        "response_event": row.response_event or None,
        "response_topic": row.response_topic,
        "data": stored(row.data),
        "sub_tasks": stored(row.sub_tasks),
        "state": stored(row.state),
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }


def delegations(sub_tasks: list[str], state: dict[str, Any]) -> list[SubTask]:
    """The sub-tasks of a context, with the group and the progress that the SDK keeps in its state."""
    notes = state.get("_sub_tasks")
    notes = notes if isinstance(notes, dict) else {}
    found = []
    for key in dict.fromkeys(key for key in sub_tasks if key):
        note = notes.get(key)
        note = note if isinstance(note, dict) else {}
        done = note.get("status") == "completed"
        found.append(SubTask(sub_task_id=key, group_id=word(note, "parallel_group_id"), done=done))
    return found


def _index(row: TaskContext, sub_tasks: list[str]) -> None:
    """Make the context be found by these sub-task ids and no others."""
    wanted = {key for key in sub_tasks if key}
    there = set(row.delegated.values_list("key", flat=True))
    if wanted != there:
        row.delegated.filter(key__in=there - wanted).delete()
        new = [DelegatedTask(context=row, workspace_id=row.workspace_id, key=key) for key in sorted(wanted - there)]
        DelegatedTask.objects.bulk_create(new, ignore_conflicts=True)


def _store(fields: dict[str, Any], sub_tasks: list[str]) -> TaskContext:
    """Insert the context or overwrite the one that is there; the row as it now stands."""
    row = TaskContext(**fields)
    TaskContext.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["workspace", "task_id", "tenant_id", "user_id"],
        update_fields=[
            "plan_id", "event_type", "response_event", "response_topic", "data", "sub_tasks", "state", "updated_at",
        ],
    )  # fmt: skip
    _index(row, sub_tasks)
    return TaskContext.objects.get(pk=row.pk)


def _owner(caller: Caller, body: TaskContextIn) -> owners.Owner:
    rows = TaskContext.objects.filter(owners.visible(caller), task_id=body.task_id).exclude(tenant_id="")
    return owners.settle(
        caller,
        lambda: rows.order_by("-updated_at", "-pk").values_list("tenant_id", "user_id").first(),
        owners.task(caller, body.task_id),
        owners.message(caller, body.task_id),
        owners.link(caller, body.task_id),
        owners.twin(caller, body.event_type, body.data),
        owners.request(caller, body.event_type, body.data),
        owners.plan(caller, body.plan_id or ""),
        owners.said({"user_id": body.user_id}),
    )


@router.post("/memory/task-context", response={200: TaskContextOut, **REFUSALS})
@needs("publish")
def save(request: CallerRequest, body: TaskContextIn) -> HttpResponse:
    """Store a task's context, or store it anew; the tracker learns from it which sub-tasks belong to which task."""
    caller, now = request.caller, timezone.now()
    owner = _owner(caller, body)
    fields = {
        "workspace_id": caller.workspace_id,
        **owner._asdict(),
        "task_id": body.task_id,
        "plan_id": body.plan_id or "",
        "event_type": body.event_type,
        "response_event": body.response_event or "",
        "response_topic": body.response_topic,
        "data": json_text(body.data, "data"),
        "sub_tasks": json_text(body.sub_tasks, "subTasks"),
        "state": json_text(body.state, "state"),
        "created_at": now,
        "updated_at": now,
    }
    change = TaskContextStored(
        workspace_id=caller.workspace_id,
        tenant_id=owner.tenant_id,
        by=caller.by,
        task_id=body.task_id,
        plan_id=body.plan_id or "",
        event_type=body.event_type,
        data=body.data,
        sub_tasks=delegations(body.sub_tasks, body.state),
        write=lambda: _store(fields, body.sub_tasks),
    )
    return answer(_shown(record([change])[0].value))


def _newest(rows: QuerySet[TaskContext]) -> TaskContext | None:
    return rows.order_by("-updated_at", "-pk").first()


def _known(row: TaskContext | None) -> TaskContext:
    if row is None:
        raise NotFound("no task context is stored for this")
    return row


def _find(caller: Caller, task_id: str) -> TaskContext:
    return _known(_newest(TaskContext.objects.filter(owners.visible(caller), task_id=task_id)))


@router.get("/memory/task-context/by-subtask/{id:sub_task_id}", response={200: TaskContextOut, **MISSING})
@needs("read")
def by_sub_task(request: CallerRequest, sub_task_id: Annotated[Id, Path()]) -> HttpResponse:
    """The context that delegated this sub-task. Asked for each result on the bus; mostly 404."""
    caller = request.caller
    found = DelegatedTask.objects.filter(owners.visible_contexts(caller), key=sub_task_id).select_related("context")
    newest = found.order_by("-context__updated_at", "-context_id").first()
    return answer(_shown(_known(newest.context if newest else None)))


@router.get("/memory/task-context/{id:task_id}", response={200: TaskContextOut, **MISSING})
@needs("read")
def load(request: CallerRequest, task_id: Annotated[Id, Path()]) -> HttpResponse:
    """A task's context."""
    return answer(_shown(_find(request.caller, task_id)))


def _update(pk: int, body: TaskContextUpdate, fields: dict[str, str]) -> TaskContext | None:
    """The updated row; None if it is gone."""
    if not TaskContext.objects.filter(pk=pk).update(updated_at=timezone.now(), **fields):
        return None
    row = TaskContext.objects.get(pk=pk)
    if body.sub_tasks is not None:
        _index(row, body.sub_tasks)
    return row


@router.put("/memory/task-context/{id:task_id}", response={200: TaskContextOut, **MISSING})
@needs("publish")
def update(request: CallerRequest, task_id: Annotated[Id, Path()], body: TaskContextUpdate) -> HttpResponse:
    """Update a task's context."""
    caller = request.caller
    row = _find(caller, task_id)
    fields = {name: json_text(value, name) for name, value in body if value is not None}
    sub_tasks = orjson.loads(row.sub_tasks) if body.sub_tasks is None else body.sub_tasks
    state = orjson.loads(row.state) if body.state is None else body.state
    change = TaskContextStored(
        workspace_id=caller.workspace_id,
        tenant_id=row.tenant_id,
        by=caller.by,
        task_id=task_id,
        plan_id=row.plan_id,
        sub_tasks=delegations(sub_tasks, state),
        write=lambda: _update(row.pk, body, fields),
    )
    return answer(_shown(_known(record([change])[0].value)))


@router.delete("/memory/task-context/{id:task_id}", response={204: None, **MISSING})
@needs("publish")
def delete(request: CallerRequest, task_id: Annotated[Id, Path()]) -> HttpResponse:
    """Forget a task's context. What the tracker learned from it stays."""
    _find(request.caller, task_id).delete()
    return no_content()
