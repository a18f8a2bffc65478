"""What the ledger makes of messages: one row each, its task, and nothing that the state table refuses."""

import pytest

from tests.tracker.factories import (
    assert_log_tells_all,
    counts_of,
    everything,
    log,
    moves,
    picture,
    plan_of,
    states,
    task_of,
    told,
)
from tests.tracker.runs import Run, unique
from tracker.changes import PlanMove
from tracker.models import LogRow, Plan, Task


def tool_result(run, correlation_id, type="parts.check.completed", source="parts-worker", **data):
    """A result as tools and raw workers send it: no plan, no task, only the request's correlation."""
    return run.say(
        "action-results", type, {"status": "completed", **data}, source=source, correlation_id=correlation_id
    )


# --- one message, one row ---


def test_a_request_and_its_result(run):
    plan_id, [task_id] = run.plan()
    assert picture(run, plan_id) == {"plan": "in_progress", "counts": (1, 0, 0, 0), "tasks": {"parts-check": "pending"}}
    outcome = run.result(plan_id, task_id)
    assert (outcome.result, outcome.plan_id, outcome.task_id) == ("recorded", plan_id, task_id)
    assert picture(run, plan_id) == {"plan": "completed", "counts": (1, 1, 0, 0), "tasks": {"parts-check": "completed"}}
    assert moves(run, task_id) == ["pending", "(running)", "completed"]
    task = task_of(run, task_id)
    assert (task.agent, task.version, task.attempt) == ("parts-worker", 3, 1)


def test_the_outcome_names_the_messages_own_row(run):
    plan_id = unique("plan")
    outcome = run.request(plan_id, "t")
    row = plan_of(run, plan_id).log.get(kind="message")
    assert (outcome.seq, outcome.event_id) == (row.seq, row.event_id)


def test_the_same_event_three_times(run):
    plan_id, message = unique("plan"), None
    message = run.request_message(plan_id, "t", id="once")
    first = run.record(message)[0]
    before = everything(run.workspace)
    again = [run.record(message)[0], *run.record(message, message)]
    assert {(o.result, o.event_id, o.plan_id, o.task_id, o.seq) for o in again} == {
        ("duplicate", "once", first.plan_id, first.task_id, first.seq)
    }
    assert everything(run.workspace) == before


def test_the_same_event_three_times_in_one_batch(run):
    plan_id = unique("plan")
    message = run.request_message(plan_id, "t", id="once")
    outcomes = run.record(message, message, message)
    assert [o.result for o in outcomes] == ["recorded", "duplicate", "duplicate"]
    assert {o.seq for o in outcomes} == {outcomes[0].seq}
    assert plan_of(run, plan_id).log.filter(kind="message").count() == 1


def test_an_event_id_is_its_sources_own(run):
    plan_id = unique("plan")
    outcomes = [run.request(plan_id, task, id="same", source=source) for task, source in (("t1", "a"), ("t2", "b"))]
    assert [o.result for o in outcomes] == ["recorded", "recorded"]
    assert plan_of(run, plan_id).task_count == 2


def test_an_event_id_is_its_tenants_own(run):
    other, plan_id = Run(run.workspace, tenant="globex"), unique("plan")
    assert [r.request(plan_id, "t", id="same").result for r in (run, other)] == ["recorded", "recorded"]
    assert [plan_of(r, plan_id).task_count for r in (run, other)] == [1, 1]


def test_requests_of_equal_event_ids_and_no_task_ids_are_two_tasks(run):
    plan_id = unique("plan")
    for source in ("a", "b"):
        outcome = run.say("action-requests", "x.requested", source=source, id="same", plan_id=plan_id)
        assert outcome.result == "recorded"
    assert states(run, plan_id) == {"x": "pending", "x-2": "pending"}


def test_duplicates_are_told_where_an_early_message_went(run):
    plan_id = unique("plan")
    message = run.message("action-requests", "x.requested", {}, id="early", correlation_id=plan_id)
    assert run.record(message)[0].seq is None
    run.file_plan(plan_id, goal="other.goal")
    again = run.record(message)[0]
    assert (again.result, again.plan_id, again.task_id) == ("duplicate", plan_id, "early")
    assert plan_of(run, plan_id).log.get(seq=again.seq).event_id == "early"


@pytest.mark.parametrize("topic", ["business-facts", "billing-events", "notification-events", "plan-events"])
def test_other_topics_are_written_down(run, topic):
    plan_id, [task_id] = run.plan()
    outcome = run.say(topic, "anything.happened", {"task_id": task_id}, plan_id=plan_id, correlation_id="z")
    assert (outcome.result, outcome.task_id) == ("recorded", task_id)
    assert picture(run, plan_id)["counts"] == (1, 0, 0, 0)


def test_what_belongs_nowhere_waits_without_a_place(run):
    outcome = run.say("business-facts", "weather.changed", {"sun": True})
    assert (outcome.result, outcome.plan_id, outcome.seq) == ("recorded", "", None)
    assert LogRow.objects.get(event_id=outcome.event_id).plan is None


# --- refusals ---


@pytest.mark.parametrize("to", ["completed", "failed", "delegated", "pending", "unknown", ""])
def test_a_refused_move_leaves_nothing_behind(run, to):
    _, [task_id] = run.plan()
    before = everything(run.workspace)
    assert run.move(task_id, to).result == "refused"
    assert run.move(task_id, "running", expected_version=7).detail == "version-conflict"
    assert run.move("nobody", "running").result == "unknown"
    assert everything(run.workspace) == before


def test_a_refused_move_of_a_plan_leaves_nothing_behind(run):
    plan_id, [task_id] = run.plan()
    run.result(plan_id, task_id)
    before = everything(run.workspace)
    for to in ("in_progress", "paused", "completed", "cancelled", "odd"):
        assert run.record(run.change(PlanMove, plan_id=plan_id, to=to))[0].result == "refused"
    assert run.record(run.change(PlanMove, plan_id="nobody", to="paused"))[0].result == "unknown"
    assert everything(run.workspace) == before


def test_a_refused_message_is_kept_and_changes_nothing(run):
    plan_id, [task_id] = run.plan()
    run.result(plan_id, task_id)
    before = picture(run, plan_id)
    outcome = run.result(plan_id, task_id, status="failed", error="too late")
    assert (outcome.result, outcome.detail) == ("refused", "a completed task cannot become failed")
    row = plan_of(run, plan_id).log.get(event_id=outcome.event_id)
    assert (row.kind, row.refused, row.reason, row.task.task_id) == ("message", True, outcome.detail, task_id)
    assert picture(run, plan_id) == before


def test_a_contradiction_does_not_hit_another_task_of_the_same_correlation(run):
    plan_id = unique("plan")
    for task_id in ("t1", "t2"):
        run.request(plan_id, f"{plan_id}-{task_id}", correlation_id=plan_id)
    said = {"task_id": f"{plan_id}-t1", "status": "completed"}
    run.say("action-results", "parts.check.completed", said, correlation_id=plan_id, plan_id=plan_id)
    late = run.say(
        "action-results", "parts.check.completed", said | {"status": "failed"}, correlation_id=plan_id, plan_id=plan_id
    )
    assert late.result == "refused"
    assert states(run, plan_id) == {"parts-check": "completed", "parts-check-2": "pending"}


def test_one_bad_message_does_not_sink_its_batch(run):
    plan_id, [task_id] = run.plan()
    bad = [
        run.message("system-events", "task.state_changed", {"task_id": task_id, "new_state": state}, plan_id=plan_id)
        for state in ("\x00", "half \ud800", "x" * 100_000, None, ["list"], {"a": 1}, 10**30, "pending", "delegated ")
    ]
    good = run.request_message(plan_id, unique("task"))
    outcomes = run.record(*bad, good)
    assert [o.result for o in outcomes] == [*["refused"] * 7, "recorded", "refused", "recorded"]
    assert states(run, plan_id) == {"parts-check": "pending", "parts-check-2": "pending"}


# --- steps that nobody reported ---


@pytest.mark.parametrize(
    ("state", "way"),
    [
        ("running", ["pending", "running"]),
        ("delegated", ["pending", "(running)", "delegated"]),
        ("in_review", ["pending", "(running)", "in_review"]),
        ("awaiting_approval", ["pending", "awaiting_approval"]),
        ("completed", ["pending", "(running)", "completed"]),
        ("failed", ["pending", "(running)", "failed"]),
        ("cancelled", ["pending", "cancelled"]),
    ],
)
def test_facts_about_tasks_walk_the_table(run, state, way):
    plan_id, [task_id] = run.plan()
    assert run.running(plan_id, task_id, state=state).result == "recorded"
    assert moves(run, task_id) == way
    assert run.running(plan_id, task_id, state=state).result == "recorded"
    assert moves(run, task_id) == way


def test_a_fact_never_walks_back(run):
    plan_id, [task_id] = run.plan()
    run.result(plan_id, task_id, status="failed")
    for state in ("running", "completed", "waiting", "cancelled"):
        assert run.running(plan_id, task_id, state=state).result == "refused"
    assert moves(run, task_id) == ["pending", "(running)", "failed"]


def test_a_retry_counts_an_attempt_and_opens_the_plan_again(run):
    plan_id, [task_id] = run.plan()
    run.result(plan_id, task_id, status="failed", error="no part")
    assert (plan_of(run, plan_id).state, task_of(run, task_id).error) == ("failed", "no part")
    assert run.move(task_id, "pending").result == "recorded"
    task = task_of(run, task_id)
    assert (task.state, task.attempt, task.error, task.ended_at, task.plan.state) == (
        "pending",
        2,
        "",
        None,
        "in_progress",
    )
    run.result(plan_id, task_id)
    assert picture(run, plan_id) == {"plan": "completed", "counts": (1, 1, 0, 0), "tasks": {"parts-check": "completed"}}


# --- early messages ---


def test_a_result_before_its_request(run):
    plan_id, task_id = unique("plan"), unique("task")
    early = run.result(plan_id, task_id, status="failed", error="why")
    assert (early.result, early.task_id, plan_of(run, plan_id).unmatched) == ("recorded", "", 1)
    run.request(plan_id, task_id)
    assert (moves(run, task_id), task_of(run, task_id).error) == (["pending", "(running)", "failed"], "why")
    assert (plan_of(run, plan_id).unmatched, plan_of(run, plan_id).state) == (0, "failed")
    assert log(run, plan_id)[1].task.task_id == task_id


def test_the_first_of_two_early_results_wins(run):
    plan_id, task_id = unique("plan"), unique("task")
    run.result(plan_id, task_id)
    run.result(plan_id, task_id, status="failed")
    run.request(plan_id, task_id)
    assert states(run, plan_id) == {"parts-check": "completed"}
    assert [row.refused for row in log(run, plan_id) if row.topic == "action-results"] == [False, True]


def test_early_facts_about_a_task(run):
    plan_id, task_id = unique("plan"), unique("task")
    run.running(plan_id, task_id)
    run.progress(plan_id, task_id, 0.5, "half")
    run.request(plan_id, task_id)
    task = task_of(run, task_id)
    assert (task.state, task.progress, task.message) == ("running", 0.5, "half")


def test_a_tools_result_finds_the_plan_by_its_requests_correlation(run):
    plan_id, correlation = unique("plan"), unique("correlation")
    run.say(
        "action-requests", "parts.check.requested", plan_id=plan_id, correlation_id=correlation,
        response_event="parts.check.completed",
    )  # fmt: skip
    assert tool_result(run, correlation).plan_id == plan_id
    assert states(run, plan_id) == {"parts-check": "completed"}


def test_a_tools_result_before_its_request(run):
    plan_id, correlation = unique("plan"), unique("correlation")
    assert tool_result(run, correlation, success=False, error="broken").plan_id == ""
    run.request(plan_id, unique("task"), correlation_id=correlation)
    assert picture(run, plan_id)["tasks"] == {"parts-check": "failed"}
    assert_log_tells_all(run.workspace)


def test_facts_that_name_a_task_alone_before_its_request(run):
    plan_id, task_id = unique("plan"), unique("task")
    for state in ("running", "in_review"):
        run.say("system-events", "task.state_changed", {"task_id": task_id, "new_state": state}, source="parts-worker")
    run.request(plan_id, task_id, correlation_id=unique("correlation"))
    assert moves(run, task_id) == ["pending", "running", "in_review"]


def test_requests_of_a_shared_correlation_do_not_take_each_other_in(run):
    """A request without a plan is nobody's because another plan's request had the same correlation."""
    plan_id, correlation = unique("plan"), unique("correlation")
    stray = run.say("action-requests", "other.requested", correlation_id=correlation)
    run.request(plan_id, unique("task"), correlation_id=correlation)
    late = run.say("action-requests", "other.requested", correlation_id=correlation)
    assert [stray.plan_id, late.plan_id] == ["", ""]
    assert states(run, plan_id) == {"parts-check": "pending"}


def test_a_result_of_a_correlation_in_two_plans_goes_to_the_open_task(run):
    plans, correlation = [unique("plan"), unique("plan")], unique("correlation")
    for plan_id in plans:
        run.request(plan_id, unique("task"), correlation_id=correlation)
    assert [tool_result(run, correlation).plan_id for _ in plans] == plans
    assert [plan_of(run, plan_id).state for plan_id in plans] == ["completed", "completed"]


def test_messages_that_wait_for_their_plan_come_in_the_order_they_came(run):
    plan_id = unique("plan")
    for task in ("a", "b"):
        run.say("action-requests", f"{task}.requested", correlation_id=plan_id, response_event=f"{task}.done")
    run.say("action-results", "b.done", {"success": True}, correlation_id=plan_id)
    run.say("business-facts", "seen", correlation_id=plan_id)
    run.file_plan(plan_id)
    assert states(run, plan_id) == {"a": "pending", "b": "completed"}
    types = [row.type for row in log(run, plan_id) if row.kind == "message"]
    assert types == ["a.requested", "b.requested", "b.done", "seen"]


def test_the_goal_that_came_before_its_plan_is_no_task(run):
    plan_id = unique("plan")
    run.say("action-requests", "maintenance.goal", {"vehicle": 7}, source="client", correlation_id=plan_id)
    run.file_plan(plan_id, data={"vehicle": 7})
    assert (plan_of(run, plan_id).state, plan_of(run, plan_id).task_count) == ("pending", 0)
    assert [row.type for row in log(run, plan_id) if row.kind == "message"] == ["maintenance.goal"]


def test_a_context_adopts_the_messages_of_its_correlations(run):
    plan_id, correlation = unique("plan"), unique("correlation")
    run.say("action-requests", "a.requested", correlation_id=correlation, response_event="a.done")
    run.context(plan_id, correlation_ids=[plan_id, correlation], status="running")
    assert run.say("action-results", "a.done", correlation_id=correlation).plan_id == plan_id
    assert picture(run, plan_id) == {"plan": "in_progress", "counts": (1, 1, 0, 0), "tasks": {"a": "completed"}}


# --- who is meant ---


def test_foreign_tenants_and_workspaces_with_equal_ids(run, db):
    from tests.accounts.factories import make_workspace

    others = [Run(run.workspace, tenant="globex"), Run(make_workspace())]
    for each in (run, *others):
        each.request("plan", "task", id="request")
        each.file_plan("plan")
    run.result("plan", "task")
    others[0].result("plan", "task", status="failed")
    assert [plan_of(each, "plan").state for each in (run, *others)] == ["completed", "failed", "in_progress"]
    assert others[1].say("action-results", "parts.check.completed", correlation_id="task").task_id == "task"
    for each in (run, *others):
        assert_log_tells_all(each.workspace)


def test_repeated_action_ids_in_two_plans(run):
    plans = [unique("plan"), unique("plan")]
    for plan_id in plans:
        for step in ("one", "two"):
            run.say("action-requests", f"{step}.requested", {"action_id": f"step-{step}"}, plan_id=plan_id)
    assert Task.objects.filter(workspace=run.workspace, task_id="step-one").count() == 1
    for plan_id, verdict in zip(plans, (True, False), strict=True):
        for step in ("one", "two"):
            said = {"action_id": f"step-{step}", "success": verdict}
            run.say("action-results", f"{step}.done", said, plan_id=plan_id)
    assert [states(run, plan_id) for plan_id in plans] == [
        {"one": "completed", "two": "completed"}, {"one": "failed", "two": "failed"},
    ]  # fmt: skip


def test_a_repeated_action_id_in_one_plan_asks_for_the_same_task(run):
    plan_id = unique("plan")
    for _ in range(2):
        outcome = run.say("action-requests", "a.requested", {"action_id": f"{plan_id}-a"}, plan_id=plan_id)
        assert (outcome.result, outcome.task_id) == ("recorded", f"{plan_id}-a")
    assert states(run, plan_id) == {"a": "pending"}


@pytest.mark.parametrize("with_action_ids", [True, False])
def test_a_choreography(run, with_action_ids):
    """All tasks of a plan have one correlation, their data.task_id too; request and result share a type."""
    plan_id, correlation = unique("plan"), unique("correlation")
    run.context(plan_id, correlation_id=correlation, correlation_ids=[plan_id, correlation], status="running")
    names = [f"{plan_id}-{n}" for n in range(3)]
    for name in names:
        data = {"task_id": correlation} | ({"action_id": name} if with_action_ids else {})
        run.say("action-requests", "work", data, plan_id=plan_id, correlation_id=correlation, response_event="work")
    for name, good in zip(names, (True, False, True), strict=True):
        data = {"task_id": correlation, "success": good} | ({"action_id": name} if with_action_ids else {})
        run.say("action-results", "work", data, source="worker", plan_id=plan_id, correlation_id=correlation)
    assert states(run, plan_id) == {"work": "completed", "work-2": "failed", "work-3": "completed"}


def test_names_are_numbered_and_never_taken_twice(run):
    plan_id = unique("plan")
    for name in ("a", "a-2", "a", "a", "a-2", "a-3"):
        run.say("action-requests", "x", {"task_name": name}, plan_id=plan_id)
    names = list(states(run, plan_id))
    assert len(set(names)) == 6
    assert names[:3] == ["a", "a-2", "a-3"]


def test_the_planner_is_who_asks_first(run):
    plan_id, _ = run.plan(source="fleet-planner")
    run.request(plan_id, unique("task"), source="another")
    assert plan_of(run, plan_id).planner == "fleet-planner"


# --- batches ---


def a_day(run, plans=10, tasks=20):
    """Some hundred messages of several plans, interleaved, with failures, early results and facts."""
    ids = [f"day-{n}" for n in range(plans)]
    changes = [
        run.message("system-events", "plan.started", {"plan_id": ids[0], "goal": "g", "total_actions": tasks + 1}),
        run.message("action-results", "parts.check.completed", {"task_id": "day-1-0"}, plan_id=ids[1]),
    ]
    for number in range(tasks):
        changes += [run.request_message(plan_id, f"{plan_id}-{number}") for plan_id in ids]
        for place, plan_id in enumerate(ids):
            good = {"success": (place + number) % 7 > 0, "task_id": f"{plan_id}-{number}"}
            more = {"plan_id": plan_id, "correlation_id": f"{plan_id}-{number}", "source": "worker"}
            changes.append(run.message("action-results", "parts.check.completed", good, **more))
    return ids, changes


def test_a_batch_of_hundreds_is_what_single_messages_are(run):
    other = Run(run.workspace, tenant="globex")
    ids, together = a_day(run)
    outcomes = [
        outcome for start in range(0, len(together), 500) for outcome in run.record(*together[start : start + 500])
    ]
    single = [other.record(change)[0] for change in a_day(other)[1]]
    assert [(o.result, o.plan_id, o.task_id) for o in outcomes] == [(o.result, o.plan_id, o.task_id) for o in single]
    for plan_id in ids:
        assert picture(run, plan_id) == picture(other, plan_id)
        assert counts_of(run, plan_id) == picture(run, plan_id)["counts"]
    assert Plan.objects.get(tenant_id="acme", plan_id=ids[0], workspace=run.workspace).state == "in_progress"


def test_every_accepted_message_is_in_the_log_once(run):
    ids, changes = a_day(run, plans=3, tasks=5)
    run.record(*changes, *changes)
    run.record(*reversed(changes))
    sent = sorted(change.envelope.id for change in changes)
    assert sorted(LogRow.objects.filter(kind="message").values_list("event_id", flat=True)) == sent
    assert [told(run, plan_id, kind="message", refused=True) for plan_id in ids[2:]] == [[]]


def test_a_tools_result_in_the_batch_of_its_request(run):
    plan_id, correlation = unique("plan"), unique("correlation")
    run.request(plan_id, unique("task"))
    asked = run.request_message(plan_id, unique("task"), correlation_id=correlation)
    said = run.message("action-results", "parts.check.completed", {"success": True}, correlation_id=correlation)
    assert [o.plan_id for o in run.record(asked, said)] == [plan_id, plan_id]
    assert states(run, plan_id) == {"parts-check": "pending", "parts-check-2": "completed"}
