"""What went wrong: the first failure in the order of causes, in plans that were built to go wrong in one way each."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.planner.declared import END, Author, ask, on
from tests.tracker.factories import plan_of, task_of
from tests.tracker.runs import unique
from tracker.changes import Change, Outcome, PlanMove, TaskMove
from tracker.explain import explain
from tracker.known import scope_of
from tracker.ledger import register_change
from tracker.projections.evidence import evidence_of

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Mark(Change):
    """Marks a task as stalled, or takes the mark back, as whoever watches over agents does."""

    task_id: str
    stalled: bool = True
    reason: str = "the connection of its agent was lost"


def _mark(world, change):
    task = world.task(scope_of(change), change.task_id)
    kind = "task.stalled" if change.stalled else "task.alive"
    world.note(world.plans[task.plan_id], task, by="system", type=kind, reason=change.reason, stalled=change.stalled)
    return Outcome("recorded")


register_change(Mark, _mark)


def story(run, plan_id):
    return explain(evidence_of(plan_of(run, plan_id)))


def first(told):
    """The first bad transition in short: (kind, task, agent, attempt, error)."""
    root = told["root"]
    return root and tuple(root[name] for name in ("kind", "task", "agent", "attempt", "error"))


def followed(told):
    """What came of it: {(what, name): count}."""
    return {(one["what"], one["name"]): one["count"] for one in told["consequences"]["items"]}


def waiting(told):
    """What waits now: {(kind, name): count}."""
    return {(one["kind"], one["name"]): one["count"] for one in told["waits"]["items"]}


def at(second):
    return START + timedelta(seconds=second)


def fails(run, plan_id, task_id, error="", source="parts-worker", **envelope):
    said = {"task_id": task_id, "status": "failed"} | ({"error": error} if error else {})
    envelope = {"correlation_id": task_id, "plan_id": plan_id} | envelope
    return run.say("action-results", "parts.check.failed", said, source=source, **envelope)


def fan_out(run, subs=4):
    """A plan whose first task delegates to sub-tasks; gives the plan's id, the task's and theirs."""
    plan_id, (task_id,) = run.plan()
    names = [f"{plan_id}-sub-{number}" for number in range(subs)]
    run.delegate(plan_id, task_id, names, group=unique("group"))
    return plan_id, task_id, names


def retry(run, task_id):
    assert run.move(task_id, "pending", reason="again").result == "recorded"


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
    run.record(_by(run, late, **timed_out))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check-2", "slow-worker", 1, "timeout after 30 s")
    assert (told["root"]["by"], told["root"]["reason"]) == ("system", "no answer within 30 s")


def _by(run, task_id, *, by, reason, error="", to="failed"):
    return TaskMove(
        workspace_id=run.workspace.pk, tenant_id=run.tenant, by=by, task_id=task_id, to=to, reason=reason, error=error
    )


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


# --- hanging ---


def test_a_stalled_worker(run):
    plan_id, _, (sub, _) = fan_out(run, 2)
    run.running(plan_id, sub, source="stock-worker")
    run.record(run.change(Mark, task_id=sub))
    told = story(run, plan_id)
    assert first(told) == ("stalled", "stock-count", "stock-worker", 1, None)
    assert followed(told) == {("waits", "parts-check"): 1}
    assert waiting(told)["stalled", "stock-count"] == 1
    assert told["verdict"].startswith("stock-count is stalled at stock-worker since ")
    assert "the connection of its agent was lost; 1 task waits because of it" in told["verdict"]
    retries = [one for one in told["options"] if one["do"] == "retry"]
    assert [(one["id"], one["legal"], one["call"]) for one in retries] == [
        (sub, True, f"POST /v1/tracker/tasks/{sub}/retry")
    ]


def test_a_stall_that_is_over(run):
    plan_id, (task_id,) = run.plan()
    run.running(plan_id, task_id)
    run.record(run.change(Mark, task_id=task_id))
    run.record(run.change(Mark, task_id=task_id, stalled=False, reason="it was heard of"))
    told = story(run, plan_id)
    assert (told["root"], waiting(told)) == (None, {("running", "parts-check"): 1})


def test_a_parent_that_failed_because_its_sub_task_hung(run):
    plan_id, task_id, (sub,) = fan_out(run, 1)
    run.running(plan_id, sub, source="stock-worker")
    run.record(run.change(Mark, task_id=sub))
    fails(run, plan_id, task_id, "no answer in time")
    told = story(run, plan_id)
    assert first(told) == ("stalled", "stock-count", "stock-worker", 1, None)
    assert followed(told)["failed", "parts-check"] == 1


def test_an_attempt_that_was_lost_and_the_next_failed(run):
    plan_id, (task_id,) = run.plan()
    run.running(plan_id, task_id, source="gone-worker")
    run.record(run.change(Mark, task_id=task_id))
    retry(run, task_id)
    fails(run, plan_id, task_id, "half done already", source="parts-worker")
    told = story(run, plan_id)
    assert (told["root"]["kind"], told["root"]["attempt"]) == ("stalled", 1)
    assert [(one["attempt"], one["kind"]) for one in told["root"]["attempts"]] == [(1, "stalled"), (2, "failed")]


def test_nobody_listens(run):
    plan_id, _ = run.plan(3)
    told = story(run, plan_id)
    assert (told["root"], waiting(told)) == (None, {("nobody_listens", "parts-check"): 3})
    assert (
        "3 times parts-check wait for an agent: no registered agent consumes parts.check.requested" in told["verdict"]
    )
    assert [one["do"] for one in told["options"]] == ["connect", "pause", "cancel"]


@pytest.mark.parametrize(("gone", "kind"), [(False, "queued"), (True, "agent_away")])
def test_whoever_listens_is_busy_or_away(run, gone, kind):
    agent = run.agent(consumed_events='["parts.check.requested"]')
    if gone:
        agent.signed_off_at = agent.heartbeat_at
        agent.save()
    plan_id, _ = run.plan()
    told = story(run, plan_id)
    assert waiting(told) == {(kind, "parts-check"): 1}
    assert told["waits"]["items"][0]["on"].startswith("parts-worker, which consumes parts.check.requested")


# --- people and planners ---


def test_an_approval_that_expired(run):
    plan_id, (task_id,) = run.plan(1, type="approval.requested", data={"title": "Buy", "assignees": ["bob", "carol"]})
    run.move(task_id, "awaiting_approval")
    told = story(run, plan_id)
    assert (told["root"], told["waits"]["items"][0]["on"]) == (None, "the decision of bob or carol")
    assert (told["options"][0]["do"], told["options"][0]["id"]) == ("decide", task_id)
    run.record(_by(run, task_id, by="system", reason="nobody decided in time", error="nobody decided in time"))
    told = story(run, plan_id)
    assert first(told) == ("failed", "approval", None, 1, "nobody decided in time")
    assert told["verdict"] == "approval failed: nobody decided in time."


def test_cancelled_by_a_user(run):
    plan_id, tasks = run.plan(3)
    run.result(plan_id, tasks[0])
    run.record(_cancel(run, plan_id, "not needed"))
    told = story(run, plan_id)
    assert (first(told), told["root"]["by"]) == (("cancelled", None, None, None, None), "user:alice")
    assert followed(told) == {("cancelled", "parts-check"): 2}
    assert told["verdict"] == "alice cancelled the plan: not needed; 2 tasks were cancelled because of it."


def _cancel(run, plan_id, reason):
    return PlanMove(
        workspace_id=run.workspace.pk, tenant_id=run.tenant, by="user:alice", plan_id=plan_id, to="cancelled",
        reason=reason,
    )  # fmt: skip


def test_cancelled_by_a_user_because_a_task_had_failed(run):
    plan_id, tasks = run.plan(2)
    fails(run, plan_id, tasks[0], "no stock")
    run.record(_cancel(run, plan_id, "no use"))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "no stock")
    assert followed(told) == {("cancelled", "parts-check"): 1}


def test_a_task_that_a_person_cancelled_brought_its_parent_down(run):
    plan_id, task_id, (sub, _) = fan_out(run, 2)
    run.record(_by(run, sub, by="user:bob", reason="too dear", to="cancelled"))
    fails(run, plan_id, task_id, "one count is missing")
    told = story(run, plan_id)
    assert (told["root"]["kind"], told["root"]["task"], told["root"]["by"]) == ("cancelled", "stock-count", "user:bob")
    assert told["verdict"].startswith("bob cancelled stock-count: too dear; ")


def test_a_context_that_says_failed_while_all_tasks_completed(run):
    plan_id = unique("plan")
    run.context(plan_id, status="running")
    run.request(plan_id, f"{plan_id}-a")
    run.request(plan_id, f"{plan_id}-b")
    run.result(plan_id, f"{plan_id}-a")
    run.result(plan_id, f"{plan_id}-b")
    run.context(plan_id, status="failed")
    told = story(run, plan_id)
    assert first(told)[:2] == ("failed", None)
    assert told["root"]["reason"] == "its stored context says so"
    assert told["verdict"] == (
        "test said that the plan failed, although both of its tasks completed: its stored context says so."
    )


def test_a_planner_that_failed(run):
    plan_id, tasks = run.plan(2)
    run.result(plan_id, tasks[0])
    run.say("system-events", "plan.failed", {"error": "out of memory"}, source="fleet-planner", plan_id=plan_id)
    told = story(run, plan_id)
    assert first(told) == ("failed", None, "fleet-planner", None, "out of memory")
    assert followed(told) == {("left_open", "parts-check"): 1}
    assert told["root"]["payload"]["type"] == "plan.failed"


def test_a_task_that_failed_after_the_planner_gave_up_is_not_the_first(run):
    plan_id, (task_id,) = run.plan()
    run.say("system-events", "plan.failed", {"error": "out of memory"}, source="fleet", plan_id=plan_id, time=at(10))
    fails(run, plan_id, task_id, "nobody wants it", time=at(20))
    told = story(run, plan_id)
    assert first(told) == ("failed", None, "fleet", None, "out of memory")
    assert told["others"]["count"] == 1


def test_a_failed_sub_plan_that_carries_a_task_out(run):
    plan_id, inner = unique("outer"), unique("inner")
    run.request(plan_id, f"{plan_id}-t", "repair.goal", response_event="", correlation_id=inner)
    run.file_plan(inner, goal="repair.goal")
    run.request(inner, f"{inner}-t", "weld.requested")
    fails(run, inner, f"{inner}-t", "torch broken", source="welder")
    told = story(run, plan_id)
    assert first(told) == ("failed", "weld", "welder", 1, "torch broken")
    assert (told["root"]["plan_id"], told["root"]["task_id"]) == (inner, f"{inner}-t")
    assert followed(told) == {("failed", "repair-goal"): 1}
    assert story(run, inner)["above"] == {
        "plan_id": plan_id, "state": "failed", "task_id": f"{plan_id}-t", "task": "repair-goal",
    }  # fmt: skip


def test_a_failed_sub_plan_that_the_planner_reports(run):
    plan_id, inner = unique("outer"), unique("inner")
    run.context(plan_id, status="running")
    run.file_plan(inner, goal="repair.goal", parent_plan_id=plan_id)
    run.request(inner, f"{inner}-t", "weld.requested")
    fails(run, inner, f"{inner}-t", "torch broken", source="welder")
    run.context(plan_id, status="failed")
    told = story(run, plan_id)
    assert first(told) == ("failed", "weld", "welder", 1, "torch broken")
    assert told["verdict"].startswith(f"weld of plan {inner} failed at welder: torch broken")


def test_a_plan_that_an_operator_holds(run):
    plan_id, _ = run.plan(2)
    run.record(
        PlanMove(workspace_id=run.workspace.pk, tenant_id=run.tenant, by="user:bob", plan_id=plan_id, to="paused")
    )
    told = story(run, plan_id)
    assert (told["root"], waiting(told)) == (None, {("held", ""): 1, ("held", "parts-check"): 2})
    assert "the plan waits for bob, who paused the plan since" in told["verdict"]
    assert [(one["do"], one["legal"]) for one in told["options"]] == [
        ("resume", True), ("pause", False), ("cancel", True)
    ]  # fmt: skip


def test_a_plan_that_waits_for_an_event(run):
    plan_id, (task_id,) = run.plan()
    run.result(plan_id, task_id)
    run.file_plan(plan_id)
    other = unique("plan")
    run.context(other, status="running")
    run.say("system-events", "plan.waiting_for_input", {"expected_event": "parts.arrived"}, plan_id=other)
    told = story(run, other)
    assert (told["root"], told["waits"]["items"][0]["on"]) == (None, "parts.arrived")
    assert ("answer", "parts.arrived") in [(one["do"], one["id"]) for one in told["options"]]


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
    run.record(_by(run, task_id, by="user:bob", reason="", to="cancelled"))
    run.say("system-events", "plan.failed", {"error": "one is missing"}, plan_id=plan_id)
    option = story(run, plan_id)["options"][0]
    assert (option["do"], option["legal"], option["call"]) == ("retry", False, None)
    assert option["why"] == "only a task that is failed or running and stalled can be retried; this one is cancelled"
