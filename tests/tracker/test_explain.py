"""What went wrong: the first failure in the order of causes, in plans that were built to go wrong in one way each."""

import pytest

from tests.planner.declared import END, Author, ask, on
from tests.tracker.explaining import (
    at,
    fails,
    fan_out,
    first,
    followed,
    moved_by,
    retry,
    story,
)
from tests.tracker.factories import plan_of, task_of
from tests.tracker.runs import unique

# --- one failure and what came of it ---


def test_a_task_that_failed(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "ValueError: no such part")
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "ValueError: no such part")
    assert (told["root"]["task_id"], told["root"]["payload"]["type"]) == (task_id, "parts.check.failed")
    assert told["verdict"] == "parts-check failed at parts-worker: ValueError: no such part."


def test_a_fan_out_with_one_root_failure(run):
    plan_id, task_id, subs = fan_out(run)
    run.result(plan_id, subs[0], "stock.count.completed")
    fails(run, plan_id, subs[2], "shelf 4 is empty", source="stock-worker")
    for sub in (subs[1], subs[3]):
        run.move(sub, "cancelled", reason="no use any more")
    fails(run, plan_id, task_id, "cannot tell the stock")
    told = story(run, plan_id)
    assert first(told) == ("failed", "stock-count-3", "stock-worker", 1, "shelf 4 is empty")
    assert followed(told) == {("cancelled", "stock-count"): 2, ("failed", "parts-check"): 1}
    assert told["others"]["count"] == 0


def test_two_levels_of_delegation(run):
    plan_id, task_id, (sub, _) = fan_out(run, 2)
    run.delegate(plan_id, sub, [f"{sub}-deep"], type="stock.count.requested")
    fails(run, plan_id, f"{sub}-deep", "scanner offline", source="scanner")
    told = story(run, plan_id)
    assert first(told) == ("failed", "stock-count-3", "scanner", 1, "scanner offline")
    assert ("waits", "parts-check") in followed(told)
    fails(run, plan_id, sub, "no count", source="stock-worker")
    fails(run, plan_id, task_id, "no parts")
    told = story(run, plan_id)
    assert first(told) == ("failed", "stock-count-3", "scanner", 1, "scanner offline")
    assert followed(told) == {("failed", "parts-check"): 1, ("failed", "stock-count"): 1}


def test_a_parent_that_was_recorded_first_is_still_the_consequence(run):
    """The sub-worker's failure was sent before, and came after."""
    plan_id, task_id, (sub,) = fan_out(run, 1)
    fails(run, plan_id, task_id, "gave up", time=at(20))
    fails(run, plan_id, sub, "disk full", source="stock-worker", time=at(10))
    assert first(story(run, plan_id)) == ("failed", "stock-count", "stock-worker", 1, "disk full")


def test_a_sub_task_that_failed_after_its_parent_did_not_cause_it(run):
    plan_id, task_id, (sub,) = fan_out(run, 1)
    fails(run, plan_id, task_id, "lost patience", time=at(10))
    fails(run, plan_id, sub, "nobody asks any more", source="stock-worker", time=at(20))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "lost patience")
    assert [one["task"] for one in told["others"]["items"]] == ["stock-count"]


def test_a_failure_without_an_error_text(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id)
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, None)
    assert told["verdict"] == "parts-check failed at parts-worker: no error text was given."


def test_a_result_that_came_before_its_request(run):
    plan_id = unique("plan")
    run.file_plan(plan_id)
    fails(run, plan_id, f"{plan_id}-t", "no stock")
    run.request(plan_id, f"{plan_id}-t")
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "no stock")
    assert told["root"]["payload"]["type"] == "parts.check.failed"


def test_several_independent_failures(run):
    plan_id, tasks = run.plan(4)
    fails(run, plan_id, tasks[2], "second", time=at(20))
    fails(run, plan_id, tasks[1], "first", source="other-worker", time=at(10))
    fails(run, plan_id, tasks[3], "third", time=at(30))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check-2", "other-worker", 1, "first")
    assert [one["error"] for one in told["others"]["items"]] == ["second", "third"]
    assert followed(told) == {}
    assert told["verdict"].endswith("first; 2 more went wrong by themselves.")


def test_what_was_asked_to_make_up_for_a_failure_and_failed_too(run):
    """A declared step that failed, and the step that its machine goes to then."""
    plan_id, (task_id,) = run.plan()
    failed = fails(run, plan_id, task_id, "no bay free")
    run.request(plan_id, f"{plan_id}-undo", "undo.requested", parent_event_id=failed.event_id)
    fails(run, plan_id, f"{plan_id}-undo", "nothing to undo", source="undo-worker")
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "no bay free")
    assert followed(told) == {("failed", "undo"): 1}


def test_a_plan_that_the_server_runs_goes_on_after_a_failure_and_fails_again(db):
    author = Author()
    states = {
        "start": {"action": ask("weld"), "transitions": [on("weld", "done")], "on_failure": "undo"},
        "undo": {"action": ask("undo"), "transitions": [on("undo", "done")]},
        "done": END,
    }
    plan_id = author.declare({"goal": "repair.goal", "states": states})
    for step, error in (("weld", "torch broken"), ("undo", "nothing to undo")):
        [request] = author.requests(plan_id, step)
        author.answer(request, status="failed", error=error, source=f"{step}-worker")
    told = story(author, plan_id)
    assert (told["state"], first(told)) == ("failed", ("failed", "weld", "weld-worker", 1, "torch broken"))
    assert followed(told) == {("failed", "undo"): 1}


def test_a_declared_step_that_ran_out_of_time(run):
    plan_id, (done, late) = run.plan(2)
    run.result(plan_id, done)
    run.running(plan_id, late, source="slow-worker")
    timed_out = {"by": "system", "reason": "no answer within 30 s", "error": "timeout after 30 s"}
    run.record(moved_by(run, late, **timed_out))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check-2", "slow-worker", 1, "timeout after 30 s")
    assert (told["root"]["by"], told["root"]["reason"]) == ("system", "no answer within 30 s")


# --- tried again ---


def test_a_retry_that_failed_goes_back_to_the_first_attempt(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "disk full")
    retry(run, task_id)
    fails(run, plan_id, task_id, "lock of attempt 1 is still there", source="parts-worker")
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "disk full")
    assert [one["attempt"] for one in told["root"]["attempts"]] == [1, 2]
    assert "disk full, and was tried 2 times" in told["verdict"]


def test_a_retry_that_succeeded_is_no_failure_any_more(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "disk full")
    retry(run, task_id)
    run.result(plan_id, task_id)
    told = story(run, plan_id)
    assert (told["state"], told["root"], told["mended"]["count"]) == ("completed", None, 1)
    assert told["mended"]["items"][0] | {"attempts": 0} == {
        "task_id": task_id, "task": "parts-check", "state": "completed", "attempt": 2, "excused": False, "attempts": 0,
    }  # fmt: skip
    assert told["verdict"].startswith("The plan completed at ")
    assert told["verdict"].endswith("1 tasks, 1 of them after a failure.")


def test_a_failure_beside_a_mended_one(run):
    plan_id, (one, other) = run.plan(2)
    fails(run, plan_id, one, "disk full", time=at(10))
    retry(run, one)
    run.result(plan_id, one)
    fails(run, plan_id, other, "no stock", time=at(30))
    assert first(story(run, plan_id)) == ("failed", "parts-check-2", "parts-worker", 1, "no stock")


def test_a_retry_that_runs_now(run):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "disk full")
    retry(run, task_id)
    run.running(plan_id, task_id)
    told = story(run, plan_id)
    assert (told["root"], told["state"]) == (None, "in_progress")
    assert told["verdict"].startswith(
        "Nothing is failed now; 1 task was tried again after a failure; parts-check runs since"
    )


def test_a_sub_task_that_was_mended_too_late(run):
    """Its first failure brought its parent down; that it went well later changes nothing."""
    plan_id, task_id, (sub,) = fan_out(run, 1)
    fails(run, plan_id, sub, "disk full", source="stock-worker")
    fails(run, plan_id, task_id, "no count")
    retry(run, sub)
    run.result(plan_id, sub, "stock.count.completed")
    assert first(story(run, plan_id)) == ("failed", "stock-count", "stock-worker", 1, "disk full")


def test_a_failed_sub_task_whose_parent_completed_does_not_count(run):
    plan_id, task_id, (sub,) = fan_out(run, 1)
    fails(run, plan_id, sub, "disk full", source="stock-worker")
    run.result(plan_id, task_id)
    told = story(run, plan_id)
    assert (told["state"], told["root"]) == ("completed", None)
    assert [one["excused"] for one in told["mended"]["items"]] == [True]


# --- refused, healthy ---


def test_a_refused_message_is_told_and_is_not_the_failure(run):
    plan_id, (task_id, _) = run.plan(2)
    fails(run, plan_id, task_id, "no stock")
    assert run.result(plan_id, task_id).result == "refused"
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "no stock")
    assert [(one["type"], one["reason"]) for one in told["refused"]["items"]] == [
        ("parts.check.completed", "a failed task cannot become completed")
    ]


def test_a_refused_message_while_all_is_well(run):
    plan_id, (task_id,) = run.plan()
    assert run.running(plan_id, task_id, state="odd").result == "refused"
    told = story(run, plan_id)
    assert (told["root"], told["refused"]["count"]) == (None, 1)
    assert "1 message was refused" in told["verdict"]


def test_a_healthy_plan_that_runs(run):
    plan_id, tasks = run.plan(3)
    for task_id in tasks:
        run.running(plan_id, task_id)
    told = story(run, plan_id)
    since = min(task_of(run, task_id).started_at for task_id in tasks)
    assert told["verdict"] == f"Nothing has failed; 3 tasks run, the longest since {since:%Y-%m-%d %H:%M:%S} UTC."


def test_a_plan_that_went_well(run):
    plan_id, tasks = run.plan(2)
    for task_id in tasks:
        run.result(plan_id, task_id)
    told = story(run, plan_id)
    assert told["verdict"].startswith("Nothing went wrong: the plan completed at ")
    assert (told["root"], told["waits"]["count"], told["options"]) == (None, 0, [])


def test_a_plan_that_has_nothing_yet(run):
    plan_id = unique("plan")
    run.context(plan_id, status="running")
    assert story(run, plan_id)["verdict"] == (
        "Nothing has failed; the plan waits for its planner, which has not said how it goes on."
    )


def test_contexts_that_name_each_other_make_no_circle(run):
    plan_id, (one, other) = run.plan(2)
    run.delegate(plan_id, one, [other])
    run.delegate(plan_id, other, [one])
    fails(run, plan_id, one, "a")
    fails(run, plan_id, other, "b")
    assert story(run, plan_id)["root"]["error"] in {"a", "b"}


# --- what can be done ---


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (True, "its request is handed over again, as attempt 2; the plan was ended by somebody and stays failed"),
        (False, "its request is handed over again, as attempt 2; the plan, which had closed on its own, is open again"),
    ],
)
def test_a_retry_and_what_it_means_for_the_plan(run, ends, why):
    plan_id, (task_id,) = run.plan()
    fails(run, plan_id, task_id, "no stock")
    if ends:
        run.say("system-events", "plan.failed", {"error": "no stock"}, plan_id=plan_id)
    [option] = story(run, plan_id)["options"]
    assert (option["do"], option["legal"], option["why"]) == ("retry", True, why)
    retry(run, task_id)
    assert plan_of(run, plan_id).state == ("failed" if ends else "in_progress")


def test_what_cannot_be_done_says_why(run):
    plan_id, (task_id, _) = run.plan(2)
    run.record(moved_by(run, task_id, by="user:bob", reason="", to="cancelled"))
    run.say("system-events", "plan.failed", {"error": "one is missing"}, plan_id=plan_id)
    option = story(run, plan_id)["options"][0]
    assert (option["do"], option["legal"], option["call"]) == ("retry", False, None)
    assert option["why"] == "only a task that is failed or running and stalled can be retried; this one is cancelled"
