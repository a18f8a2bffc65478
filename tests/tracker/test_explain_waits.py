"""What went wrong when nobody failed: hanging workers, people, planners and other plans."""

import pytest

from tests.tracker.explaining import Mark, at, cancel, fails, fan_out, first, followed, moved_by, retry, story, waiting
from tests.tracker.runs import unique
from tracker.changes import PlanMove

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
    run.record(moved_by(run, task_id, by="system", reason="nobody decided in time", error="nobody decided in time"))
    told = story(run, plan_id)
    assert first(told) == ("failed", "approval", None, 1, "nobody decided in time")
    assert told["verdict"] == "approval failed: nobody decided in time."


def test_cancelled_by_a_user(run):
    plan_id, tasks = run.plan(3)
    run.result(plan_id, tasks[0])
    run.record(cancel(run, plan_id, "not needed"))
    told = story(run, plan_id)
    assert (first(told), told["root"]["by"]) == (("cancelled", None, None, None, None), "user:alice")
    assert followed(told) == {("cancelled", "parts-check"): 2}
    assert told["verdict"] == "alice cancelled the plan: not needed; 2 tasks were cancelled because of it."


def test_cancelled_by_a_user_because_a_task_had_failed(run):
    plan_id, tasks = run.plan(2)
    fails(run, plan_id, tasks[0], "no stock")
    run.record(cancel(run, plan_id, "no use"))
    told = story(run, plan_id)
    assert first(told) == ("failed", "parts-check", "parts-worker", 1, "no stock")
    assert followed(told) == {("cancelled", "parts-check"): 1}


def test_a_task_that_a_person_cancelled_brought_its_parent_down(run):
    plan_id, task_id, (sub, _) = fan_out(run, 2)
    run.record(moved_by(run, sub, by="user:bob", reason="too dear", to="cancelled"))
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
