"""What one transaction of the ledger knows and changes: plans, tasks, links and log rows, read once, written once.

Every change of a plan or a task goes through `move` or `note`, which change the record and append the log row that says so, with
the changed fields in its data. That is why the rows alone can rebuild the tables.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import count
from typing import Any

from tracker import sql
from tracker.envelope import dumps
from tracker.linking import Heard
from tracker.projections.rows import moment
from tracker.sql import LinkRecord, PlanRecord, RowRecord, TaskRecord
from tracker.states import PLAN, TASK, Machine

Scope = tuple[int, str]  # workspace id, tenant id
SYSTEM = "system"
_COUNTERS = {"completed": "completed_tasks", "failed": "failed_tasks", "cancelled": "cancelled_tasks"}
_PLAN_COLUMNS = tuple(
    c for c in sql.columns(PlanRecord) if c not in {"id", "workspace_id", "tenant_id", "plan_id", "created_at"}
)
_TASK_COLUMNS = tuple(
    c
    for c in sql.columns(TaskRecord)
    if c not in {"id", "plan_id", "workspace_id", "tenant_id", "task_id", "position", "created_at"}
)
_ROW_COLUMNS = ("plan_id", "seq", "task_id", "refused", "reason", "unmatched", "handed_to", "handed_id", "handed_at")
_LINK_KINDS = ("correlation", "context", "subtask", "goal")
_LINK_COLUMNS = ("plan_id", "task_id", "context_key", "group_id", "done")


class Stale(Exception):
    """Somebody else changed a row that was read under no lock of ours; the batch is tried again."""


class World:
    """The records that a batch concerns, kept by id and by key; None stands for what is known to be missing."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.at = sql.native(now)
        self.plans: dict[int, PlanRecord] = {}
        self.tasks: dict[int, TaskRecord] = {}
        self.rows: list[RowRecord] = []
        self._plan_ids: dict[tuple[Scope, str], PlanRecord | None] = {}
        self._task_ids: dict[tuple[Scope, str], TaskRecord | None] = {}
        self._links: dict[tuple[Scope, str, str], LinkRecord | None] = {}
        self._ordinals: dict[tuple[int, str], int] = {}
        self._versions: dict[int, int] = {}  # of tasks, as they were read
        self._new: set[int] = set()  # python ids of records that are not in the database yet
        self._dirty: dict[int, PlanRecord | TaskRecord | LinkRecord] = {}
        self.touched_rows: dict[int, RowRecord] = {}  # kept rows that this batch changes, by primary key
        self.placed_rows: list[RowRecord] = []  # those of them that found their plan
        self._fresh_ids: dict[type, Iterator[int]] = {}

    # --- reading ---------------------------------------------------------------------------------------------------------

    def load_plans(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read plans by their wire ids, locked, in one order for everybody; what is missing is remembered as missing."""
        wanted = {(s, i) for s in scopes for i in ids if i} - self._plan_ids.keys()
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
        wanted = sorted({k for k in keys if k} - self.plans.keys())
        if wanted:
            for plan in sql.select(PlanRecord, f"id IN ({sql.marks(wanted)})", wanted, tail="ORDER BY id", lock=True):
                self._keep_plan(plan)

    def _keep_plan(self, plan: PlanRecord) -> None:
        self.plans.setdefault(plan.id, plan)
        self._plan_ids[((plan.workspace_id, plan.tenant_id), plan.plan_id)] = self.plans[plan.id]

    def load_tasks(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read tasks by their wire ids."""
        wanted = {(s, i) for s in scopes for i in ids if i} - self._task_ids.keys()
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
        wanted = {(s, kind, k) for s in scopes for k in keys if k for kind in _LINK_KINDS} - self._links.keys()
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
        missing = sorted({link.task_id for link in found if link.task_id} - self.tasks.keys())
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

    def _as_here(self, stored: list[RowRecord], new: list[RowRecord]) -> list[RowRecord]:
        """Rows read just now, as this batch has changed them, and those that it made."""
        return [*(self.touched_rows.get(row.id, row) for row in stored), *new]

    def next_name(self, plan: PlanRecord, label: str) -> tuple[str, int]:
        """The name and number of the plan's next task of this label: `label`, `label-2`, `label-3` ..., never one that is taken."""
        ordinal = self._highest(plan, label) + 1
        stem, dash, number = label.rpartition("-")
        if ordinal == 1 and dash and number.isdecimal() and self._highest(plan, stem) >= int(number):
            ordinal = 2  # another task's numbered name is spelled like this label
        while ordinal > 1 and self._highest(plan, f"{label}-{ordinal}"):
            ordinal += 1
        self._ordinals[(plan.id, label)] = ordinal
        return (label if ordinal == 1 else f"{label}-{ordinal}"), ordinal

    def _highest(self, plan: PlanRecord, label: str) -> int:
        key = (plan.id, label)
        if key not in self._ordinals:
            query = "SELECT max(ordinal) FROM tracker_task WHERE plan_id = %s AND label = %s"
            self._ordinals[key] = sql.rows(query, [plan.id, label])[0][0] or 0
        return self._ordinals[key]

    # --- changing --------------------------------------------------------------------------------------------------------

    def _next_id(self, kind: type) -> int:
        ids = self._fresh_ids.get(kind)
        fresh = next(ids, None) if ids else None
        if fresh is None:
            # SQLite: this transaction is the only writer, so counting on from the first free key is safe.
            taken = sql.take_ids(kind, 64 if sql.on_postgresql() else 1)
            self._fresh_ids[kind] = ids = iter(taken) if sql.on_postgresql() else count(taken[0])
            fresh = next(ids)
        return fresh

    def add_plan(self, scope: Scope, plan_id: str) -> PlanRecord:
        """A new plan without a state; the first `move` gives it one."""
        plan = PlanRecord(
            id=self._next_id(PlanRecord),
            workspace_id=scope[0],
            tenant_id=scope[1],
            plan_id=plan_id,
            created_at=self.at,
            updated_at=self.at,
        )
        self._new.add(id(plan))
        self._keep_plan(plan)
        return plan

    def add_task(self, plan: PlanRecord, task_id: str, label: str, event_type: str) -> TaskRecord:
        """A new task without a state; the first `move` gives it one."""
        name, ordinal = self.next_name(plan, label)
        plan.task_count += 1
        task = TaskRecord(
            id=self._next_id(TaskRecord),
            plan_id=plan.id,
            workspace_id=plan.workspace_id,
            tenant_id=plan.tenant_id,
            task_id=task_id,
            name=name,
            label=label,
            ordinal=ordinal,
            event_type=event_type,
            position=plan.task_count,
            created_at=self.at,
            updated_at=self.at,
        )
        self._new.add(id(task))
        self._keep_task(task)
        return task

    def put_link(self, scope: Scope, kind: str, key: str, **values: Any) -> LinkRecord:
        """Make or change a link. Nothing known is replaced by nothing."""
        link = self.link(scope, kind, key)
        if link is None:
            link = LinkRecord(
                id=self._next_id(LinkRecord),
                workspace_id=scope[0],
                tenant_id=scope[1],
                kind=kind,
                key=key,
                created_at=self.at,
            )
            self._new.add(id(link))
            self._links[(scope, kind, key)] = link
        for name, value in values.items():
            if value:
                setattr(link, name, value)
        self._dirty[id(link)] = link
        return link

    def add_row(self, row: RowRecord, plan: PlanRecord | None) -> RowRecord:
        """Append a row to the plan's log; without a plan it waits for one."""
        self.rows.append(row)
        if plan is not None:
            self._number(row, plan)
        return row

    def place_row(self, row: RowRecord, plan: PlanRecord) -> None:
        """Give a waiting row its place in a plan's log."""
        if row.id:
            self.touched_rows[row.id] = row
            self.placed_rows.append(row)
        self._number(row, plan)

    def touch_row(self, row: RowRecord) -> None:
        """Write the row again at the end if it was read from the database (a new one is written anyway)."""
        if row.id:
            self.touched_rows[row.id] = row

    def _number(self, row: RowRecord, plan: PlanRecord) -> None:
        plan.seq += 1
        row.plan_id, row.seq = plan.id, plan.seq
        self._dirty[id(plan)] = plan

    def move(
        self,
        plan: PlanRecord,
        task: TaskRecord | None,
        to: str,
        *,
        by: str,
        cause: Heard | None = None,
        reason: str = "",
        inferred: bool = False,
        occurred_at: datetime | None = None,
        **changed: Any,
    ) -> RowRecord:
        """One legal move of the task, or of the plan when there is no task, with what else changes along with it."""
        subject: PlanRecord | TaskRecord = task or plan
        machine: Machine = TASK if task else PLAN
        was = subject.state
        if was and not machine.move(was, to, stalled=bool(task and task.stalled)):
            raise AssertionError(f"{machine.subject} cannot go from {was} to {to}")
        if task:
            self._count(plan, was, to)
        end = "ended_at" if task else "completed_at"
        if to in machine.ended:
            changed[end] = self.now
        elif was in machine.ended:
            changed[end] = None
        if to in {"running", "in_progress"} and subject.started_at is None:
            changed["started_at"] = self.now
        subject.state = to
        subject.version += 1
        row = self._change(
            plan, task, "transition", f"{machine.subject}.{'state_changed' if was else 'created'}", by, cause, changed
        )
        row.from_state, row.to_state, row.version = was or None, to, subject.version
        row.reason, row.inferred = reason, inferred
        row.occurred_at = occurred_at or row.occurred_at
        return row

    def note(
        self,
        plan: PlanRecord,
        task: TaskRecord | None,
        *,
        by: str,
        cause: Heard | None = None,
        reason: str = "",
        type: str = "",
        **changed: Any,
    ) -> RowRecord | None:
        """Change fields of the task, or of the plan, without a move. Without a difference and a reason there is no row."""
        subject: PlanRecord | TaskRecord = task or plan
        changed = {k: v for k, v in changed.items() if getattr(subject, k) != v}
        if not changed and not reason:
            return None
        row = self._change(plan, task, "note", type or ("task.updated" if task else "plan.updated"), by, cause, changed)
        row.reason = reason
        return row

    def _change(
        self,
        plan: PlanRecord,
        task: TaskRecord | None,
        kind: str,
        type: str,
        by: str,
        cause: Heard | None,
        changed: dict[str, Any],
    ) -> RowRecord:
        subject: PlanRecord | TaskRecord = task or plan
        for name, value in changed.items():
            setattr(subject, name, sql.native(value) if isinstance(value, datetime) else value)
        subject.updated_at = plan.updated_at = self.at
        self._dirty[id(subject)] = subject
        row = RowRecord(
            id=0,
            workspace_id=plan.workspace_id,
            tenant_id=plan.tenant_id,
            kind=kind,
            type=type,
            task_id=task.id if task else None,
            by=by,
            event_id=cause.event_id if cause else "",
            source=cause.source if cause else "",
            correlation_id=cause.correlation_id if cause else "",
            occurred_at=cause.occurred_at if cause else self.now,
            recorded_at=self.now,
            data=dumps({self._public(name): self._shown(name, value) for name, value in changed.items()}),
        )
        return self.add_row(row, plan)

    @staticmethod
    def _public(name: str) -> str:
        return {"parent_id": "parent_task_id", "goal_task_id": "goal_task"}.get(name, name)

    def _shown(self, name: str, value: Any) -> Any:
        if name in {"parent_id", "goal_task_id"}:
            task = self.task_by_key(value)
            return task.task_id if task else None
        return moment(value) if isinstance(value, datetime) else value

    def mark(self, record: PlanRecord | TaskRecord | LinkRecord) -> None:
        """Write the record at the end."""
        self._dirty[id(record)] = record

    @staticmethod
    def _count(plan: PlanRecord, was: str, to: str) -> None:
        for state, step in ((was, -1), (to, 1)):
            if counter := _COUNTERS.get(state):
                setattr(plan, counter, getattr(plan, counter) + step)

    # --- writing ---------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything, each table with one statement a kind of change."""
        plans = [p for p in self.plans.values() if id(p) in self._dirty or id(p) in self._new]
        tasks = [t for t in self.tasks.values() if id(t) in self._dirty or id(t) in self._new]
        links = [x for x in self._links.values() if x and (id(x) in self._dirty or id(x) in self._new)]
        new_plans = self._only_new(plans)
        # A plan may name a task as its goal and a task its plan: the plan goes in first, its goal task with the update.
        goals = {p.id: p.goal_task_id for p in new_plans}
        for plan in new_plans:
            plan.goal_task_id = None
        sql.insert(new_plans)
        sql.insert(self._only_new(tasks))
        self._write_tasks(self._only_old(tasks))
        for plan in new_plans:
            plan.goal_task_id = goals[plan.id]
        sql.update([*self._only_old(plans), *(p for p in new_plans if p.goal_task_id)], _PLAN_COLUMNS)
        sql.insert(self._only_new(links))
        sql.update(self._only_old(links), _LINK_COLUMNS)
        self._write_rows()

    def _write_tasks(self, tasks: list[TaskRecord]) -> None:
        written = sql.update(tasks, (*_TASK_COLUMNS,), versions=[self._versions[t.id] for t in tasks])
        if written != len(tasks):
            raise Stale(f"{len(tasks) - written} tasks changed meanwhile")

    def _write_rows(self) -> None:
        for row, key in zip(self.rows, sql.take_ids(RowRecord, len(self.rows)) if self.rows else (), strict=True):
            row.id = key
        sql.insert(self.rows)
        sql.update(list(self.touched_rows.values()), _ROW_COLUMNS)

    def _only_new(self, records: Iterable[Any]) -> list[Any]:
        return [r for r in records if id(r) in self._new]

    def _only_old(self, records: Iterable[Any]) -> list[Any]:
        return [r for r in records if id(r) not in self._new]
