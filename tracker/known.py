"""What a batch has read: plans, tasks, links and kept rows, each once, by id and by key; None stands for what is known to be missing."""

from collections.abc import Collection
from typing import Any

from tracker import sql
from tracker.changes import Change
from tracker.sql import LinkRecord, PlanRecord, RowRecord, TaskRecord
from tracker.states import TASK

Scope = tuple[int, str]  # workspace id, tenant id
_LINK_KINDS = ("correlation", "context", "subtask", "goal")


def scope_of(change: Change) -> Scope:
    """Whose world a change is about."""
    return change.workspace_id, change.tenant_id


class Known:
    """The records that a batch concerns. Reading changes nothing; what the batch changed is given as it stands in it."""

    def __init__(self) -> None:
        self.plans: dict[int, PlanRecord] = {}
        self.tasks: dict[int, TaskRecord] = {}
        self.rows: list[RowRecord] = []  # made by this batch
        self.touched_rows: dict[int, RowRecord] = {}  # kept rows that this batch changes, by primary key
        self._plan_ids: dict[tuple[Scope, str], PlanRecord | None] = {}
        self._task_ids: dict[tuple[Scope, str], TaskRecord | None] = {}
        self._links: dict[tuple[Scope, str, str], LinkRecord | None] = {}
        self._versions: dict[int, int] = {}  # of tasks, as they were read
        self._dirty: dict[int, PlanRecord | TaskRecord | LinkRecord] = {}  # by python id

    def load_plans(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read plans by their wire ids, locked, in one order for everybody; what is missing is remembered as missing."""
        wanted = {key for s in scopes for i in ids if i and (key := (s, i)) not in self._plan_ids}
        if not wanted:
            return
        names = sorted({i for _, i in wanted})
        spaces = sorted({s[0] for s, _ in wanted})
        where = f"plan_id IN ({sql.marks(names)}) AND workspace_id IN ({sql.marks(spaces)})"
        for plan in sql.select(PlanRecord, where, [*names, *spaces], tail="ORDER BY id", lock=True):
            self._keep_plan(plan)
        for key in wanted:
            self._plan_ids.setdefault(key, None)

    def load_plan_keys(self, keys: Collection[int | None]) -> None:
        """Read plans by primary key, locked."""
        wanted = sorted({k for k in keys if k and k not in self.plans})
        if wanted:
            for plan in sql.select(PlanRecord, f"id IN ({sql.marks(wanted)})", wanted, tail="ORDER BY id", lock=True):
                self._keep_plan(plan)

    def _keep_plan(self, plan: PlanRecord) -> None:
        self.plans.setdefault(plan.id, plan)
        self._plan_ids[((plan.workspace_id, plan.tenant_id), plan.plan_id)] = self.plans[plan.id]

    def load_tasks(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read tasks by their wire ids."""
        wanted = {key for s in scopes for i in ids if i and (key := (s, i)) not in self._task_ids}
        if not wanted:
            return
        names = sorted({i for _, i in wanted})
        spaces = sorted({s[0] for s, _ in wanted})
        self.find_tasks(f"task_id IN ({sql.marks(names)}) AND workspace_id IN ({sql.marks(spaces)})", [*names, *spaces])
        for key in wanted:
            self._task_ids.setdefault(key, None)

    def find_tasks(self, where: str, values: list[Any], tail: str = "") -> list[TaskRecord]:
        """Read tasks by a condition. Tasks that this batch already holds come as they stand in it now."""
        found = [self._keep_task(task) for task in sql.select(TaskRecord, where, values, tail=tail)]
        self.load_plan_keys({task.plan_id for task in found})
        return found

    def _keep_task(self, task: TaskRecord) -> TaskRecord:
        kept = self.tasks.setdefault(task.id, task)
        if kept is task:
            self._versions[task.id] = task.version
            self._task_ids[((task.workspace_id, task.tenant_id), task.task_id)] = task
        return kept

    def load_links(self, scopes: Collection[Scope], keys: Collection[str]) -> None:
        """Read links of every kind by their keys, with their plans and tasks."""
        wanted = {
            key for s in scopes for k in keys if k for kind in _LINK_KINDS if (key := (s, kind, k)) not in self._links
        }
        if not wanted:
            return
        names = sorted({k for _, _, k in wanted})
        spaces = sorted({s[0] for s, _, _ in wanted})
        where = f"key IN ({sql.marks(names)}) AND workspace_id IN ({sql.marks(spaces)})"
        self.find_links(where, [*names, *spaces])
        for key in wanted:
            self._links.setdefault(key, None)

    def find_links(self, where: str, values: list[Any]) -> list[LinkRecord]:
        """Read links by a condition, with their plans and tasks."""
        found = []
        for link in sql.select(LinkRecord, where, values):
            key = ((link.workspace_id, link.tenant_id), link.kind, link.key)
            kept = self._links.get(key)
            if kept is None:
                self._links[key] = kept = link
            found.append(kept)
        self.load_plan_keys({link.plan_id for link in found})
        missing = sorted({link.task_id for link in found if link.task_id and link.task_id not in self.tasks})
        if missing:
            self.find_tasks(f"id IN ({sql.marks(missing)})", missing)
        return found

    def forget_missing(self, scopes: Collection[Scope], keys: Collection[str]) -> None:
        """Forget that these plans and links were missing, so that they are looked up again."""
        for scope in scopes:
            for key in keys:
                if self._plan_ids.get((scope, key), self) is None:
                    del self._plan_ids[(scope, key)]
                for kind in _LINK_KINDS:
                    if self._links.get((scope, kind, key), self) is None:
                        del self._links[(scope, kind, key)]

    def plan(self, scope: Scope, plan_id: str) -> PlanRecord | None:
        """The plan of that wire id."""
        if not plan_id:
            return None
        self.load_plans([scope], [plan_id])
        return self._plan_ids[(scope, plan_id)]

    def task(self, scope: Scope, task_id: str) -> TaskRecord | None:
        """The task of that wire id."""
        if not task_id:
            return None
        self.load_tasks([scope], [task_id])
        return self._task_ids[(scope, task_id)]

    def link(self, scope: Scope, kind: str, key: str) -> LinkRecord | None:
        """The link of that kind and key."""
        if not key:
            return None
        self.load_links([scope], [key])
        return self._links[(scope, kind, key)]

    def links_where(self, **wanted: Any) -> list[LinkRecord]:
        """Links that this batch holds and that fit."""
        return [x for x in self._links.values() if x and all(getattr(x, k) == v for k, v in wanted.items())]

    def task_by_key(self, key: int | None) -> TaskRecord | None:
        """The task of that primary key."""
        if key is not None and key not in self.tasks:
            self.find_tasks("id = %s", [key])
        return self.tasks.get(key) if key is not None else None

    def open_tasks(self, plan: PlanRecord, limit: int, **wanted: str) -> list[TaskRecord]:
        """The plan's oldest open tasks whose columns have these values, at least `limit` of them if there are so many."""
        ends = sorted(TASK.ended)
        conditions = " AND ".join(f'"{column}" = %s' for column in wanted)
        # Tasks that this batch ended are still open in the database, and must not crowd out those that are.
        ended_here = sum(
            1 for t in self.tasks.values() if t.plan_id == plan.id and t.state in TASK.ended and id(t) in self._dirty
        )
        self.find_tasks(
            f"plan_id = %s AND {conditions} AND state NOT IN ({sql.marks(ends)})",
            [plan.id, *wanted.values(), *ends],
            tail=f"ORDER BY position LIMIT {limit + ended_here}",
        )
        mine = (t for t in self.tasks.values() if t.plan_id == plan.id and t.state in TASK.open_states)
        return sorted((t for t in mine if all(getattr(t, k) == v for k, v in wanted.items())), key=lambda t: t.position)

    def unmatched_rows(self, plan: PlanRecord, correlation_id: str, refs: Collection[str]) -> list[RowRecord]:
        """The plan's messages that wait for a task of this correlation or of one of these ids, oldest first."""
        if not plan.unmatched:
            return []
        names = sorted({ref for ref in refs if ref})
        by_ref = f" OR task_ref IN ({sql.marks(names)})" if names else ""
        where = f"plan_id = %s AND unmatched AND (correlation_id = %s{by_ref})"
        stored = sql.select(RowRecord, where, [plan.id, correlation_id, *names], tail="ORDER BY id")
        new = [
            r for r in self.rows if r.plan_id == plan.id and (r.correlation_id == correlation_id or r.task_ref in names)
        ]
        return [row for row in self._as_here(stored, new) if row.unmatched]

    def unplaced_rows(self, scope: Scope, keys: Collection[str]) -> list[RowRecord]:
        """Messages of these correlations that wait for their plan, oldest first."""
        names = sorted({k for k in keys if k})
        if not names:
            return []
        where = f"plan_id IS NULL AND workspace_id = %s AND tenant_id = %s AND correlation_id IN ({sql.marks(names)})"
        stored = sql.select(RowRecord, where, [*scope, *names], tail="ORDER BY id")
        new = [r for r in self.rows if (r.workspace_id, r.tenant_id) == scope and r.correlation_id in names]
        return [row for row in self._as_here(stored, new) if row.plan_id is None]

    def kept_rows(self, where: str, values: list[Any]) -> list[RowRecord]:
        """Rows of the log by a condition, as this batch has changed them."""
        return self._as_here(sql.select(RowRecord, where, values, tail="ORDER BY id"), [])

    def _as_here(self, stored: list[RowRecord], new: list[RowRecord]) -> list[RowRecord]:
        """Rows read just now, as this batch has changed them, and those that it made."""
        return [*(self.touched_rows.get(row.id, row) for row in stored), *new]
