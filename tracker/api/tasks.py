"""Queries about tasks. An id may hold slashes, so the route that ends with one comes last."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from ninja import Query, Router

from accounts.auth import needs
from tracker.api.paging import page, page_body
from tracker.api.reading import sight
from tracker.api.wire import MISSING, REFUSALS, CallerRequest, answer
from tracker.metrics import tasks_of
from tracker.models import Task
from tracker.projections.lookup import Sight, with_relatives
from tracker.projections.rows import moment
from tracker.schemas import TaskFilter, TaskItem, TaskPage, Tenant
from tracker.states import TASK

router = Router(tags=["tasks"])


def etag(version: int) -> str:
    """The entity tag of a task of this version."""
    return f'"v{version}"'


@router.get("/tracker/tasks", response={200: TaskPage, **REFUSALS})
@needs("read")
def list_tasks(request: CallerRequest, which: Query[TaskFilter]) -> HttpResponse:
    """Tasks of all plans, newest first."""
    tasks = chosen(sight(request, which.tenant), which)
    found, cursor = page("tasks", with_relatives(tasks), which.cursor, which.limit)
    return answer(page_body([task_item(task) for task in found], cursor))


def chosen(seen: Sight, which: TaskFilter) -> QuerySet[Task]:
    """Those of the tasks in sight that the filter lets pass."""
    tasks = tasks_of(seen, which.agent) if which.agent else seen.tasks()
    exact = {"plan__plan_id": which.plan, "state__in": which.state}
    tasks = tasks.filter(**{name: value for name, value in exact.items() if value})
    return tasks if which.stalled is None else tasks.filter(stalled=which.stalled)


@router.get("/tracker/tasks/{id:task_id}", response={200: TaskItem, **MISSING})
@needs("read")
def task_detail(request: CallerRequest, task_id: str, tenant: Tenant = None) -> HttpResponse:
    """The task; its version also as ETag, for If-Match."""
    task = sight(request, tenant).task(task_id)
    response = answer(task_item(task))
    response["ETag"] = etag(task.version)
    return response


def task_item(task: Task) -> dict[str, Any]:
    """The task in its public shape; wants `plan` and `parent` read with it."""
    return {
        "task_id": task.task_id,
        "plan_id": task.plan.plan_id,
        "parent_task_id": task.parent.task_id if task.parent else None,
        "name": task.name,
        "event_type": task.event_type,
        "state": task.state,
        "version": task.version,
        "attempt": task.attempt,
        "agent": task.agent or None,
        "agent_id": task.agent_id or None,
        "progress": task.progress,
        "message": task.message or None,
        "stalled": task.stalled,
        "stalled_reason": task.stalled_reason or None,
        "stalled_at": moment(task.stalled_at),
        "timeout": task.timeout,
        "error": task.error or None,
        "position": task.position,
        "allowed_transitions": TASK.targets(task.state, stalled=task.stalled),
        "created_at": moment(task.created_at),
        "started_at": moment(task.started_at),
        "ended_at": moment(task.ended_at),
        "updated_at": moment(task.updated_at),
        "correlation_id": task.correlation_id or None,
        "response_event": task.response_event or None,
        "request_event_id": task.request_event_id or None,
        "tenant_id": task.tenant_id,
    }
