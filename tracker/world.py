"""What one transaction of the ledger knows and changes: plans, tasks, links and log rows, read once, written once.

Every change of a plan or a task goes through `move` or `note`, which change the record and append the log row that
says so, with the changed fields in its data. That is why the rows alone can rebuild the tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from tracker import sql
from tracker.envelope import dumps
from tracker.known import Known, Scope
from tracker.linking import Heard, storable
from tracker.names import Names
from tracker.projections.rows import moment
from tracker.records import LinkRecord, PlanRecord, R, Record, RowRecord, TaskRecord
from tracker.sql import Update
from tracker.states import PLAN, TASK, Machine

SYSTEM = "system"
QUIET = "task.quiet"  # the deadline of a task that has a time to get on in
WATCHED = frozenset({"running", "delegated", "waiting"})  # where others are not waited for, people above all
NOT_STALLED: dict[str, Any] = {"stalled": False, "stalled_reason": "", "stalled_at": None}
_COUNTERS = {"completed": "completed_tasks", "failed": "failed_tasks", "cancelled": "cancelled_tasks"}
_ROW_COLUMNS = (
    "plan_id", "seq", "task_id", "refused", "reason", "unmatched", "handed_to", "handed_id", "handed_at",
    "attempt",
)  # fmt: skip
_VERSION = sql.columns(TaskRecord).index("version")


class Stale(Exception):
    """Somebody else changed a row that was read under no lock of ours; the batch is tried again."""


class World(Known):
    """What one transaction knows and changes."""

    def __init__(self, now: datetime) -> None:
        super().__init__()
        self.now = now
        self.at = sql.native(now)
        self.cursors: dict[int, int] = {}  # of the queue groups that are served, before this batch
        self.placed_rows: list[RowRecord] = []  # kept rows that found their plan
        self.asked_again: list[RowRecord] = []  # requests that are to be handed over once more
        self.deadlines: dict[tuple[str, int], datetime | None] = {}  # by kind and subject; None: taken back
        self.due: set[tuple[str, int]] = set()  # those that this batch has taken, to act upon them
        self.present: set[tuple[int, str]] = set()  # agents (workspace, id) that are known to be connected
        self.back: list[tuple[int, str, str]] = []  # agents (workspace, tenant, id) with another stream than before
        self._new: set[int] = set()  # python ids of records that are not in the database yet
        self._names = Names()
        self._fresh_ids: dict[type, Iterator[int]] = {}

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

    def add_task(self, plan: PlanRecord, task_id: str, label: str, event_type: str, correlation_id: str) -> TaskRecord:
        """A new task without a state; the first `move` gives it one."""
        name, label, ordinal = self._names.next(plan.id, label)
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
            correlation_id=correlation_id,
            position=plan.task_count,
            created_at=self.at,
            updated_at=self.at,
        )
        self._new.add(id(task))
        self._keep_task(task)
        self.correlate(plan, correlation_id)
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
        self.mark(link)
        return link

    def add_row(self, row: RowRecord, plan: PlanRecord | None) -> RowRecord:
        """Append a row to the plan's log; without a plan it waits for one."""
        self.rows.append(row)
        if plan is not None:
            self._number(row, plan)
        else:
            self._unplaced.append(row)
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
        event_id: str = "",
        told: dict[str, Any] | None = None,
        **changed: Any,
    ) -> RowRecord:
        """One legal move of the task, or of the plan when there is no task, with what else changes along with it.

        `told`: what was said besides; it is kept in the row alone.
        """
        subject: PlanRecord | TaskRecord = task or plan
        machine: Machine = TASK if task else PLAN
        was = subject.state
        if was and not machine.move(was, to, stalled=bool(task and task.stalled)):
            raise AssertionError(f"{machine.subject} cannot go from {was} to {to}")
        if task:
            self._count(plan, was, to)
            if task.stalled:
                changed = NOT_STALLED | changed
            if task.timeout:
                self._time(task, to in WATCHED)
        end, when = "ended_at" if task else "completed_at", min(occurred_at or self.now, self.now)
        if to in machine.ended:
            changed[end] = when
        elif was in machine.ended:
            changed[end] = None
            self._open_subs.clear()
        if to in {"running", "in_progress"} and subject.started_at is None:
            changed["started_at"] = when
        subject.state = to
        subject.version += 1
        row = self._change(
            plan,
            task,
            "transition",
            f"{machine.subject}.{'state_changed' if was else 'created'}",
            by,
            cause,
            changed,
            told,
        )
        row.from_state, row.to_state, row.version = was or None, to, subject.version
        row.reason, row.inferred = reason, inferred
        row.occurred_at, row.event_id = occurred_at or row.occurred_at, event_id or row.event_id
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
        told: dict[str, Any] | None = None,
        **changed: Any,
    ) -> RowRecord | None:
        """Change fields of the task, or of the plan, without a move.

        Without a difference and a reason there is no row.
        """
        subject: PlanRecord | TaskRecord = task or plan
        changed = {k: v for k, v in changed.items() if getattr(subject, k) != v}
        if not (changed or reason or told):
            return None
        if task and task.timeout and "progress" in changed:
            self._time(task, task.state in WATCHED)
        row = self._change(
            plan, task, "note", type or ("task.updated" if task else "plan.updated"), by, cause, changed, told
        )
        row.reason = reason
        return row

    def _time(self, task: TaskRecord, watched: bool) -> None:
        """The task has got on: its time begins anew, or it needs none."""
        assert task.timeout
        self.deadlines[(QUIET, task.id)] = self.now + timedelta(seconds=task.timeout) if watched else None

    def _change(
        self,
        plan: PlanRecord,
        task: TaskRecord | None,
        kind: str,
        type: str,
        by: str,
        cause: Heard | None,
        changed: dict[str, Any],
        told: dict[str, Any] | None = None,
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
            data=dumps(
                (told or {}) | {self._public(name): self._shown(name, value) for name, value in changed.items()}
            ),
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

    def ask_again(self, task: TaskRecord, given_up: int = 0) -> None:
        """The task starts anew: its request waits for an agent as if it had just come.

        If an attempt was given up on, rather for another agent than the one that has it, and so that their answers can
        be told apart.
        """
        for row in self.kept_rows(
            "task_id = %s AND event_id = %s AND kind = 'message'", [task.id, task.request_event_id]
        ):
            row.handed_to, row.handed_at = "", None
            row.handed_id = task.agent_id if given_up else ""
            row.attempt = task.attempt + 1 if given_up else 1
            self.touch_row(row)
            self.asked_again.append(row)

    def recorded_as(self, plan: PlanRecord, event_id: str, source: str) -> bool:
        """Whether a message of this id and source is recorded, also by this batch."""
        here = any(row.event_id == event_id and row.source == source and row.kind == "message" for row in self.rows)
        where = "kind = 'message' AND event_id = %s AND source = %s AND tenant_id = %s AND workspace_id = %s"
        return here or bool(self.kept_rows(where, [event_id, source, plan.tenant_id, plan.workspace_id]))

    def load_task_keys(self, keys: list[int]) -> None:
        """Read tasks by primary key, all together."""
        self.find_tasks(f"id IN ({sql.marks(keys)})", keys)

    def ask_held(self, plan: PlanRecord) -> None:
        """The plan goes on: its requests that no agent has yet are offered again."""
        where = "plan_id = %s AND kind = 'message' AND topic = 'action-requests' AND handed_to = ''"
        self.asked_again += self.kept_rows(where, [plan.id])

    def refuse(self, row: RowRecord, why: str) -> None:
        """Keep a message and say why nothing came of it."""
        row.refused, row.reason = True, storable(why)
        self.touch_row(row)

    def mark(self, record: PlanRecord | TaskRecord | LinkRecord) -> None:
        """Write the record at the end."""
        self._dirty[id(record)] = record
        if isinstance(record, LinkRecord):
            self._open_subs.clear()

    @staticmethod
    def _count(plan: PlanRecord, was: str, to: str) -> None:
        for state, step in ((was, -1), (to, 1)):
            if counter := _COUNTERS.get(state):
                setattr(plan, counter, getattr(plan, counter) + step)

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
        for plan in new_plans:
            plan.goal_task_id = goals[plan.id]
        sql.update(Update([p for p in new_plans if p.goal_task_id], ("goal_task_id",)))
        sql.insert(self._only_new(links))
        for change in self._changes(self._only_old(links)):
            sql.update(change)
        self._write_moves(self._only_old(tasks), self._only_old(plans))
        sql.insert(self.rows)
        sql.update(Update(list(self.touched_rows.values()), _ROW_COLUMNS))
        sql.write_deadlines(self.deadlines)

    def _write_moves(self, tasks: list[TaskRecord], plans: list[PlanRecord]) -> None:
        """Write what changed in tasks and plans, and give the new rows of the log their keys."""
        changes = [*self._changes(tasks), *self._changes(plans)]
        for change in changes:
            if isinstance(change.records[0], TaskRecord):
                change.versions = [task.as_read[_VERSION] for task in change.records]
        if not changes and not self.rows:
            return
        written, keys = sql.update_and_number(changes, {row.workspace_id for row in self.rows}, len(self.rows))
        for change, number in zip(changes, written, strict=True):
            if change.versions and number != len(change.records):
                raise Stale(f"{len(change.records) - number} tasks changed meanwhile")
        for row, key in zip(self.rows, keys, strict=True):
            row.id = key

    def _changes(self, records: Sequence[R]) -> list[Update]:
        """Records by the columns that changed: writing only these leaves the indexes of all others alone."""
        found: dict[tuple[str, ...], list[Record]] = {}
        for record in records:
            if names := sql.changed(record):
                found.setdefault(names, []).append(record)
        return [Update(some, names) for names, some in found.items()]

    def _only_new(self, records: Iterable[Any]) -> list[Any]:
        return [r for r in records if id(r) in self._new]

    def _only_old(self, records: Iterable[Any]) -> list[Any]:
        return [r for r in records if id(r) not in self._new]
