"""Delegation: sub-tasks of stored contexts, groups, workers that answer under an id of their own, plans for plans."""

from itertools import pairwise

import pytest

from tests.tracker.factories import moves, picture, plan_of, states, task_of
from tests.tracker.runs import Run, unique
from tracker.changes import SubTask, TaskContextStored
from tracker.models import Link

ASK, DONE = "parts.check.requested", "parts.check.completed"


def context(run, task_id, subs=(), *, data=None, plan_id="", group="", done=(), event_type=ASK):
    """A worker stores its task's context."""
    subs = [SubTask(sub_task_id=sub, group_id=group, done=sub in done) for sub in subs]
    return run.change(
        TaskContextStored, task_id=task_id, plan_id=plan_id, event_type=event_type, data=data or {}, sub_tasks=subs
    )


def updated(run, task_id, subs=(), **more):
    """The same by an update, which says neither type nor data."""
    change = context(run, task_id, subs, **more)
    change.event_type = change.data = None
    return change


def ask(run, sub, type="stock.count.requested", **envelope):
    """A sub-request as `delegate()` sends it: no plan in the envelope, its id as correlation and task id."""
    response = type.replace("requested", "completed")
    return run.message(
        "action-requests",
        type,
        {"task_id": sub},
        source="parts-worker",
        correlation_id=sub,
        response_event=response,
        **envelope,
    )


def answer(run, sub, type="stock.count.completed", **data):
    said = {"task_id": sub, "action_id": None, "status": "completed", **data}
    return run.message("action-results", type, said, source="stock-worker", correlation_id=sub)


def a_planners_task(run, plan_id=None, data=None):
    """The request of a state machine's plan: no task id, the plan's id as correlation."""
    plan_id = plan_id or unique("plan")
    run.context(plan_id, status="running", correlation_ids=[plan_id])
    run.say(
        "action-requests",
        ASK,
        data or {"part": "brake"},
        correlation_id=plan_id,
        response_event=DONE,
        id=f"{plan_id}-ask",
    )
    return plan_id, f"{plan_id}-ask"


def restored_result(run, made_up, **data):
    """The final result of a restored task: its correlation is the id that its worker made up."""
    said = {"task_id": made_up, "action_id": None, "status": "completed", **data}
    return run.say("action-results", DONE, said, source="parts-worker", correlation_id=made_up)


# --- one sub-task, and three with fan-in ---


def test_one_sub_task(run):
    plan_id, [task_id] = run.plan()
    run.running(plan_id, task_id)
    sub = unique("sub")
    run.delegate(plan_id, task_id, [sub])
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "pending"}
    assert task_of(run, sub).parent.task_id == task_id
    run.record(answer(run, sub))
    assert states(run, plan_id) == {"parts-check": "running", "stock-count": "completed"}
    run.result(plan_id, task_id)
    assert picture(run, plan_id)["plan"] == "completed"
    assert moves(run, task_id) == ["pending", "running", "delegated", "running", "completed"]


def test_three_in_parallel(run):
    plan_id, [task_id] = run.plan()
    run.running(plan_id, task_id)
    subs = [unique("sub") for _ in range(3)]
    run.delegate(plan_id, task_id, subs, group="group-1")
    assert Link.objects.filter(group_id="group-1", kind="subtask", task__task_id=task_id).count() == 3
    for number, sub in enumerate(subs):
        assert task_of(run, task_id).state == "delegated"
        run.record(answer(run, sub, success=number != 1))
    assert task_of(run, task_id).state == "running"
    assert moves(run, task_id) == ["pending", "running", "delegated", "running"]
    run.result(plan_id, task_id)
    # The failed one does not count: the task above it completed all the same.
    assert picture(run, plan_id)["plan"] == "completed"
    assert picture(run, plan_id)["counts"] == (4, 3, 1, 0)


def test_a_task_that_was_never_seen_running_delegates(run):
    plan_id, [task_id] = run.plan()
    run.delegate(plan_id, task_id, [unique("sub")])
    assert moves(run, task_id) == ["pending", "(running)", "delegated"]


def test_a_sub_task_is_open_from_the_moment_its_context_names_it(run):
    plan_id, [task_id] = run.plan()
    sub = unique("sub")
    run.record(context(run, task_id, [sub], plan_id=plan_id))
    assert task_of(run, task_id).state == "delegated"
    run.record(updated(run, task_id, [sub], done=[sub]))
    assert task_of(run, task_id).state == "running"


def test_a_result_of_the_parent_before_its_sub_tasks(run):
    plan_id, [task_id] = run.plan()
    sub = unique("sub")
    run.delegate(plan_id, task_id, [sub])
    run.result(plan_id, task_id)
    assert picture(run, plan_id) == {
        "plan": "in_progress", "counts": (2, 1, 0, 0), "tasks": {"parts-check": "completed", "stock-count": "pending"},
    }  # fmt: skip
    run.record(answer(run, sub, status="failed"))
    assert (picture(run, plan_id)["plan"], task_of(run, task_id).state) == ("completed", "completed")


def test_a_cancelled_sub_task_lets_its_parent_go_on(run):
    plan_id, [task_id] = run.plan()
    sub = unique("sub")
    run.delegate(plan_id, task_id, [sub])
    assert run.move(sub, "cancelled").result == "recorded"
    assert task_of(run, task_id).state == "running"


def test_a_sub_task_that_starts_anew_holds_its_parent_again(run):
    plan_id, [task_id] = run.plan()
    sub = unique("sub")
    run.delegate(plan_id, task_id, [sub])
    run.record(answer(run, sub, status="failed"))
    assert run.move(sub, "pending").result == "recorded"
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "pending"}
    run.record(answer(run, sub))
    assert states(run, plan_id) == {"parts-check": "running", "stock-count": "completed"}


def test_hundreds_of_sub_tasks_end_in_one_batch(run):
    plan_id, [task_id] = run.plan()
    subs = [unique("sub") for _ in range(300)]
    run.delegate(plan_id, task_id, subs)
    run.record(*(answer(run, sub) for sub in subs[:-1]))
    assert task_of(run, task_id).state == "delegated"
    run.record(answer(run, subs[-1]))
    assert moves(run, task_id) == ["pending", "(running)", "delegated", "running"]


# --- what comes before the context that explains it ---


def test_sub_requests_before_their_context(run):
    plan_id, [task_id] = run.plan()
    subs = [unique("sub"), unique("sub")]
    run.record(ask(run, subs[0]), answer(run, subs[0]), ask(run, subs[1]))
    assert picture(run, plan_id)["counts"] == (1, 0, 0, 0)
    run.record(context(run, task_id, subs, plan_id=plan_id))
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "completed", "stock-count-2": "pending"}
    assert {task_of(run, sub).parent.task_id for sub in subs} == {task_id}


def test_sub_requests_that_name_their_plan_before_their_context(run):
    plan_id, [task_id] = run.plan()
    sub = unique("sub")
    run.record(ask(run, sub, plan_id=plan_id), answer(run, sub, status="failed"))
    run.record(context(run, task_id, [sub], plan_id=plan_id))
    run.result(plan_id, task_id)
    assert task_of(run, sub).parent.task_id == task_id
    assert picture(run, plan_id)["plan"] == "completed"


def test_a_context_before_its_request(run):
    plan_id, task_id, sub = unique("plan"), unique("task"), unique("sub")
    run.record(context(run, task_id, [sub], plan_id=plan_id), ask(run, sub))
    run.request(plan_id, task_id)
    assert states(run, plan_id) == {"stock-count": "pending", "parts-check": "delegated"}
    assert task_of(run, sub).parent.task_id == task_id
    run.record(answer(run, sub))
    assert task_of(run, task_id).state == "running"


def test_a_context_that_leads_nowhere_yet(run):
    plan_id, task_id, sub = unique("plan"), unique("task"), unique("sub")
    run.record(context(run, task_id, [sub]), ask(run, sub), answer(run, sub))
    run.request(plan_id, task_id)
    assert states(run, plan_id) == {"parts-check": "running", "stock-count": "completed"}
    assert task_of(run, sub).parent.task_id == task_id


# --- nested ---


def test_nested_delegation(run):
    plan_id, [task_id] = run.plan()
    sub, subsub = unique("sub"), unique("subsub")
    run.delegate(plan_id, task_id, [sub])
    # The sub-worker's context has no plan, and neither have its requests.
    run.record(context(run, sub, [subsub], event_type="stock.count.requested", data={"task_id": sub}))
    run.record(ask(run, subsub, "shelf.look.requested"))
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "delegated", "shelf-look": "pending"}
    run.record(answer(run, subsub, "shelf.look.completed"))
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "running", "shelf-look": "completed"}
    run.record(answer(run, sub))
    run.result(plan_id, task_id)
    assert picture(run, plan_id)["plan"] == "completed"
    assert task_of(run, subsub).parent.task_id == sub


def test_delegation_of_many_levels(run):
    plan_id, [task_id] = run.plan()
    ids = [task_id, *(unique("level") for _ in range(40))]
    changes = [
        change
        for above, below in pairwise(ids)
        for change in (context(run, above, [below], event_type=None), ask(run, below))
    ]
    run.record(*reversed(changes))
    assert list(states(run, plan_id).values()).count("delegated") == 40
    run.record(*(answer(run, sub) for sub in ids[1:]))
    run.result(plan_id, task_id)
    assert picture(run, plan_id) | {"tasks": 0} == {"plan": "completed", "counts": (41, 41, 0, 0), "tasks": 0}


def test_contexts_that_name_each_other_make_no_circle(run):
    plan_id, [one, two] = run.plan(2)
    run.record(context(run, one, [two], event_type=None), context(run, two, [one, two], event_type=None))
    assert (task_of(run, two).parent.task_id, task_of(run, one).parent) == (one, None)
    run.result(plan_id, one, status="failed")
    run.result(plan_id, two, status="failed")
    assert picture(run, plan_id)["plan"] == "failed"


# --- the worker that delegates a planner's task answers under an id of its own ---


def test_the_planners_own_task_is_delegated(run):
    plan_id, task_id = a_planners_task(run)
    made_up, sub = unique("made-up"), unique("sub")
    run.record(context(run, made_up, [sub], data={"part": "brake"}), ask(run, sub))
    assert states(run, plan_id) == {"parts-check": "delegated", "stock-count": "pending"}
    run.record(answer(run, sub))
    outcome = restored_result(run, made_up)
    assert (outcome.plan_id, outcome.task_id) == (plan_id, task_id)
    assert states(run, plan_id) == {"parts-check": "completed", "stock-count": "completed"}


def test_the_alias_stays_through_later_updates(run):
    _, task_id = a_planners_task(run)
    made_up, subs = unique("made-up"), [unique("sub"), unique("sub")]
    run.record(context(run, made_up, subs[:1], data={"part": "brake"}), ask(run, subs[0]), answer(run, subs[0]))
    run.record(updated(run, made_up, subs, done=subs[:1]), ask(run, subs[1]))
    assert task_of(run, task_id).state == "delegated"
    run.record(context(run, made_up, subs, data={"part": "brake", "more": 1}, done=subs), answer(run, subs[1]))
    assert restored_result(run, made_up, success=False, error="none left").task_id == task_id
    assert (task_of(run, task_id).state, task_of(run, task_id).error) == ("failed", "none left")


def test_the_oldest_equal_request_that_none_has_taken(run):
    plans = [a_planners_task(run)[0] for _ in range(3)]
    made_up = [unique("made-up") for _ in plans]
    for key in made_up:
        run.record(context(run, key, [unique("sub")], data={"part": "brake"}))
    assert [task_of(run, f"{plan_id}-ask").state for plan_id in plans] == ["delegated"] * 3
    assert [restored_result(run, key).plan_id for key in reversed(made_up)] == plans[::-1]


def test_other_data_is_another_request(run):
    plan_id, _ = a_planners_task(run)
    outcome = run.record(context(run, unique("made-up"), [unique("sub")], data={"part": "tyre"}))[0]
    assert (outcome.plan_id, outcome.task_id) == ("", "")
    assert states(run, plan_id) == {"parts-check": "pending"}


def test_a_context_that_names_its_plan_takes_no_other_plans_request(run):
    for _ in range(25):
        a_planners_task(run)
    plan_id, task_id = a_planners_task(run)
    made_up = unique("made-up")
    outcome = run.record(context(run, made_up, [unique("sub")], data={"part": "brake"}, plan_id=plan_id))[0]
    assert (outcome.plan_id, outcome.task_id) == (plan_id, task_id)


def test_an_ended_request_is_not_taken(run):
    plan_id, task_id = a_planners_task(run)
    run.say("action-results", DONE, {"success": True}, correlation_id=plan_id)
    assert run.record(context(run, unique("made-up"), [unique("sub")], data={"part": "brake"}))[0].task_id == ""
    assert task_of(run, task_id).state == "completed"


def test_a_restored_result_that_overtakes_the_context(run):
    _, task_id = a_planners_task(run)
    made_up = unique("made-up")
    assert restored_result(run, made_up).plan_id == ""
    run.record(context(run, made_up, [], data={"part": "brake"}))
    assert task_of(run, task_id).state == "completed"


@pytest.mark.parametrize("tenant", ["globex", "acme"])
def test_contexts_are_their_tenants_own(run, tenant):
    _, task_id = a_planners_task(run)
    other = Run(run.workspace, tenant=tenant)
    outcome = other.record(context(other, unique("made-up"), [unique("sub")], data={"part": "brake"}))[0]
    assert outcome.task_id == (task_id if tenant == "acme" else "")


# --- a planner asks another planner ---


def delegated_goal(run, ends="completed"):
    parent, child = unique("parent"), unique("child")
    run.context(parent, goal_event="big.goal", status="running")
    data = {"action_id": f"{parent}-action", "task_id": parent}
    run.say("action-requests", "small.goal", data, plan_id=parent, correlation_id=child)
    run.file_plan(child, goal="small.goal")
    run.context(child, goal_event="small.goal", status="running", correlation_ids=[child])
    return parent, child, f"{parent}-action"


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_plan_for_a_plan(run, end):
    parent, child, task_id = delegated_goal(run)
    assert plan_of(run, child).parent_plan_id == parent
    assert plan_of(run, child).task_count == 0
    assert task_of(run, task_id).state == "pending"
    run.context(child, goal_event=None, status=end)
    assert (plan_of(run, child).state, task_of(run, task_id).state) == (end, end)
    assert plan_of(run, parent).state == "in_progress"


def test_a_chain_of_plans_ends_upwards(run):
    top, middle, task_id = delegated_goal(run)
    bottom = unique("bottom")
    run.say("action-requests", "tiny.goal", {"action_id": f"{bottom}-a"}, plan_id=middle, correlation_id=bottom)
    run.file_plan(bottom, goal="tiny.goal")
    run.say("system-events", "plan.failed", {"error": "no way"}, plan_id=bottom)
    assert (task_of(run, f"{bottom}-a").state, task_of(run, f"{bottom}-a").error) == ("failed", "no way")
    assert plan_of(run, middle).state == "in_progress"  # a context says what state it is in
    run.context(middle, goal_event=None, status="failed")
    assert task_of(run, task_id).state == "failed"
    assert plan_of(run, top).state == "in_progress"


def test_a_request_that_nobody_answers_is_no_plans_goal_unless_asked_for(run):
    plan_id, correlation = unique("plan"), unique("correlation")
    run.say("action-requests", "small.goal", plan_id=plan_id, correlation_id=correlation)
    run.file_plan(correlation, goal="quite.another.goal")
    assert plan_of(run, correlation).parent_plan_id == ""
