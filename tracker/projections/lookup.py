"""What a caller may see, and how a thing is found by the id that the wire gave it. What is foreign is not there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

from django.db import connection, transaction
from django.db.models import Model, QuerySet

from accounts.auth import Caller
from tracker import sql
from tracker.errors import NotFound
from tracker.models import Agent, Link, LogRow, Plan, Task
from tracker.records import PlanRecord, R, TaskRecord

M = TypeVar("M", bound=Model)
PLAN_COLUMNS = [field.attname for field in Plan._meta.concrete_fields]
PLAN_VALUES = attrgetter(*PLAN_COLUMNS)


@dataclass(frozen=True, slots=True)
class Sight:
    """A window on one workspace: all of its tenants (`tenant_id` None) or one; `blind`: nothing at all."""

    workspace_id: int
    tenant_id: str | None = None
    blind: bool = False

    @classmethod
    def of(cls, caller: Caller, tenant: str | None = None) -> "Sight":
        """What the caller sees, narrowed to a tenant that was asked for; one that is not the caller's shows nothing."""
        if not tenant:
            return cls(caller.workspace_id, caller.tenant_id)
        return cls(caller.workspace_id, tenant, blind=not caller.sees(tenant) or "\x00" in tenant)

    def within(self, rows: QuerySet[M]) -> QuerySet[M]:
        """Of these rows those in sight."""
        if self.blind:
            return rows.none()
        rows = rows.filter(workspace_id=self.workspace_id)
        return rows if self.tenant_id is None else rows.filter(tenant_id=self.tenant_id)

    def plans(self) -> QuerySet[Plan]:
        """The plans in sight."""
        return self.within(Plan.objects.all())

    def tasks(self) -> QuerySet[Task]:
        """The tasks in sight."""
        return self.within(Task.objects.all())

    def links(self) -> QuerySet[Link]:
        """The links in sight."""
        return self.within(Link.objects.all())

    def agents(self) -> QuerySet[Agent]:
        """The agents in sight; one that a key without a tenant registered works for every tenant."""
        if self.blind:
            return Agent.objects.none()
        agents = Agent.objects.filter(workspace_id=self.workspace_id)
        return agents if self.tenant_id is None else agents.filter(tenant_id__in=("", self.tenant_id))

    def plan(self, plan_id: str) -> Plan:
        """The plan of this id, the newest if several tenants have one; raises NotFound."""
        record = self._newest(PlanRecord, "plan_id", plan_id)
        if record is None:
            raise NotFound("there is no plan with this id")
        return _plan_of(record)

    def tenant_of(self, task_id: str) -> str:
        """Whose task this is, the newest's if several tenants have one; raises NotFound."""
        record = self._newest(TaskRecord, "task_id", task_id)
        if record is None:
            raise NotFound("there is no task with this id")
        return record.tenant_id

    def _newest(self, kind: type[R], column: str, name: str) -> R | None:
        # Nearly every request begins here, and the ORM would build this statement anew each time. Sorted by `id`
        # itself, SQLite would walk through all plans of the workspace.
        if self.blind or "\x00" in name:
            return None
        where, values = f"{column} = %s AND workspace_id = %s", [name, self.workspace_id]
        if self.tenant_id is not None:
            where += " AND tenant_id = %s"
            values.append(self.tenant_id)
        found = sql.select(kind, where, values, tail="ORDER BY +id DESC LIMIT 1")
        return found[0] if found else None

    def task(self, task_id: str) -> Task:
        """The task of this id with its plan and parent, the newest if several tenants have one; raises NotFound."""
        tasks = with_relatives(self.tasks().filter(task_id=task_id)).order_by("-id")
        task = None if "\x00" in task_id else tasks.first()
        if task is None:
            raise NotFound("there is no task with this id")
        return task


def _plan_of(record: PlanRecord) -> Plan:
    """The model of a record."""
    values = [
        sql.as_datetime(value) if value and name.endswith("_at") else value
        for name, value in zip(PLAN_COLUMNS, PLAN_VALUES(record), strict=True)
    ]
    return Plan.from_db(connection.alias, PLAN_COLUMNS, values)


def with_relatives(tasks: QuerySet[Task]) -> QuerySet[Task]:
    """The tasks with their plan and parent read along, without the plan's long texts."""
    return tasks.select_related("plan", "parent").defer("plan__goal_data", "plan__error")


def find_plan(workspace_id: int, tenant_id: str | None, plan_id: str) -> Plan | None:
    """The plan of this id or None; the newest if `tenant_id` is None (all tenants) and several tenants have one."""
    try:
        return Sight(workspace_id, tenant_id).plan(plan_id)
    except NotFound:
        return None


def log_of(plan: Plan) -> QuerySet[LogRow]:
    """The plan's log, oldest row first."""
    return LogRow.objects.filter(plan=plan).order_by("seq")


@contextmanager
def one_moment() -> Iterator[None]:
    """All reads inside see the same committed state, and take no lock that a writer would wait for. Reads only.

    Inside a transaction, or inside another one, it changes nothing: the moment is then that one's affair.
    """
    if connection.in_atomic_block or getattr(connection.connection, "in_transaction", False):
        yield
    elif connection.vendor == "sqlite":
        # `atomic` would begin IMMEDIATE here, which takes the write lock.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
