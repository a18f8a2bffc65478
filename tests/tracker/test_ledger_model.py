"""The ledger against a small model: some operations in any order, and after each the tables say what the model says."""

from dataclasses import dataclass

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.tracker.factories import plan_of
from tests.tracker.runs import Run, unique
from tests.tracker.test_states import TASK_CELLS, TASK_STATES
from tracker.changes import Journal, PlanMove, Step
from tracker.models import Task

# The table that the test of the states has, written by hand; no task is stalled here.
LEGAL = {(source, target) for source, target, verb, stalled in TASK_CELLS if verb and not stalled}
ENDS = {"completed", "failed", "cancelled"}
FORWARD = {"pending": ("running",), **dict.fromkeys(TASK_STATES[1:6], ())}
STATES = st.sampled_from(TASK_STATES)


@dataclass
class Modelled:
    """What the model knows of a task."""

    state: str = "pending"
    version: int = 1
    attempt: int = 1

    def move(self, to):
        self.state, self.version = to, self.version + 1
        self.attempt += to == "pending"


class LedgerMachine(RuleBasedStateMachine):
    """Plans that close on their own; tasks are asked for, moved, replayed, answered, cancelled with their plan."""

    tasks = Bundle("tasks")

    def __init__(self, workspace):
        super().__init__()
        self.run = Run(workspace)
        self.plans = {unique("plan"): {} for _ in range(2)}
        self.cancelled = set()

    def of(self, task):
        return self.plans[task[0]][task[1]]

    @rule(target=tasks, first=st.booleans())
    def ask(self, first):
        plan_id, task_id = sorted(self.plans)[first], unique("task")
        assert self.run.request(plan_id, task_id).result == "recorded"
        self.plans[plan_id][task_id] = Modelled()
        return plan_id, task_id

    @rule(task=tasks, to=STATES, off=st.sampled_from([None, 0, 0, -1, 1]))
    def move(self, task, to, off):
        known = self.of(task)
        expected = None if off is None else known.version + off
        legal = off in (None, 0) and (known.state, to) in LEGAL
        outcome = self.run.move(task[1], to, expected_version=expected)
        assert (outcome.result == "recorded") == legal
        if legal:
            known.move(to)

    @rule(task=tasks, steps=st.lists(STATES, min_size=1, max_size=4), atomic=st.booleans())
    def journal(self, task, steps, atomic):
        known = self.of(task)
        after, applied = known.state, []
        for to in steps:
            if (after, to) in LEGAL:
                applied, after = [*applied, to], to
            elif atomic:
                applied = []
                break
        change = self.run.change(Journal, task_id=task[1], steps=[Step(to) for to in steps], atomic=atomic)
        outcome = self.run.record(change)[0]
        assert (outcome.value["applied"] if outcome.result == "recorded" else 0) == len(applied)
        for to in applied:
            known.move(to)

    @rule(task=tasks, failed=st.booleans())
    def answer(self, task, failed):
        known = self.of(task)
        outcome = self.run.result(*task, status="failed" if failed else "completed")
        if known.state in ENDS:
            assert outcome.result == "refused"
            return
        assert outcome.result == "recorded"
        for to in (*FORWARD[known.state], "failed" if failed else "completed"):
            known.move(to)

    @rule(first=st.booleans())
    def cancel_plan(self, first):
        plan_id = sorted(self.plans)[first]
        tasks = self.plans[plan_id].values()
        done = bool(tasks) and all(task.state in ENDS for task in tasks)
        outcome = self.run.record(self.run.change(PlanMove, plan_id=plan_id, to="cancelled"))[0]
        if not tasks:
            assert outcome.result == "unknown"
        elif done or plan_id in self.cancelled:
            assert outcome.result == "refused"
        else:
            assert outcome.result == "recorded"
            self.cancelled.add(plan_id)
            for task in tasks:
                if task.state not in ENDS:
                    task.move("cancelled")

    def conclusion(self, plan_id):
        """The state that a plan should be in."""
        states = [task.state for task in self.plans[plan_id].values()]
        if plan_id in self.cancelled:
            return "cancelled"
        if set(states) - ENDS:
            return "in_progress"
        if set(states) == {"cancelled"}:
            return "cancelled"
        return "failed" if "failed" in states else "completed"

    @invariant()
    def the_tables_say_what_the_model_says(self):
        for plan_id, tasks in self.plans.items():
            if not tasks:
                continue
            plan = plan_of(self.run, plan_id)
            rows = Task.objects.filter(plan=plan).values_list("task_id", "state", "version", "attempt")
            assert {row[0]: row[1:] for row in rows} == {
                task_id: (task.state, task.version, task.attempt) for task_id, task in tasks.items()
            }
            assert plan.state == self.conclusion(plan_id)
            seqs = list(plan.log.order_by("seq").values_list("seq", flat=True))
            assert seqs == list(range(1, plan.seq + 1))


def test_thousands_of_operations_make_no_difference(one_workspace):
    run_state_machine_as_test(
        lambda: LedgerMachine(one_workspace),
        settings=hypothesis_settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
