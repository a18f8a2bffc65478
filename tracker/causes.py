"""What came of what in a plan: from its tasks and the bad moves in its log to the failure that came first.

Pure. First means in the order of causes, not of rows: a task fails because a sub-task did, or because what it was
asked to make up for did; a retry that fails goes back to the attempt before it. Times are RFC 3339 texts in UTC with
microseconds, so they compare as they stand.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tracker.states import TASK

FAILED, CANCELLED, STALLED, REFUSED = "failed", "cancelled", "stalled", "refused"
WORST = (FAILED, STALLED, CANCELLED)  # of what happened below a task, what explains its failure best


class TaskFact(NamedTuple):
    """A task as it stands. `key` and `parent`: primary keys."""

    key: int
    task_id: str
    name: str
    label: str
    event_type: str
    state: str
    attempt: int
    agent: str
    agent_id: str
    parent: int | None
    stalled: bool
    error: str
    position: int
    created_at: str
    started_at: str | None
    ended_at: str | None

    @property
    def is_open(self) -> bool:
        """Whether it can still end."""
        return self.state not in TASK.ended


class MoveFact(NamedTuple):
    """A row of the log that went somewhere bad or came back from there; `task` None: it is the plan's."""

    seq: int
    task: int | None
    type: str
    from_state: str | None
    to_state: str | None
    by: str
    reason: str
    event_id: str
    occurred_at: str
    recorded_at: str


class Asked(NamedTuple):
    """The first request for a task; `after`: the event that it names as its parent."""

    task: int
    seq: int
    by: str
    after: str
    recorded_at: str


class PlanFact(NamedTuple):
    """The plan as it stands. `closed_by`: "rule", on its own, or "fact", somebody said so."""

    key: int
    plan_id: str
    state: str
    closed_by: str
    error: str


class SubPlan(NamedTuple):
    """A plan that this one set off; `task`: the task of this plan that it carries out."""

    key: int
    plan_id: str
    state: str
    task: int | None
    completed_at: str | None


class Bad(NamedTuple):
    """Something bad that happened to a task (`task` its key), or to the plan itself. `attempt` 0: the plan's."""

    kind: str
    task: int | None
    seq: int
    attempt: int
    by: str
    reason: str
    event_id: str
    occurred_at: str
    recorded_at: str

    def before(self, other: "Bad") -> bool:
        """Whether it can have led to another: it is older by the log or by the senders' clocks."""
        return self.seq < other.seq or self.occurred_at < other.occurred_at


@dataclass(slots=True)
class Trace:
    """The chain behind what is wrong with a plan.

    `roots`: failures that nothing else explains, the first one first; `root_of`: for each failed task the key of the
    task in which its failure began; `series`: all that went wrong with a task, attempt by attempt; `mended`: tasks
    that failed or were lost and are failed no more; `sub_plan`: where the first root really happened.
    """

    roots: list[Bad] = field(default_factory=list)
    root_of: dict[int, int] = field(default_factory=dict)
    series: dict[int, list[Bad]] = field(default_factory=dict)
    mended: list[int] = field(default_factory=list)
    excused: list[int] = field(default_factory=list)
    sub_plan: SubPlan | None = None
    end: Bad | None = None  # of the plan itself, when it failed or was cancelled
    cancelled: dict[int, Bad] = field(default_factory=dict)
    stalls: dict[int, Bad] = field(default_factory=dict)  # that stand, or stood when the task ended


def bad_of(move: MoveFact, kind: str, attempt: int) -> Bad:
    """What a row of the log tells, as something bad."""
    return Bad(
        kind, move.task, move.seq, attempt, move.by, move.reason, move.event_id, move.occurred_at, move.recorded_at
    )


def _place(bad: Bad) -> tuple[str, int]:
    return bad.occurred_at, bad.seq


class Causes:
    """Looks for the root behind each failure of one plan."""

    def __init__(
        self,
        plan: PlanFact,
        tasks: Sequence[TaskFact],
        moves: Iterable[MoveFact],
        asked: Iterable[Asked],
        sub_plans: Iterable[SubPlan] = (),
    ) -> None:
        """`asked`: of the requests those that may have followed upon a failure."""
        self.plan = plan
        self.tasks = {task.key: task for task in tasks}
        self.below: dict[int, list[int]] = defaultdict(list)
        for task in tasks:
            if task.parent is not None:
                self.below[task.parent].append(task.key)
        self.trace = Trace()
        self._read(moves)
        self._ended_with = {bad.event_id: key for key, found in self.trace.series.items() for bad in found}
        self._asked = {one.task: one for one in asked}
        self._failed_at: dict[str, list[Bad]] = defaultdict(list)
        for found in self.trace.series.values():
            for bad in found:
                self._failed_at[bad.recorded_at].append(bad)
        self._carried = {sub.task: sub for sub in sub_plans if sub.task is not None}
        self._sub_plans = list(sub_plans)

    def _read(self, moves: Iterable[MoveFact]) -> None:
        attempts: dict[int, int] = defaultdict(lambda: 1)
        for move in moves:
            if move.task is not None:
                self._read_task(move, move.task, attempts)
            elif move.to_state in {FAILED, CANCELLED}:
                self.trace.end = bad_of(move, move.to_state, 0)
        if self.plan.state not in {FAILED, CANCELLED}:
            self.trace.end = None

    def _read_task(self, move: MoveFact, key: int, attempts: dict[int, int]) -> None:
        trace, attempt = self.trace, attempts[key]
        if move.to_state == FAILED:
            trace.series.setdefault(key, []).append(bad_of(move, FAILED, attempt))
        elif move.to_state == CANCELLED:
            trace.cancelled[key] = bad_of(move, CANCELLED, attempt)
        elif move.to_state == "pending":
            lost = trace.stalls.pop(key, None)
            if move.from_state != FAILED:  # its holder was lost, and it begins anew
                trace.series.setdefault(key, []).append(lost or bad_of(move, STALLED, attempt))
            attempts[key] += 1
        elif move.type == "task.stalled":
            trace.stalls[key] = bad_of(move, STALLED, attempt)
        elif move.type == "task.alive":
            trace.stalls.pop(key, None)

    def find(self) -> Trace:
        """The roots of all that is wrong with the plan now."""
        failed = [task for task in self.tasks.values() if task.state == FAILED and task.key in self.trace.series]
        self.trace.excused = [task.key for task in failed if self._excused(task)]
        standing = [task for task in failed if task.key not in set(self.trace.excused)]
        ended_failed = {task.key for task in failed}
        self.trace.mended = [key for key in self.trace.series if key not in ended_failed]
        roots: dict[int, Bad] = {}
        for task in standing:
            bad = self._root(self.trace.series[task.key][-1], set())
            self.trace.root_of[task.key] = bad.task or task.key
            roots.setdefault(bad.task or task.key, bad)
        self.trace.roots = sorted(roots.values(), key=_place)
        self._what_the_plan_says()
        if self.trace.roots and not self.trace.sub_plan:
            self.trace.sub_plan = self._behind(self.trace.roots[0])
        return self.trace

    def _what_the_plan_says(self) -> None:
        """Without a failed task it is the plan's own end and what led there, or what a sub-plan did, or who hangs."""
        trace, end = self.trace, self.trace.end
        if end and trace.roots and (self.plan.closed_by == "rule" or any(bad.before(end) for bad in trace.roots)):
            return
        if end:
            trace.sub_plan = self._failed_sub_plan(end.recorded_at) if end.kind == FAILED else None
            led_there = [] if trace.sub_plan else self._led_to(end)
            trace.roots = [*(led_there or [end]), *trace.roots]
        elif not trace.roots:
            trace.roots = self._hanging()
            trace.sub_plan = self._failed_sub_plan("9999") if self.plan.state != "completed" else None

    def _led_to(self, end: Bad) -> list[Bad]:
        """Why the plan ended badly although none of its tasks failed: somebody hung, or was cancelled by a person."""
        by_people = [bad for bad in self.trace.cancelled.values() if bad.by.startswith("user:")]
        if end.kind == CANCELLED:
            return [min(by_people, key=_place)] if self.plan.closed_by == "rule" and by_people else []
        led = [bad for bad in (*self._hanging(), *by_people) if bad.before(end)]
        return [min(led, key=_place)] if led else []

    def _failed_sub_plan(self, until: str) -> SubPlan | None:
        ended = [sub for sub in self._sub_plans if sub.state == FAILED and (sub.completed_at or "") <= until]
        return min(ended, key=lambda sub: sub.completed_at or "", default=None)

    def _behind(self, bad: Bad) -> SubPlan | None:
        sub = self._carried.get(bad.task or 0)
        return sub if sub and sub.state in {FAILED, CANCELLED} else None

    def _hanging(self) -> list[Bad]:
        return sorted((self._stall(t) for t in self.tasks.values() if t.stalled and t.is_open), key=_place)

    def _stall(self, task: TaskFact) -> Bad:
        unknown = task.started_at or task.created_at
        blank = Bad(STALLED, task.key, 0, task.attempt, "", "", "", unknown, unknown)
        return self.trace.stalls.get(task.key, blank)

    def _excused(self, task: TaskFact) -> bool:
        """A failed sub-task does not count when a task above it completed all the same."""
        seen: set[int] = set()
        above = self.tasks.get(task.parent or 0)
        while above and above.key not in seen:
            if above.state == "completed":
                return True
            seen.add(above.key)
            above = self.tasks.get(above.parent or 0)
        return False

    def _root(self, bad: Bad, seen: set[int]) -> Bad:
        """Where a task's failure began: below it, before it, or in itself."""
        if bad.task is None or bad.task in seen:
            return bad
        seen.add(bad.task)
        cause = self._below(bad, bad.task, seen) or self._earlier(bad)
        if cause and cause.task not in seen:
            return self._root(cause, seen)
        return self.trace.series.get(bad.task, [bad])[0]

    def _below(self, bad: Bad, key: int, seen: set[int]) -> Bad | None:
        """The worst that happened to its sub-tasks before it, the earliest first; open ones may hide their own."""
        found: list[Bad] = []
        for child in self.below.get(key, ()):
            if child in seen:
                continue
            own = self._happened(self.tasks[child], bad)
            if own is None and self.tasks[child].is_open:
                own = self._below(bad, child, seen | {child})
            if own is not None and own.before(bad):
                found.append(own)
        return min(found, key=lambda one: (WORST.index(one.kind), *_place(one)), default=None)

    def _happened(self, task: TaskFact, bad: Bad) -> Bad | None:
        """What was wrong with a sub-task when the task above it failed."""
        if series := self.trace.series.get(task.key):
            mended = task.state == "completed" and (task.ended_at or "") <= bad.recorded_at
            return None if mended else series[-1] if task.state == FAILED else series[0]
        if task.stalled:
            return self._stall(task)
        # What was cancelled in the same breath or later went down with it.
        return self.trace.cancelled.get(task.key)

    def _earlier(self, bad: Bad) -> Bad | None:
        """The failure that its request was an answer to: by the event it names, or by what the server did at once."""
        asked = self._asked.get(bad.task or 0)
        if asked is None:
            return None
        key = self._ended_with.get(asked.after or "\x00")
        if key is None and asked.by == "system":
            # A plan that the server runs goes on in the very commit that records why.
            before = [one for one in self._failed_at.get(asked.recorded_at, ()) if one.seq < asked.seq]
            key = max(before, key=_place).task if before else None
        return None if key is None or key == bad.task else self.trace.series[key][-1]
