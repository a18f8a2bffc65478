"""How plans start, pause and end: on their own, by facts, and by the contexts that planners store."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.tracker.factories import everything, log, plan_moves, plan_of, states, told
from tests.tracker.runs import unique
from tracker.changes import PlanMove

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def at(second):
    return START + timedelta(seconds=second)


def fact(run, plan_id, type, data=None, **envelope):
    return run.say("system-events", f"plan.{type}", data or {}, plan_id=plan_id, **envelope)


def ask(run, plan_id, *names):
    for name in names:
        run.request(plan_id, f"{plan_id}-{name}", f"{name}.requested")


def end(run, plan_id, *names, good=True):
    for name in names:
        run.result(plan_id, f"{plan_id}-{name}", f"{name}.completed", status="completed" if good else "failed")


def a_plan(run, *names):
    plan_id = unique("plan")
    ask(run, plan_id, *names)
    return plan_id


def state(run, plan_id):
    return plan_of(run, plan_id).state


def move(run, plan_id, to):
    return run.record(run.change(PlanMove, plan_id=plan_id, to=to))[0]


# --- on its own ---


def test_closes_when_the_last_task_has_ended(run):
    plan_id = a_plan(run, "a", "b")
    end(run, plan_id, "a")
    assert (state(run, plan_id), plan_of(run, plan_id).completed_at) == ("in_progress", None)
    end(run, plan_id, "b")
    assert (state(run, plan_id), plan_of(run, plan_id).closed_by) == ("completed", "rule")
    assert plan_of(run, plan_id).completed_at is not None


def test_fails_when_one_task_failed(run):
    plan_id = a_plan(run, "a", "b")
    end(run, plan_id, "a", good=False)
    assert state(run, plan_id) == "in_progress"
    end(run, plan_id, "b")
    assert state(run, plan_id) == "failed"


def test_is_cancelled_only_when_all_were(run):
    plan_id, other = a_plan(run, "a", "b"), a_plan(run, "a", "b")
    for name in ("a", "b"):
        run.move(f"{plan_id}-{name}", "cancelled")
    run.move(f"{other}-a", "cancelled")
    end(run, other, "b")
    assert [state(run, plan_id), state(run, other)] == ["cancelled", "completed"]


def test_a_later_task_opens_it_again(run):
    plan_id = a_plan(run, "a")
    end(run, plan_id, "a")
    ask(run, plan_id, "b")
    assert (state(run, plan_id), plan_of(run, plan_id).completed_at) == ("in_progress", None)
    end(run, plan_id, "b", good=False)
    assert plan_moves(run, plan_id) == ["in_progress", "completed", "in_progress", "failed"]


def test_waits_for_as_many_tasks_as_were_announced(run):
    plan_id = unique("plan")
    fact(run, plan_id, "started", {"goal": "g", "total_actions": 2})
    ask(run, plan_id, "a")
    end(run, plan_id, "a")
    assert state(run, plan_id) == "in_progress"
    ask(run, plan_id, "b")
    end(run, plan_id, "b")
    assert state(run, plan_id) == "completed"


def test_an_announcement_that_comes_late_opens_it_again(run):
    plan_id = a_plan(run, "a")
    end(run, plan_id, "a")
    fact(run, plan_id, "started", {"total_actions": 2})
    assert state(run, plan_id) == "in_progress"


@pytest.mark.parametrize("total", [-1, 2**31, 10**30, "3", 1.5, True, None, [2]])
def test_an_announcement_of_nonsense_counts_nothing(run, total):
    plan_id = unique("plan")
    assert fact(run, plan_id, "started", {"total_actions": total}).result == "recorded"
    ask(run, plan_id, "a")
    end(run, plan_id, "a")
    assert state(run, plan_id) == "completed"


def test_without_tasks_it_does_not_close(run):
    plan_id = unique("plan")
    fact(run, plan_id, "started", {"total_actions": 0})
    assert state(run, plan_id) == "in_progress"


# --- facts ---


@pytest.mark.parametrize(
    ("data", "goal"),
    [
        ({"goal_event": "a", "goal": "b"}, "a"),
        ({"goal": "b", "plan_name": "c"}, "b"),
        ({"plan_name": "c"}, "c"),
        ({"goal_type": "d"}, "d"),
        ({"goal": {"an": "object"}}, ""),
        ({"goal": "x" * 256}, ""),
    ],
)
def test_started_names_the_goal(run, data, goal):
    plan_id = unique("plan")
    run.say("system-events", "plan.started", {"plan_id": plan_id, **data}, source="fleet")
    plan = plan_of(run, plan_id)
    assert (plan.goal_event, plan.state, plan.planner) == (goal, "in_progress", "fleet")
    fact(run, plan_id, "started", {"goal": "another"})
    assert plan_of(run, plan_id).goal_event == (goal or "another")


@pytest.mark.parametrize("said", ["completed", "failed", "cancelled"])
def test_a_fact_ends_it_and_it_stays_closed(run, said):
    plan_id = a_plan(run, "a")
    assert fact(run, plan_id, said, {"error": "why"}).result == "recorded"
    assert (state(run, plan_id), plan_of(run, plan_id).closed_by) == (said, "fact")
    assert plan_of(run, plan_id).error == ("why" if said == "failed" else "")
    end(run, plan_id, "a", good=said != "completed")
    ask(run, plan_id, "b")
    assert state(run, plan_id) == said
    assert states(run, plan_id)["b"] == "pending"


@pytest.mark.parametrize(
    ("first", "second"), [("completed", "failed"), ("failed", "completed"), ("cancelled", "completed")]
)
def test_the_first_of_two_contradicting_facts_wins(run, first, second):
    plan_id = a_plan(run, "a")
    fact(run, plan_id, first)
    refused = fact(run, plan_id, second)
    assert (refused.result, refused.detail) == ("refused", f"a {first} plan cannot become {second}")
    assert fact(run, plan_id, first).result == "recorded"
    assert state(run, plan_id) == first


@pytest.mark.parametrize("said", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("good", [True, False])
def test_a_fact_goes_before_what_the_plan_had_concluded(run, said, good):
    plan_id = a_plan(run, "a")
    end(run, plan_id, "a", good=good)
    fact(run, plan_id, said)
    assert (state(run, plan_id), plan_of(run, plan_id).closed_by) == (said, "fact")
    ask(run, plan_id, "b")
    assert state(run, plan_id) == said


@pytest.mark.parametrize("to", ["running", "in_progress", "paused", "completed", "failed", "cancelled"])
def test_state_changed_moves_the_plan(run, to):
    plan_id = a_plan(run, "a")
    assert fact(run, plan_id, "state_changed", {"new_state": to}).result == "recorded"
    assert state(run, plan_id) == {"running": "in_progress"}.get(to, to)


@pytest.mark.parametrize("to", ["pending", "odd", "", None, 7, {"a": 1}, "x\x00", "\ud800", "x" * 50_000])
def test_state_changed_to_nonsense_is_refused(run, to):
    plan_id = a_plan(run, "a")
    assert fact(run, plan_id, "state_changed", {"new_state": to}).result == "refused"
    assert state(run, plan_id) == "in_progress"


def test_a_fact_alone_makes_the_plan(run):
    plan_id = unique("plan")
    run.say("system-events", "plan.failed", {"plan_id": plan_id, "error": {"odd": ["\x00", "\ud800"]}})
    assert state(run, plan_id) == "failed"
    assert "odd" in plan_of(run, plan_id).error


def test_facts_on_other_topics_are_only_written_down(run):
    plan_id = a_plan(run, "a")
    for topic in ("plan-events", "task-events", "business-facts"):
        run.say(topic, "plan.completed", plan_id=plan_id)
        run.say(topic, "task.state_changed", {"task_id": f"{plan_id}-a", "new_state": "failed"}, plan_id=plan_id)
    assert (state(run, plan_id), states(run, plan_id)) == ("in_progress", {"a": "pending"})


# --- pauses ---


def waits(run, plan_id, expected="approved", when=10):
    return fact(run, plan_id, "waiting_for_input", {"expected_event": expected}, time=at(when))


def arrives(run, plan_id, type="approved", when=20):
    return run.say("business-facts", type, plan_id=plan_id, time=at(when))


def test_waits_until_what_it_expects_arrives(run):
    plan_id = a_plan(run, "a")
    waits(run, plan_id)
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("paused", "approved")
    arrives(run, plan_id, "something.else")
    assert state(run, plan_id) == "paused"
    arrives(run, plan_id)
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("in_progress", "")


def test_what_it_expects_overtakes_the_wait(run):
    plan_id = a_plan(run, "a")
    arrives(run, plan_id)
    assert waits(run, plan_id).result == "recorded"
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("in_progress", "")


@pytest.mark.parametrize("late", [True, False])
def test_what_was_sent_before_the_wait_is_not_what_it_expects(run, late):
    plan_id = a_plan(run, "a")
    steps = [lambda: waits(run, plan_id), lambda: arrives(run, plan_id, when=5)]
    for step in steps if late else reversed(steps):
        step()
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("paused", "approved")


@pytest.mark.parametrize("swapped", [True, False])
def test_of_pausing_and_going_on_the_later_sent_counts(run, swapped):
    plan_id = a_plan(run, "a")
    steps = [(10, "paused"), (20, "running")]
    outcomes = [
        fact(run, plan_id, "state_changed", {"new_state": to}, time=at(when))
        for when, to in (reversed(steps) if swapped else steps)
    ]
    assert state(run, plan_id) == "in_progress"
    assert [o.result for o in outcomes] == ["recorded", "refused" if swapped else "recorded"]


def test_a_paused_plan_does_not_close_on_its_own(run):
    plan_id = a_plan(run, "a")
    waits(run, plan_id)
    end(run, plan_id, "a")
    assert state(run, plan_id) == "paused"
    arrives(run, plan_id)
    assert state(run, plan_id) == "completed"


def test_waiting_opens_a_plan_that_had_closed_on_its_own(run):
    plan_id = a_plan(run, "a")
    end(run, plan_id, "a")
    waits(run, plan_id)
    assert state(run, plan_id) == "paused"
    assert plan_moves(run, plan_id) == ["in_progress", "completed", "(in_progress)", "paused"]


def test_an_answer_can_be_what_it_waits_for(run):
    plan_id = a_plan(run, "a")
    waits(run, plan_id, "a.completed", when=0)
    end(run, plan_id, "a")
    assert state(run, plan_id) == "completed"


@pytest.mark.parametrize("by_fact", [True, False])
def test_whoever_ends_a_pause_ends_the_wait(run, by_fact):
    """What a plan waited for once must not end a later pause."""
    plan_id = a_plan(run, "a")
    waits(run, plan_id)
    if by_fact:
        fact(run, plan_id, "state_changed", {"new_state": "running"}, time=at(15))
    else:
        move(run, plan_id, "in_progress")
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("in_progress", "")
    move(run, plan_id, "paused")
    arrives(run, plan_id)
    assert state(run, plan_id) == "paused"


# --- contexts ---


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (None, "pending"), ("pending", "pending"), ("running", "in_progress"), ("in_progress", "in_progress"),
        ("paused", "paused"), ("completed", "completed"), ("failed", "failed"), ("cancelled", "cancelled"),
        ("whatever", "pending"), ("", "pending"),
    ],
)  # fmt: skip
def test_a_context_says_what_state_the_plan_is_in(run, status, becomes):
    plan_id = unique("plan")
    run.context(plan_id, status=status, current_state="start")
    assert (state(run, plan_id), plan_of(run, plan_id).current_state) == (becomes, "start")


def test_a_plan_with_a_context_never_closes_on_its_own(run):
    plan_id = unique("plan")
    run.context(plan_id, status="running")
    ask(run, plan_id, "a")
    end(run, plan_id, "a")
    assert state(run, plan_id) == "in_progress"
    run.context(plan_id, goal_event=None, status="completed")
    assert state(run, plan_id) == "completed"
    ask(run, plan_id, "b")
    end(run, plan_id, "b", good=False)
    assert state(run, plan_id) == "completed"


def test_a_context_pauses_and_goes_on(run):
    plan_id = unique("plan")
    for status in ("running", "paused", "paused", "running", "failed"):
        run.context(plan_id, status=status)
    assert plan_moves(run, plan_id) == ["pending", "in_progress", "paused", "in_progress", "failed"]


@pytest.mark.parametrize("status", [None, "pending", "running", "waiting"])
def test_a_context_opens_a_plan_that_had_closed_on_its_own(run, status):
    plan_id = a_plan(run, "a")
    end(run, plan_id, "a")
    run.context(plan_id, status=status)
    assert state(run, plan_id) == "in_progress"


def test_a_context_that_contradicts_leaves_a_note(run):
    plan_id = unique("plan")
    run.context(plan_id, status="completed")
    run.context(plan_id, status="failed")
    assert state(run, plan_id) == "completed"
    notes = plan_of(run, plan_id).log.filter(refused=True)
    assert [(row.kind, row.reason) for row in notes] == [("note", "a completed plan cannot become failed")]


def test_a_context_that_says_nothing_new_leaves_no_row(run):
    plan_id = unique("plan")
    run.context(plan_id, status="running", current_state="parts_check", correlation_ids=[plan_id, "c"])
    before = everything(run.workspace)
    run.context(plan_id, status="running", current_state="parts_check", correlation_ids=[plan_id, "c"])
    assert everything(run.workspace)["LogRow"] == before["LogRow"]


def test_the_sdks_wait(run):
    """Its context says paused twice, then the fact follows; the context that says running ends it."""
    plan_id = unique("plan")
    run.context(plan_id, status="running")
    run.context(plan_id, status="paused")
    run.context(plan_id, status="paused")
    fact(run, plan_id, "waiting_for_input", {"plan_id": plan_id, "expected_event": "approved"})
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("paused", "approved")
    run.context(plan_id, status="running")
    assert (state(run, plan_id), plan_of(run, plan_id).waiting_for) == ("in_progress", "")


def test_the_sdks_state_machine(run):
    plan_id = unique("plan")
    run.say("action-requests", "maintenance.goal", {"v": 1}, source="client", correlation_id=plan_id)
    run.file_plan(plan_id)
    known = {"response_event": "maintenance.completed", "correlation_ids": [plan_id], "correlation_id": plan_id}
    run.context(plan_id, status="pending", current_state="start", **known)
    run.say("action-requests", "parts.check.requested", correlation_id=plan_id, response_event="parts.check.completed")
    run.context(plan_id, status="running", current_state="parts_check", **known)
    said = {"task_id": unique("made-up"), "action_id": None, "status": "completed", "result": {}}
    run.say("action-results", "parts.check.completed", said, source="parts-worker", correlation_id=plan_id)
    run.say("action-results", "maintenance.completed", {"plan_id": plan_id, "result": {}}, correlation_id=plan_id)
    assert state(run, plan_id) == "in_progress"
    run.context(plan_id, status="completed", **known)
    assert (state(run, plan_id), states(run, plan_id)) == ("completed", {"parts-check": "completed"})
    assert plan_of(run, plan_id).unmatched == 0
    messages = [row.type for row in log(run, plan_id) if row.kind == "message"]
    assert messages == [
        "maintenance.goal", "parts.check.requested", "parts.check.completed", "maintenance.completed",
    ]  # fmt: skip
    assert told(run, plan_id, refused=True) == []


# --- moves that somebody asks for ---


def test_moves_of_a_plan(run):
    plan_id = a_plan(run, "a")
    for to in ("paused", "in_progress", "cancelled"):
        assert move(run, plan_id, to).result == "recorded"
    assert (state(run, plan_id), plan_of(run, plan_id).closed_by) == ("cancelled", "fact")
    ask(run, plan_id, "b")
    assert state(run, plan_id) == "cancelled"
