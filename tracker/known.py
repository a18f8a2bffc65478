"""What a batch has read: plans, tasks, links and kept rows, each once, by id and by key.

None stands for what is known to be missing.
"""

import sys
from collections.abc import Collection
from typing import Any

from tracker import sql
from tracker.changes import Change
from tracker.linking import TASK_FACTS
from tracker.records import LinkRecord, PlanRecord, RowRecord, TaskRecord
from tracker.states import TASK

Scope = tuple[int, str]  # workspace id, tenant id
# SQLite has no statistics, PostgreSQL none in its first minute. An expression (`+id`, `topic || ''`) keeps them from an
# index that begins with the column and would be walked through in full: of few values, or good for nothing but the
# order.
_UNPLACED = "kind = 'message' AND plan_id IS NULL"
_LOOSE = f"""{_UNPLACED} AND (topic || '' = 'action-results' OR (topic || '' = 'system-events'
    AND type IN ({", ".join(f"'{fact}'" for fact in sorted(TASK_FACTS))})))"""
_LINK_KINDS = ("correlation", "context", "subtask", "goal")
MOST_READ = 2000  # open tasks that are read ahead for a batch


def scope_of(change: Change) -> Scope:
    """Whose world a change is about."""
    return change.workspace_id, change.tenant_id


class Known:
    """The records that a batch concerns.

    Reading changes nothing; what the batch changed is given as it stands in it.
    """

    def __init__(self) -> None:
        self.plans: dict[int, PlanRecord] = {}
        self.tasks: dict[int, TaskRecord] = {}
        self.rows: list[RowRecord] = []  # made by this batch
        self.touched_rows: dict[int, RowRecord] = {}  # kept rows that this batch changes, by primary key
        self._plan_ids: dict[tuple[Scope, str], PlanRecord | None] = {}
        self._task_ids: dict[tuple[Scope, str], TaskRecord | None] = {}
        self._links: dict[tuple[Scope, str, str], LinkRecord | None] = {}
        self._kept: dict[int, RowRecord] = {}  # rows that were read, each one object
        self._correlated: dict[tuple[Scope, str], list[int]] = {}  # plans by the correlation of some of their tasks
        self._correlated_here: dict[tuple[Scope, str], list[int]] = {}  # the same, of tasks that this batch made
        self._by_correlation: dict[tuple[int, str], list[TaskRecord]] = {}  # tasks by plan (its key) and correlation
        self._all_open: set[tuple[int, str]] = set()  # plans and correlations whose open tasks have all been read
        self._open_subs: dict[int, list[str]] = {}  # names of sub-tasks that may be open, by their parent
        self._loose: dict[tuple[Scope, str], list[RowRecord]] = {}  # kept answers without a plan, by what they name
        self._unplaced: list[RowRecord] = []  # those that this batch brought, and all other messages without a plan
        self._dirty: dict[int, PlanRecord | TaskRecord | LinkRecord] = {}  # by python id

    def load_plans(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read plans by their wire ids, locked, in one order for everybody.

        What is missing is remembered as missing.
        """
        wanted = {key for s in scopes for i in ids if i and (key := (s, i)) not in self._plan_ids}
        if not wanted:
            return
        where, values = sql.among({"plan_id": {i for _, i in wanted}, "+workspace_id": {s[0] for s, _ in wanted}})
        for plan in sql.select(PlanRecord, where, values, tail="ORDER BY +id", lock=True):
            self._keep_plan(plan)
        for key in wanted:
            self._plan_ids.setdefault(key, None)

    def load_plan_keys(self, keys: Collection[int | None]) -> bool:
        """Read plans by primary key, locked. Gives whether there were any that this batch did not hold yet."""
        wanted = {k for k in keys if k and k not in self.plans}
        if wanted:
            for plan in sql.select(PlanRecord, *sql.among({"id": wanted}), tail="ORDER BY id", lock=True):
                self._keep_plan(plan)
        return bool(wanted)

    def _keep_plan(self, plan: PlanRecord) -> None:
        kept = self.plans.setdefault(plan.id, plan)
        self._plan_ids[((plan.workspace_id, plan.tenant_id), plan.plan_id)] = kept

    def load_tasks(self, scopes: Collection[Scope], ids: Collection[str]) -> None:
        """Read tasks by their wire ids."""
        wanted = {key for s in scopes for i in ids if i and (key := (s, i)) not in self._task_ids}
        if not wanted:
            return
        ids_of, spaces = {i for _, i in wanted}, {s[0] for s, _ in wanted}
        self.find_tasks(*sql.among({"task_id": ids_of, "+workspace_id": spaces}))
        for key in wanted:
            self._task_ids.setdefault(key, None)

    def find_tasks(self, where: str, values: list[Any], tail: str = "") -> list[TaskRecord]:
        """Read tasks by a condition. Tasks that this batch already holds come as they stand in it now."""
        found = sql.select(TaskRecord, where, values, tail=tail)
        if self.load_plan_keys({task.plan_id for task in found}) and sql.on_postgresql():
            # They were read before their plan was locked: somebody may have changed them meanwhile.
            found = sql.select(TaskRecord, where, values, tail=tail)
            self.load_plan_keys({task.plan_id for task in found})
        return [self._keep_task(task) for task in found]

    def _keep_task(self, task: TaskRecord) -> TaskRecord:
        kept = self.tasks.setdefault(task.id, task)
        if kept is task:
            self._task_ids[((task.workspace_id, task.tenant_id), task.task_id)] = task
            self._by_correlation.setdefault((task.plan_id, task.correlation_id), []).append(task)
        return kept

    def load_links(self, scopes: Collection[Scope], keys: Collection[str]) -> None:
        """Read links of every kind by their keys, with their plans and tasks."""
        wanted = {
            key for s in scopes for k in keys if k for kind in _LINK_KINDS if (key := (s, kind, k)) not in self._links
        }
        if not wanted:
            return
        names, spaces = {k for _, _, k in wanted}, {s[0] for s, _, _ in wanted}
        self.find_links(*sql.among({"key": names, "workspace_id": spaces}))
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
        missing = {link.task_id for link in found if link.task_id and link.task_id not in self.tasks}
        if missing:
            self.find_tasks(*sql.among({"id": missing}))
        return found

    def forget_missing(self, scopes: Collection[Scope], keys: Collection[str]) -> None:
        """Forget what of this was missing or led to no plan, so that it is looked up again."""
        for scope in scopes:
            for key in keys:
                self._correlated.pop((scope, key), None)
                if self._plan_ids.get((scope, key), self) is None:
                    del self._plan_ids[(scope, key)]
                if self._task_ids.get((scope, key), self) is None:
                    del self._task_ids[(scope, key)]
                for kind in _LINK_KINDS:
                    link = self._links.get((scope, kind, key), self)
                    if link is None or (isinstance(link, LinkRecord) and link.plan_id is None):
                        del self._links[(scope, kind, key)]

    def plan(self, scope: Scope, plan_id: str) -> PlanRecord | None:
        """The plan of that wire id."""
        if not plan_id:
            return None
        key = scope, plan_id
        if key not in self._plan_ids:
            self.load_plans([scope], [plan_id])
        return self._plan_ids[key]

    def task(self, scope: Scope, task_id: str) -> TaskRecord | None:
        """The task of that wire id."""
        if not task_id:
            return None
        key = scope, task_id
        if key not in self._task_ids:
            self.load_tasks([scope], [task_id])
        return self._task_ids[key]

    def link(self, scope: Scope, kind: str, key: str) -> LinkRecord | None:
        """The link of that kind and key."""
        if not key:
            return None
        name = scope, kind, key
        if name not in self._links:
            self.load_links([scope], [key])
        return self._links[name]

    def load_correlated(self, scopes: Collection[Scope], correlations: Collection[str]) -> None:
        """Read which plans have tasks of these correlations, the oldest first."""
        wanted = {key for s in scopes for c in correlations if c and (key := (s, c)) not in self._correlated}
        if not wanted:
            return
        where, values = sql.among(
            {"correlation_id": {c for _, c in wanted}, "+workspace_id": {s[0] for s, _ in wanted}}
        )
        query = f"""
            SELECT workspace_id, tenant_id, correlation_id, plan_id FROM tracker_task WHERE {where}
            GROUP BY workspace_id, tenant_id, correlation_id, plan_id ORDER BY min(id)"""
        self._correlated |= {key: [] for key in wanted}
        for workspace_id, tenant_id, correlation_id, plan_id in sql.rows(query, values):
            self._correlated.setdefault(((workspace_id, tenant_id), correlation_id), []).append(plan_id)
        self.load_plan_keys({plan_id for key in wanted for plan_id in self._correlated[key]})

    def plan_of_correlation(self, scope: Scope, correlation_id: str) -> PlanRecord | None:
        """The plan that has a task of this correlation.

        If several have, the first whose task is open, else the first.
        """
        self.load_correlated([scope], [correlation_id])
        key = scope, correlation_id
        keys = dict.fromkeys([*self._correlated.get(key, ()), *self._correlated_here.get(key, ())])
        plans = [self.plans[plan] for plan in keys]
        if len(plans) > 1:
            plans.sort(key=lambda plan: not self.open_tasks(plan, 1, correlation_id=correlation_id))
        return plans[0] if plans else None

    def correlate(self, plan: PlanRecord, correlation_id: str) -> None:
        """The plan has a new task of this correlation."""
        self._correlated_here.setdefault(((plan.workspace_id, plan.tenant_id), correlation_id), []).append(plan.id)

    def links_where(self, **wanted: Any) -> list[LinkRecord]:
        """Links that this batch holds and that fit."""
        return [x for x in self._links.values() if x and all(getattr(x, k) == v for k, v in wanted.items())]

    def has_open_sub_tasks(self, task: TaskRecord) -> bool:
        """Whether a sub-task that the task's context names has not ended; the names are read once a batch."""
        if task.id not in self._open_subs:
            self._open_subs[task.id] = self._read_open_subs(task)
        keys, scope = self._open_subs[task.id], (task.workspace_id, task.tenant_id)
        while keys and not self._still_open(scope, keys[-1]):
            keys.pop()
        return bool(keys)

    def _read_open_subs(self, task: TaskRecord) -> list[str]:
        ends = sorted(TASK.ended)
        query = f"""
            SELECT l.key FROM tracker_link l LEFT JOIN tracker_task t
                ON t.workspace_id = l.workspace_id AND t.tenant_id = l.tenant_id AND t.task_id = l.key
            WHERE l.task_id = %s AND l.kind = 'subtask'
                AND ((t.id IS NULL AND NOT l.done) OR t.state NOT IN ({sql.marks(ends)}))"""
        found = [key for (key,) in sql.rows(query, [task.id, *ends])]
        links = self.links_where(kind="subtask", task_id=task.id)
        subs = (t for t in self.tasks.values() if t.parent_id == task.id)
        here = [*((link, link.key) for link in links), *((sub, sub.task_id) for sub in subs)]
        return list(dict.fromkeys([*found, *(key for record, key in here if id(record) in self._dirty)]))

    def _still_open(self, scope: Scope, key: str) -> bool:
        """Of a sub-task that is open in the database, or named by this batch: whether it still is."""
        task, link = self.task(scope, key), self._links.get((scope, "subtask", key))
        return task.state in TASK.open_states if task else not (link and link.done)

    def task_by_key(self, key: int | None) -> TaskRecord | None:
        """The task of that primary key."""
        if key is not None and key not in self.tasks:
            self.find_tasks("id = %s", [key])
        return self.tasks.get(key) if key is not None else None

    def load_open(self, wanted: Collection[tuple[int, str]]) -> None:
        """Read the open tasks of these plans (primary keys) and correlations, all with one query.

        Those of which there are too many stay unread; `open_tasks` looks for the oldest of them one by one.
        """
        if not wanted:
            return
        plans, names, ends = sorted({p for p, _ in wanted}), sorted({c for _, c in wanted}), sorted(TASK.ended)
        found = self.find_tasks(
            f"plan_id IN ({sql.marks(plans)}) AND correlation_id IN ({sql.marks(names)})"
            f" AND state NOT IN ({sql.marks(ends)})",
            [*plans, *names, *ends],
            tail=f"LIMIT {MOST_READ}",
        )
        if len(found) < MOST_READ:
            self._all_open |= set(wanted)

    def open_tasks(
        self, plan: PlanRecord, limit: int, correlation_id: str, response_event: str = ""
    ) -> list[TaskRecord]:
        """The plan's oldest open tasks of this correlation that expect this type; `limit` or more if there are as many.

        Without `response_event`, whatever they expect.
        """
        if (plan.id, correlation_id) not in self._all_open:
            self._read_open(plan, limit, correlation_id, response_event)
        same = self._by_correlation.get((plan.id, correlation_id), ())
        mine = (t for t in same if t.state in TASK.open_states and response_event in ("", t.response_event))
        return sorted(mine, key=lambda task: task.position)

    def _read_open(self, plan: PlanRecord, limit: int, correlation_id: str, response_event: str) -> None:
        same = self._by_correlation.get((plan.id, correlation_id), ())
        # Tasks that this batch ended are still open in the database, and must not crowd out those that are.
        ended_here = sum(1 for t in same if t.state in TASK.ended and id(t) in self._dirty)
        ends = sorted(TASK.ended)
        where = f"plan_id = %s AND correlation_id = %s AND state NOT IN ({sql.marks(ends)})"
        values = [plan.id, correlation_id, *ends]
        if response_event:
            where, values = f"{where} AND response_event = %s", [*values, response_event]
        self.find_tasks(where, values, tail=f"ORDER BY +position LIMIT {limit + ended_here}")

    def asked_under(self, plan: PlanRecord, ref: str) -> list[TaskRecord]:
        """The plan's tasks whose requests call them `ref`, an id that a task of another plan has already.

        Oldest first.
        """
        where = "plan_id = %s AND kind = 'message' AND topic = 'action-requests' AND task_ref = %s"
        stored = sql.select(RowRecord, where, [plan.id, ref], tail="ORDER BY seq")
        new = [r for r in self.rows if r.plan_id == plan.id and r.task_ref == ref and r.topic == "action-requests"]
        keys = dict.fromkeys(row.task_id for row in self._as_here(stored, new) if row.task_id)
        return [task for key in keys if (task := self.task_by_key(key))]

    def unmatched_rows(self, plan: PlanRecord, correlation_id: str, refs: Collection[str]) -> list[RowRecord]:
        """The plan's messages that wait for a task of this correlation or of one of these ids, oldest first."""
        if not plan.unmatched:
            return []
        names = sorted({ref for ref in refs if ref})
        stored = self._read_unmatched(plan, "correlation_id", [correlation_id])
        stored |= self._read_unmatched(plan, "task_ref", names)
        # Those that this batch gave their place are in the database without one.
        here = [
            r
            for r in (*self.touched_rows.values(), *self.rows)
            if r.plan_id == plan.id and (r.correlation_id == correlation_id or r.task_ref in names)
        ]
        found = (row for row in dict.fromkeys(self._as_here(list(stored.values()), here)) if row.unmatched)
        return sorted(found, key=lambda row: row.id or sys.maxsize)  # new rows have no key yet

    @staticmethod
    def _read_unmatched(plan: PlanRecord, column: str, names: list[str]) -> dict[int, RowRecord]:
        if not names:
            return {}
        # One column at a time: with OR, SQLite would walk through the whole log of the plan.
        where = f"plan_id = %s AND unmatched AND {column} IN ({sql.marks(names)})"
        return {row.id: row for row in sql.select(RowRecord, where, [plan.id, *names], tail="ORDER BY id", lock=True)}

    def unplaced_rows(self, scope: Scope, keys: Collection[str]) -> list[RowRecord]:
        """Messages of these correlations that wait for their plan, oldest first."""
        names = sorted({k for k in keys if k})
        if not names:
            return []
        where = f"{_UNPLACED} AND workspace_id = %s AND tenant_id = %s AND correlation_id IN ({sql.marks(names)})"
        stored = sql.select(RowRecord, where, [*scope, *names], tail="ORDER BY id", lock=True)
        new = [r for r in self._unplaced if (r.workspace_id, r.tenant_id) == scope and r.correlation_id in names]
        return [row for row in self._as_here(stored, new) if row.plan_id is None]

    def load_loose(self, scopes: Collection[Scope], keys: Collection[str]) -> None:
        """Read the results and facts about tasks that wait for their plan and name one of these ids or correlations."""
        wanted = {key for s in scopes for k in keys if k and (key := (s, k)) not in self._loose}
        if not wanted:
            return
        names, spaces = {k for _, k in wanted}, {s[0] for s, _ in wanted}
        self._loose |= {key: [] for key in wanted}
        for column in ("correlation_id", "task_ref"):
            where, values = sql.among({column: names, "workspace_id": spaces})
            for row in sql.select(RowRecord, f"{_LOOSE} AND {where}", values, tail="ORDER BY id", lock=True):
                key = ((row.workspace_id, row.tenant_id), getattr(row, column))
                self._loose.setdefault(key, []).append(row)

    def loose_answers(self, scope: Scope, keys: Collection[str]) -> list[RowRecord]:
        """Results and facts about tasks that wait for their plan and name one of these, oldest first."""
        self.load_loose([scope], keys)
        stored = {row.id: row for key in keys for row in self._loose[(scope, key)]}
        new = [
            r for r in self._unplaced
            if (r.workspace_id, r.tenant_id) == scope and (r.correlation_id in keys or r.task_ref in keys)
            and (r.topic == "action-results" or (r.topic == "system-events" and r.type in TASK_FACTS))
        ]  # fmt: skip
        return [row for row in self._as_here([stored[i] for i in sorted(stored)], new) if row.plan_id is None]

    def kept_rows(self, where: str, values: list[Any], *, lock: bool = False) -> list[RowRecord]:
        """Rows of the log by a condition, as this batch has changed them."""
        return self._as_here(sql.select(RowRecord, where, values, tail="ORDER BY id", lock=lock), [])

    def _as_here(self, stored: list[RowRecord], new: list[RowRecord]) -> list[RowRecord]:
        """Rows read just now, as this batch has changed them, and those that it made."""
        return [*(self._kept.setdefault(row.id, row) for row in stored), *new]
