"""Kept counts of tasks, so that figures over a million of them take milliseconds, and still are those of the tables.

Tasks are counted in blocks, by their primary keys, into cells (`tracker.models.rollups`), after the commits and beside
them: nothing is added to what a commit writes. Every change of a task has a log row, whose keys rise in the order of
the commits; so whoever reads takes the cells only of blocks that no log row since the last count names, and counts the
rest from the tasks themselves, all in one snapshot of the database. Late counting costs time, never truth.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from django.db import transaction

from tracker import sql
from tracker.models import Rollup, RollupDue, RollupHead
from tracker.projections.lookup import Sight, one_moment
from tracker.states import TASK
from tracker.tallies import Fact, Tally, pack, unpack

SIZE = 4096  # tasks in a block
HOUR = 3_600_000_000  # microseconds
EVER = (-(2**62), 2**62)
QUIET = timedelta(seconds=5)  # a block that was touched just now will be touched again
CROWD = 64  # blocks that may wait for quiet
MOST_ROWS = 20_000  # of the log, looked through at once
_HEAD = 7702  # the space of the ledger's locks on its log; 0 is nobody's workspace
KINDS: dict[str, Callable[[Fact], tuple[str, str]]] = {
    Rollup.Kind.AGENT: lambda fact: (fact.agent, ""),
    Rollup.Kind.INSTANCE: lambda fact: (fact.agent, fact.agent_id),
    Rollup.Kind.TASK_TYPE: lambda fact: (fact.event_type, ""),
    Rollup.Kind.GOAL: lambda fact: (fact.goal, ""),
}
_NAMES = {"agent": "t.agent", "instance": "t.agent", "task_type": "t.event_type", "goal": "p.goal_event"}
_STATES = tuple(TASK.states)
_COUNTS = ", ".join((*_STATES, "retries", "stalled", "stalls", "work_us", "worked", "queued"))


@dataclass(frozen=True, slots=True)
class Which:
    """Tasks in sight, of a kind and its names (None: each of them), created from `since` until before `until`.

    Both are microseconds since 1970. `instance`: of an agent's tasks only those of one instance.
    """

    sight: Sight
    kind: str
    names: tuple[str, ...] | None = None
    instance: str = ""
    since: int = EVER[0]
    until: int = EVER[1]


@dataclass(slots=True)
class Found:
    """One name's tasks, by the buckets that they were created in."""

    buckets: dict[int, Tally] = field(default_factory=dict)

    def of(self, bucket: int) -> Tally:
        """The tally of a bucket."""
        return self.buckets.setdefault(bucket, Tally())


def micros(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# --- reading ----------------------------------------------------------------------------------------------------------


def read(which: Which, bucket: int = 0) -> dict[str, Found]:
    """The tasks by name, each in buckets of so many microseconds (a multiple of an hour; 0: one bucket, number 0).

    A bucket's number is its beginning divided by its length. A fixed number of queries, and one for each run of blocks
    that has to be counted now.
    """
    found: dict[str, Found] = {}
    if which.sight.blind:
        return found
    with one_moment():
        fresh, newest = _uncounted()
        cells = list(_cells(which)) if newest >= 0 else []
        # Of a block that lies on the edge of the period, some tasks count and some do not.
        fresh |= {cell[3] for cell in cells if cell[4] < which.since or cell[5] >= which.until}
        for cell in cells:
            if cell[3] not in fresh:
                _add_cell(found.setdefault(cell[0], Found()).of(cell[2] * HOUR // bucket if bucket else 0), cell[6:])
        facts = [fact for run in _runs(fresh, newest) for fact in _facts(which, run)]
    key = KINDS[which.kind]
    facts = [fact for fact in facts if _counts(which.kind, key(fact)[0])]
    place = (lambda fact: (key(fact)[0], fact.created // bucket)) if bucket else (lambda fact: (key(fact)[0], 0))
    for (name, number), some in groupby(sorted(facts, key=place), key=place):
        found.setdefault(name, Found()).of(number).add(some)
    return found


def _counts(kind: str, name: str) -> bool:
    """A task that no agent has held is no agent's; one without a goal is of the goal that nobody knows."""
    return bool(name) or kind == Rollup.Kind.GOAL


def state_counts() -> dict[str, int]:
    """How many tasks there are in each state, in all workspaces."""
    with one_moment():
        fresh, newest = _uncounted()
        counts = dict.fromkeys(_STATES, 0)
        if newest >= 0:
            listed = ", ".join(f"COALESCE(sum({state}), 0)" for state in _STATES)
            apart = f"AND block NOT IN ({sql.marks(sorted(fresh))})" if fresh else ""
            query = f"SELECT {listed} FROM tracker_rollup WHERE kind = 'task_type' {apart}"
            counts = dict(zip(_STATES, map(int, sql.rows(query, sorted(fresh))[0]), strict=True))
        for low, high in _runs(fresh, newest):
            query = "SELECT state, count(*) FROM tracker_task WHERE id BETWEEN %s AND %s GROUP BY state"
            for state, number in sql.rows(query, [low, high]):
                counts[state] += number
    return counts


def _uncounted() -> tuple[set[int], int]:
    """Blocks whose cells are not (or no more) true, and the newest task that any cell can be true of (-1: none)."""
    heads = sql.rows("SELECT log, task FROM tracker_rolluphead")
    if not heads:
        return set(), -1
    log, task = heads[0]
    due = {block for (block,) in sql.rows("SELECT block FROM tracker_rollupdue")}
    return due | _touched(log, 2**62), task


def _touched(after: int, until: int) -> set[int]:
    """Blocks of the tasks that log rows after one, up to another, tell of."""
    rows = "FROM tracker_logrow r WHERE r.id > %s AND r.id <= %s"
    blocks = {
        block for (block,) in sql.rows(f"SELECT DISTINCT r.task_id / {SIZE} {rows} AND r.task_id > 0", [after, until])
    }
    # Of a plan that changes, only its goal counts for its tasks. `+`: not by the index in which all rows without a
    # task lie together.
    of_plans = f"""
        SELECT DISTINCT t.id / {SIZE} FROM tracker_task t WHERE t.plan_id IN (
            SELECT r.plan_id {rows} AND +r.task_id IS NULL AND r.kind <> 'message' AND r.data LIKE %s)"""
    return blocks | {block for (block,) in sql.rows(of_plans, [after, until, '%"goal_event":%'])}


def _cells(which: Which) -> Iterator[tuple[Any, ...]]:
    """[name, instance, hour, block, first, last, counts ..., work, queue] of the hours that the period touches."""
    where, values = "workspace_id = %s AND kind = %s", [which.sight.workspace_id, which.kind]
    if which.names is not None:
        where, values = f"{where} AND name IN ({sql.marks(which.names)})", [*values, *which.names]
    if which.kind == Rollup.Kind.INSTANCE:
        where, values = f"{where} AND instance = %s", [*values, which.instance]
    # Of one name, whatever the hour: by the hour, SQLite would walk through all other names' cells.
    hour = "+hour" if which.names is not None and which.kind != Rollup.Kind.INSTANCE else "hour"
    where, values = f"{where} AND {hour} BETWEEN %s AND %s", [*values, _hour(which.since), _hour(which.until)]
    if which.sight.tenant_id is not None:
        where, values = f"{where} AND tenant_id = %s", [*values, which.sight.tenant_id]
    columns = f"name, instance, hour, block, first, last, {_COUNTS}, work, queue"
    yield from sql.rows(f"SELECT {columns} FROM tracker_rollup WHERE {where}", values)


def _hour(at: int) -> int:
    return min(max(at // HOUR, -(2**31)), 2**31 - 1)


def _add_cell(tally: Tally, cell: tuple[Any, ...]) -> None:
    *counts, retries, stalled, stalls, work_us, worked, queued, work, queue = cell
    for state, number in zip(_STATES, counts, strict=True):
        tally.states[state] += number
    tally.retries += retries
    tally.stalled += stalled
    tally.stalls += stalls
    tally.work_us += work_us
    tally.work.append(unpack(work, worked))
    tally.queue.append(unpack(queue, queued))


def _runs(blocks: Iterable[int], newest: int) -> list[tuple[int, int]]:
    """The blocks, and what is newer than any cell, as ranges of primary keys."""
    runs: list[tuple[int, int]] = []
    for block in sorted(blocks):
        low, high = block * SIZE, block * SIZE + SIZE - 1
        runs = [*runs[:-1], (runs[-1][0], high)] if runs and runs[-1][1] == low - 1 else [*runs, (low, high)]
    end = runs[-1][1] if runs else -1
    return [*runs, (max(newest, end) + 1, 2**62)]


def _facts(which: Which, run: tuple[int, int]) -> list[Fact]:
    low, high = run
    # A few blocks are best read by the primary key; SQLite does not know how few they are.
    by_key = "+" if high - low < CROWD * SIZE and not sql.on_postgresql() else ""
    where = f"t.id BETWEEN %s AND %s AND {by_key}t.workspace_id = %s"
    values: list[Any] = [low, high, which.sight.workspace_id]
    if which.names is not None:
        where += f" AND {by_key}{_NAMES[which.kind]} IN ({sql.marks(which.names)})"
        values += which.names
    if which.kind == Rollup.Kind.INSTANCE:
        where, values = f"{where} AND {by_key}t.agent_id = %s", [*values, which.instance]
    if which.sight.tenant_id is not None:
        where, values = f"{where} AND {by_key}t.tenant_id = %s", [*values, which.sight.tenant_id]
    if (which.since, which.until) != EVER:
        where += f" AND {by_key}t.created_at >= %s AND {by_key}t.created_at < %s"
        values += [_native(which.since), _native(which.until)]
    return _read_facts(where, values)


def _native(at: int) -> Any:
    latest = micros(datetime(9999, 1, 1, tzinfo=UTC))
    return sql.native(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(at, 0), latest)))


def _read_facts(where: str, values: Sequence[Any]) -> list[Fact]:
    times = ", ".join(_micros(f"t.{name}") for name in ("created_at", "started_at", "ended_at"))
    query = f"""
        SELECT t.id, t.tenant_id, t.agent, t.agent_id, t.event_type, p.goal_event, t.state, t.attempt, t.stalled,
            {times},
            (SELECT count(*) FROM tracker_logrow s WHERE s.task_id = t.id AND s.type = 'task.stalled')
        FROM tracker_task t JOIN tracker_plan p ON p.id = t.plan_id WHERE {where}"""
    return [Fact._make(row) for row in sql.rows(query, values)]


def _micros(column: str) -> str:
    """A time as microseconds since 1970, in SQL."""
    if sql.on_postgresql():
        return f"(extract(epoch FROM {column}) * 1000000)::bigint"
    # Django stores text there, and leaves a fraction of zero away.
    whole = f"CAST(strftime('%%s', substr({column}, 1, 19)) AS INTEGER) * 1000000"
    return f"{whole} + CAST(substr(substr({column}, 21) || '000000', 1, 6) AS INTEGER)"


# --- counting ---------------------------------------------------------------------------------------------------------


def follow() -> bool:
    """Look through the log for tasks that changed: their blocks are due. Whether there may be more to look through."""
    with transaction.atomic():
        until = _safe_head()
    with transaction.atomic():
        head = RollupHead.objects.select_for_update().first()
        newest = sql.rows("SELECT COALESCE(max(id), 0) FROM tracker_task")[0][0]
        if head is None:
            head, blocks, last = RollupHead(pk=1), _blocks_after(0), until
        else:
            last = min(until, head.log + MOST_ROWS)
            blocks = _touched(head.log, last)
        # Whatever came without a log row of its own (a restored or a filled table).
        blocks |= _blocks_after(head.task) if newest > head.task else set()
        if blocks or last > head.log:
            _touch(blocks)
            head.log, head.task = last, max(newest, head.task)
            head.save()
    return last < until


def _safe_head() -> int:
    """The newest log row before which no other will appear: who writes to the log has finished, and others wait."""
    if sql.on_postgresql():
        sql.rows("SELECT pg_advisory_xact_lock(%s, 0)", [_HEAD])
    head: int = sql.rows("SELECT COALESCE(max(id), 0) FROM tracker_logrow")[0][0]
    return head


def _blocks_after(task: int) -> set[int]:
    """The blocks of all newer tasks."""
    return {block for (block,) in sql.rows(f"SELECT DISTINCT id / {SIZE} FROM tracker_task WHERE id > %s", [task])}


def _touch(blocks: Iterable[int]) -> None:
    now = datetime.now(UTC)
    RollupDue.objects.bulk_create(
        [RollupDue(block=block, touched_at=now) for block in sorted(blocks)],
        update_conflicts=True,
        unique_fields=["block"],
        update_fields=["touched_at"],
    )


def count_again(plan_keys: Iterable[int]) -> None:
    """Tasks of these plans are about to be deleted, which no log row will tell: their blocks are due."""
    keys = sorted(plan_keys)
    if keys:
        query = f"SELECT DISTINCT id / {SIZE} FROM tracker_task WHERE plan_id IN ({sql.marks(keys)})"
        _touch(block for (block,) in sql.rows(query, keys))


def due(now: datetime) -> tuple[int | None, float]:
    """The block to count now: one that is quiet, or, when many wait, the one that waits longest.

    Without such a block None, and in how many seconds there will be one: infinity when none waits.
    """
    some = RollupDue.objects.order_by("touched_at", "block")
    rows = list(some.values_list("block", "touched_at")[: CROWD + 1])
    if not rows:
        return None, float("inf")
    [block, touched_at] = rows[0]
    left = (touched_at + QUIET - now).total_seconds()
    return (block, 0.0) if left <= 0 or len(rows) > CROWD else (None, left)


def count(block: int) -> None:
    """Count the tasks of a block into cells anew, in one short transaction."""
    with transaction.atomic():
        # Whoever else counts this block waits here, and then finds nothing to do.
        if not RollupDue.objects.select_for_update().filter(block=block).first():
            return
        facts = _read_facts("t.id BETWEEN %s AND %s", [block * SIZE, block * SIZE + SIZE - 1])
        sql.execute("DELETE FROM tracker_rollup WHERE block = %s", [block])
        workspaces = dict(
            sql.rows("SELECT id, workspace_id FROM tracker_task WHERE id BETWEEN %s AND %s",
                     [block * SIZE, block * SIZE + SIZE - 1])
        )  # fmt: skip
        Rollup.objects.bulk_create(_made(block, facts, workspaces), batch_size=200)
        RollupDue.objects.filter(block=block).delete()


def _made(block: int, facts: list[Fact], workspaces: dict[int, int]) -> Iterator[Rollup]:
    for kind, key in KINDS.items():
        groups: dict[tuple[Any, ...], list[Fact]] = {}
        for fact in facts:
            name, instance = key(fact)
            if _counts(kind, name):
                place = (workspaces[fact.id], fact.tenant_id, name, instance, fact.created // HOUR)
                groups.setdefault(place, []).append(fact)
        for (workspace, tenant, name, instance, hour), some in groups.items():
            yield _cell(some, workspace_id=workspace, tenant_id=tenant, kind=kind, name=name, instance=instance,
                        hour=hour, block=block)  # fmt: skip


def _cell(facts: list[Fact], **key: Any) -> Rollup:
    tally = Tally()
    tally.add(facts)
    [work], [queue] = tally.work, tally.queue
    return Rollup(
        **key,
        **tally.states,
        first=min(fact.created for fact in facts),
        last=max(fact.created for fact in facts),
        retries=tally.retries,
        stalled=tally.stalled,
        stalls=tally.stalls,
        work_us=tally.work_us,
        worked=len(work),
        queued=len(queue),
        work=pack(work),
        queue=pack(queue),
    )


def catch_up() -> None:
    """Count all that is due, quiet or not."""
    while follow():
        pass
    for block in RollupDue.objects.order_by("block").values_list("block", flat=True):
        count(block)
