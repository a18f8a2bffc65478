"""Whose row it is that an agent stores or looks for."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.db.models import Q

from accounts.auth import Caller
from tracker.envelope import dumps
from tracker.linking import digest_of, word
from tracker.models import TENANT, Link, LogRow, Plan, Task

REQUESTS = "action-requests"
RECENT = 10_000  # log rows in which a request is looked for by its data: no index has that


class Owner(NamedTuple):
    """A tenant and a user of it; empty: unknown."""

    tenant_id: str
    user_id: str


Clue = Callable[[], tuple[str, str] | None]


def settle(caller: Caller, *clues: Clue) -> Owner:
    """The owner of what the caller writes.

    The SDK says nowhere for whom it stores. A key bound to a tenant and a user answers that. For one that is not, it is
    read off what the server already knows, the surest clue first: a later one only fills in what is still missing, and
    only if it does not contradict. What no clue tells stays empty, and such rows are found by keys that are not bound.
    """
    tenant, user = caller.tenant_id or "", caller.user_id or ""
    for clue in clues:
        if tenant and user:
            break
        found = clue()
        if found is not None and _agree(tenant, found[0]) and _agree(user, found[1]):
            tenant, user = tenant or found[0], user or found[1]
    return Owner(tenant, user)


def _agree(one: str, other: str) -> bool:
    return not one or not other or one == other


def visible(caller: Caller) -> Q:
    """The rows that the caller may read: its tenant's and user's, or without such a binding all of the workspace."""
    bound = {"workspace_id": caller.workspace_id, "tenant_id": caller.tenant_id, "user_id": caller.user_id}
    return Q(**{name: value for name, value in bound.items() if value is not None})


def visible_contexts(caller: Caller) -> Q:
    """The same for the index rows of contexts. It asks of a context only what they lack, so that their index leads."""
    bound = {"context__tenant_id": caller.tenant_id, "context__user_id": caller.user_id}
    return Q(workspace_id=caller.workspace_id, **{name: value for name, value in bound.items() if value is not None})


def _within(caller: Caller) -> Q:
    within = Q(workspace_id=caller.workspace_id)
    return within if caller.tenant_id is None else within & Q(tenant_id=caller.tenant_id)


def said(words: dict[str, Any]) -> Clue:
    """Clue: `tenant_id` and `user_id` as the agent itself says them inside its free-form state."""
    return lambda: (word(words, "tenant_id", TENANT).strip(), word(words, "user_id", TENANT).strip())


def message(caller: Caller, correlation_id: str) -> Clue:
    """Clue: the newest message of this correlation without a plan; a goal is one when its planner files the plan."""
    rows = LogRow.objects.filter(_within(caller), plan=None, kind=LogRow.Kind.MESSAGE, correlation_id=correlation_id)
    return lambda: rows.order_by("-id").values_list("tenant_id", "user_id").first()


def request(caller: Caller, type: str, data: dict[str, Any]) -> Clue:
    """Clue: the newest request of this type with this very data that has no plan yet, among the log's last rows."""

    def found() -> tuple[str, str] | None:
        head = LogRow.objects.order_by("-id").values_list("id", flat=True).first() or 0
        recent = LogRow.objects.filter(_within(caller), kind=LogRow.Kind.MESSAGE, topic=REQUESTS, id__gt=head - RECENT)
        same = recent.filter(plan=None, type=type, data=dumps(data))
        return same.order_by("-id").values_list("tenant_id", "user_id").first()

    return found


def plan(caller: Caller, plan_id: str) -> Clue:
    """Clue: the newest plan of this id."""
    rows = Plan.objects.filter(_within(caller), plan_id=plan_id)
    return lambda: rows.order_by("-id").values_list("tenant_id", "user_id").first() if plan_id else None


def task(caller: Caller, task_id: str) -> Clue:
    """Clue: the plan of the newest task of this id."""
    rows = Task.objects.filter(_within(caller), task_id=task_id)
    return lambda: rows.order_by("-id").values_list("tenant_id", "plan__user_id").first()


def link(caller: Caller, task_id: str) -> Clue:
    """Clue: the plan to which a stored task context or a delegation has linked this task id."""
    rows = Link.objects.filter(
        _within(caller), key=task_id, kind__in=[Link.Kind.CONTEXT, Link.Kind.SUBTASK], plan__isnull=False
    )
    return lambda: rows.order_by("-id").values_list("tenant_id", "plan__user_id").first()


def twin(caller: Caller, type: str, data: dict[str, Any]) -> Clue:
    """Clue: the plan of the oldest open task with this type and data for which no task context stands yet.

    Workers make up an id for a task whose request names none, so that its context shares nothing else with it.
    """
    rows = Task.objects.filter(_within(caller), aliased=False, ended_at=None)
    return lambda: (
        rows.filter(digest=digest_of(type, data)).order_by("id").values_list("tenant_id", "plan__user_id").first()
    )
