"""What the agents of a run know for certain, and how it compares with what the server says afterwards."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from typing import Any

from soak.stage import Stage
from tests.e2e.plain import RESULTS, Tenant
from tests.services.waiting import wait_until


@dataclass
class Books:
    """Kept by the agents, only ever added to: event ids by plan, task ids, each as often as it happened."""

    plans: list[str] = field(default_factory=list)
    sent: dict[str, str] = field(default_factory=dict)  # event id -> plan id, also where no answer came
    acknowledged: dict[str, str] = field(default_factory=dict)
    handed: Counter[str] = field(default_factory=Counter)  # task id -> how often a worker was given it
    answered: dict[str, str] = field(default_factory=dict)  # task id -> event id of its result, once acknowledged
    heard: Counter[str] = field(default_factory=Counter)  # event ids of results that the planner was sent
    refused: Counter[str] = field(default_factory=Counter)  # answers that no further try would better
    trouble: Counter[str] = field(default_factory=Counter)  # reasons to try again


@dataclass
class Findings:
    """The counts of a run. All but the first line of them must be nought."""

    acknowledged: int = 0
    recorded: int = 0
    rows: int = 0
    tasks: int = 0
    completed: int = 0
    lost_in_hand_over: int = 0
    results_heard_again: int = 0

    missing: int = 0  # acknowledged and not recorded
    duplicates: int = 0  # recorded more than once
    gaps: int = 0  # plans whose seq is not 1, 2, 3 ...
    handed_twice: int = 0  # tasks that workers were given more than once
    stuck: int = 0  # tasks that a worker has, or that nobody was given, and that are not completed
    results_unheard: int = 0  # recorded results that the planner never got
    refused: int = 0
    replay_differs: int = 0

    @property
    def faults(self) -> dict[str, int]:
        """What must not be, and is."""
        first = [one.name for one in fields(self)].index("missing")
        return {one.name: value for one in fields(self)[first:] if (value := getattr(self, one.name))}

    def table(self) -> str:
        """One count a line."""
        return "\n".join(f"  {one.name.replace('_', ' '):<22}{getattr(self, one.name):>9}" for one in fields(self))


def look_at_log(tenant: Tenant, books: Books, plans: list[str], found: Findings) -> list[dict[str, Any]]:
    """Compare these plans' logs with the books, which must not grow meanwhile; gives their rows."""
    expected = defaultdict(set)
    for event_id, plan_id in books.acknowledged.copy().items():  # workers still write into it
        expected[plan_id].add(event_id)
    rows = []
    for plan_id in plans:
        if not expected[plan_id] and tenant.plan(plan_id) is None:
            continue
        log = tenant.log(plan_id)
        rows += log
        times = Counter(row["event_id"] for row in log if row["kind"] == "message")
        found.acknowledged += len(expected[plan_id])
        found.recorded += len(times)
        found.missing += len(expected[plan_id] - set(times))
        found.duplicates += sum(times.values()) - len(times)
        found.gaps += [row["seq"] for row in log] != list(range(1, len(log) + 1))
    found.rows += len(rows)
    return rows


def settle(tenant: Tenant, books: Books, seconds: float = 120) -> None:
    """Wait until no task is left that a live worker has or could get, and the planner has heard of every result.

    What stays so is counted later, not raised.
    """

    def at_rest() -> bool:
        waiting = tenant.get("tasks?state=pending&limit=1")["items"]
        answered = books.answered
        return not waiting and set(books.handed) <= set(answered) and set(answered.values()) <= set(books.heard)

    try:
        wait_until(at_rest, seconds)
    except AssertionError:
        print("  the work did not come to rest")


def audit(stage: Stage, books: Books) -> Findings:
    """All counts, once the load has ended and the work has come to rest."""
    found = Findings(refused=sum(books.refused.values()))
    tenant = stage.tenant()
    try:
        rows = look_at_log(tenant, books, books.plans, found)
        results = {row["event_id"] for row in rows if row["kind"] == "message" and row["topic"] == RESULTS}
        for plan_id in books.plans:
            if tenant.plan(plan_id):
                _look_at_tasks(tenant, plan_id, books, found)
    finally:
        tenant.close()
    found.results_unheard = len(results - set(books.heard))
    found.results_heard_again = sum(books.heard[one] - 1 for one in results if books.heard[one])
    found.handed_twice = sum(times > 1 for times in books.handed.values())
    try:
        found.replay_differs = not stage.replay_equals_tables()
    except AssertionError as error:
        print(str(error)[-2000:])
        found.replay_differs = 1
    return found


def _look_at_tasks(tenant: Tenant, plan_id: str, books: Books, found: Findings) -> None:
    for task_id, state in tenant.states(plan_id).items():
        found.tasks += 1
        if state == "completed":
            found.completed += 1
        elif state == "running" and task_id not in books.handed:
            # Committed as held by the worker, and the server died before the request had left it.
            found.lost_in_hand_over += 1
        else:
            found.stuck += 1
