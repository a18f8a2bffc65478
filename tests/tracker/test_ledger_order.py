"""The promise of the ledger: in which order a run's messages come, and how often, does not change the final picture."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.accounts.factories import make_workspace
from tests.tracker.factories import assert_log_tells_all, counts_of, picture, plan_of
from tests.tracker.runs import Run
from tracker.changes import SubTask, TaskContextStored
from tracker.models import LogRow

START = datetime(2026, 1, 2, tzinfo=UTC)
PLAN = "plan"

SUB_TASKS = st.fixed_dictionaries(
    {"answer": st.sampled_from([None, True, False]), "names_plan": st.booleans(), "grouped": st.booleans()}
)
TASKS = st.fixed_dictionaries(
    {
        "knows": st.sampled_from(["task_id", "action_id", "correlation", "both", "nothing"]),
        "answer": st.sampled_from([None, True, True, False]),
        "facts": st.lists(st.sampled_from(["running", "in_review", "progress"]), max_size=2),
        "facts_name_plan": st.booleans(),
        "subs": st.lists(SUB_TASKS, max_size=2),
    }
)
WORDS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from(["approved", "paid"])),
    st.tuples(st.just("arrive"), st.sampled_from(["approved", "paid"])),
    st.tuples(st.just("say"), st.sampled_from(["running", "paused"])),
)
RUNS = st.fixed_dictionaries(
    {
        "tasks": st.lists(TASKS, min_size=1, max_size=5),
        "announced": st.sampled_from([None, 0, 0, 1]),
        "words": st.lists(WORDS, max_size=4),
        "end": st.sampled_from([None, None, "completed", "failed", "cancelled"]),
    }
)


class Telling:
    """A run as its agents tell it, in order. Equal for every tenant, but for the tenant."""

    def __init__(self, run, spec):
        self.run, self.spec, self.number, self.changes = run, spec, count(), []
        if spec["announced"] is not None:
            total = sum(1 + len(task["subs"]) for task in spec["tasks"]) + spec["announced"]
            self.fact("plan.started", {"plan_id": PLAN, "goal": "g", "total_actions": total})
        words = list(spec["words"])
        for place, task in enumerate(spec["tasks"]):
            self.task(f"t{place}", task)
            if words:
                self.word(*words.pop(0))
        for word in words:
            self.word(*word)
        if spec["end"]:
            self.fact(f"plan.{spec['end']}", {}, plan_id=PLAN)

    def say(self, topic, type, data, **envelope):
        number = next(self.number)
        time = START + timedelta(seconds=number)
        self.changes.append(self.run.message(topic, type, data, id=f"e{number}", time=time, **envelope))

    def fact(self, type, data, **envelope):
        self.say("system-events", type, data, correlation_id=f"fact-{next(self.number)}", **envelope)

    def word(self, kind, what):
        if kind == "wait":
            self.fact("plan.waiting_for_input", {"expected_event": what}, plan_id=PLAN)
        elif kind == "arrive":
            self.say("business-facts", what, {}, plan_id=PLAN, correlation_id="x")
        else:
            self.fact("plan.state_changed", {"plan_id": PLAN, "new_state": what})

    def task(self, name, task):
        correlation = f"c-{name}"
        asked, answered, more = {}, {}, {"plan_id": PLAN}
        if task["knows"] in {"task_id", "both"}:
            asked = answered = {"task_id": name}
        if task["knows"] in {"action_id", "both"}:
            answered = {"action_id": f"a-{name}"}
            asked = asked | answered
        if task["knows"] in {"action_id", "task_id"}:
            correlation = f"c-{name}-{next(self.number)}"
        if task["knows"] == "nothing":
            more = {}  # as a tool answers: nothing but the correlation leads to the task
        self.say(
            "action-requests", f"{name}.requested", asked, plan_id=PLAN, correlation_id=correlation,
            response_event=f"{name}.completed",
        )  # fmt: skip
        key = asked.get("action_id") or asked.get("task_id")
        if key:
            self.facts(key, task)
            self.subs(key, name, task["subs"])
        if task["answer"] is not None:
            self.answer(f"{name}.completed", answered, task["answer"], correlation, **more)

    def facts(self, key, task):
        named = {"plan_id": PLAN} if task["facts_name_plan"] else {}
        for fact in task["facts"]:
            if fact == "progress":
                self.fact("task.progress", {"task_id": key, "progress": 0.5}, **named)
            elif task["answer"] is not None:  # of two facts without an end the later one would count
                self.fact("task.state_changed", {"task_id": key, "new_state": fact}, **named)

    def subs(self, key, name, subs):
        if not subs:
            return
        delegated = [
            SubTask(sub_task_id=f"{name}-s{n}", group_id="g" if sub["grouped"] else "") for n, sub in enumerate(subs)
        ]
        context = {"task_id": key, "plan_id": PLAN, "event_type": f"{name}.requested", "data": {}}
        self.changes.append(self.run.change(TaskContextStored, sub_tasks=delegated, **context))
        for sub, task in zip(subs, delegated, strict=True):
            type, data = f"{task.sub_task_id}.requested", {"task_id": task.sub_task_id}
            named = {"plan_id": PLAN} if sub["names_plan"] else {}
            self.say("action-requests", type, data | named, correlation_id=task.sub_task_id, response_event="sub.done")
            if sub["answer"] is not None:
                self.answer("sub.done", data, sub["answer"], task.sub_task_id)

    def answer(self, type, data, good, correlation, **more):
        self.say("action-results", type, data | {"success": good}, source="worker", correlation_id=correlation, **more)


def record(run, changes, sizes):
    """In batches of these sizes, again and again."""
    place, sizes = 0, sizes or [1]
    for number in count():
        if place >= len(changes):
            break
        size = sizes[number % len(sizes)]
        run.record(*changes[place : place + size])
        place += size


def settled(run):
    found = picture(run, PLAN)
    assert found["counts"] == counts_of(run, PLAN)
    messages = LogRow.objects.filter(workspace=run.workspace, tenant_id=run.tenant, kind="message")
    ids = list(messages.values_list("event_id", flat=True))
    assert len(ids) == len(set(ids))
    assert not messages.filter(plan=None).exists()
    return found, sorted(ids)


@pytest.mark.django_db
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spec=RUNS, data=st.data())
def test_any_order_and_any_number_of_copies(spec, data):
    workspace = make_workspace()
    run, other = Run(workspace), Run(workspace, tenant="globex")
    record(run, Telling(run, spec).changes, [1])
    changes = Telling(other, spec).changes
    copies = [place for place in range(len(changes)) for _ in range(data.draw(st.integers(1, 3), label="copies"))]
    order = data.draw(st.permutations(copies), label="order")
    sizes = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4), label="batches")
    note("\n".join(f"{place} {getattr(change, 'envelope', change)!r}" for place, change in enumerate(changes)))
    record(other, [changes[place] for place in order], sizes)
    assert settled(other) == settled(run)
    assert_log_tells_all(workspace)


@pytest.mark.django_db
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    verdicts=st.lists(st.booleans(), min_size=2, max_size=12),
    governed=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_a_state_machines_plan_in_any_order(verdicts, governed, order):
    """Its requests and results name no ids at all: the counts must be right whoever answers which."""
    run = Run(make_workspace())
    if governed:
        run.context(PLAN, status="running", correlation_ids=[PLAN])
    changes = []
    for number, good in enumerate(verdicts):
        type = f"step{number % 3}"
        changes += [
            run.message("action-requests", f"{type}.requested", correlation_id=PLAN, response_event=f"{type}.done"),
            run.message(
                "action-results", f"{type}.done", {"success": good, "task_id": f"made-{number}"}, correlation_id=PLAN
            ),
        ]
    changes *= 2
    order.shuffle(changes)
    record(run, changes, [order.randint(1, 9)])
    if not governed:
        run.file_plan(PLAN)
    plan = plan_of(run, PLAN)
    assert (plan.task_count, plan.completed_tasks, plan.failed_tasks) == (
        len(verdicts), sum(verdicts), len(verdicts) - sum(verdicts),
    )  # fmt: skip
    assert plan.state == ("in_progress" if governed else "completed" if all(verdicts) else "failed")
    assert_log_tells_all(run.workspace)
