"""The story over HTTP: its forms, its bounds, what it costs, and who may see it."""

import json
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.tracker.queries.asking import INVALID, NOT_FOUND, Api
from tests.tracker.runs import unique
from tracker.explain import explain
from tracker.models import LogRow, Plan, Task
from tracker.projections.evidence import evidence_of


def failing(run, tasks=1, goal="maintenance.goal", **said):
    """A plan of this goal whose last task failed."""
    plan_id = unique("plan")
    run.file_plan(plan_id, goal=goal)
    run.plan(tasks, plan_id)
    for number in range(tasks - 1):
        run.result(plan_id, f"{plan_id}-task-{number}")
    run.result(plan_id, f"{plan_id}-task-{tasks - 1}", **({"status": "failed", "error": "no stock"} | said))
    return plan_id


def completed(run, tasks, goal="maintenance.goal"):
    plan_id = unique("plan")
    run.file_plan(plan_id, goal=goal)
    run.plan(tasks, plan_id)
    for number in range(tasks):
        run.result(plan_id, f"{plan_id}-task-{number}")
    return plan_id


def test_as_json(run, api):
    plan_id = failing(run, 2)
    told = api.ok(f"/plans/{plan_id}/explain")
    assert (told["plan_id"], told["state"], told["root"]["error"]) == (plan_id, "failed", "no stock")
    assert told["root"]["payload"]["data"] == {
        "task_id": f"{plan_id}-task-1", "status": "failed", "error": "no stock",
    }  # fmt: skip


@pytest.mark.parametrize("asked", [{"format": "markdown"}, {"Accept": "text/markdown"}])
def test_as_markdown(run, api, asked):
    plan_id = failing(run, 2)
    query = {name: value for name, value in asked.items() if name == "format"}
    response = api.client.get(f"/v1/tracker/plans/{plan_id}/explain", query, headers=api.headers | asked)
    assert response["Content-Type"] == "text/markdown; charset=utf-8"
    text = response.content.decode()
    assert text.startswith("## maintenance.goal: failed\n\nparts-check-2 failed at parts-worker: no stock.\n")
    assert "- retry task parts-check-2: its request is handed over again, as attempt 2" in text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html", "application/json, text/markdown"])
def test_json_unless_markdown_is_asked_for(run, api, accept):
    plan_id = failing(run)
    response = api.client.get(f"/v1/tracker/plans/{plan_id}/explain", headers=api.headers | {"Accept": accept})
    assert response["Content-Type"] == "application/json"


def test_markdown_of_others_words_stays_their_words(run, api):
    evil = "# <script>alert(1)</script> | [x](javascript:alert(1)) ``` ~~~"
    plan_id = failing(run, error=evil, note="``````")
    text = api.get(f"/plans/{plan_id}/explain", format="markdown").content.decode()
    fence = next(line for line in text.splitlines() if line.startswith("```"))
    assert text.count(f"\n{fence}\n") >= 2
    verdict = text.split("\n\n")[1]
    assert "<script>" not in verdict.replace("\\<", "")
    assert "\\[x\\]" in verdict


def test_a_format_that_there_is_not(run, api):
    plan_id = failing(run)
    for path in ("explain", "export"):
        assert api.problem(f"/plans/{plan_id}/{path}", format="xml") == INVALID


@pytest.mark.parametrize("path", ["explain", "export"])
def test_foreign_and_unknown_plans_are_the_same(run, workspace, api, path):
    plan_id = failing(run)
    for other in (Api(workspace, "umbrella", "bob"), Api(run.workspace, "umbrella", "bob")):
        assert other.problem(f"/plans/{plan_id}/{path}") == NOT_FOUND
    assert api.problem(f"/plans/nothing/{path}") == NOT_FOUND
    assert api.problem(f"/plans/{plan_id}/{path}", tenant="umbrella") == NOT_FOUND
    assert api.get(f"/plans/{plan_id}/{path}").status_code == 200


def test_ids_with_slashes(run, api):
    plan_id = f"{unique('a')}/b c/explain"
    run.plan(1, plan_id)
    assert api.ok(f"/plans/{plan_id}/explain")["plan_id"] == plan_id
    assert api.ok(f"/plans/{plan_id}/export")["plan"]["plan_id"] == plan_id


def test_what_is_large_is_cut(run, api):
    plan_id = failing(run, error="e" * 9000, log="l" * 100_000)
    response = api.get(f"/plans/{plan_id}/explain")
    root = response.json()["root"]
    assert (len(root["error"]), root["payload"]["data"], len(root["payload"]["beginning"])) == (4000, None, 4000)
    assert root["payload"]["size"] > 100_000
    assert len(response.content) < 20_000


# --- beside the last success ---


def test_the_last_plan_of_the_goal_that_completed(run, api):
    completed(run, 3)
    twin = completed(run, 3)
    completed(run, 3, goal="other.goal")
    plan_id = failing(run, 2)
    told = api.ok(f"/plans/{plan_id}/explain")["last_success"]
    assert (told["plan_id"], told["same"]) == (twin, 1)
    assert told["divergence"] == {
        "place": 2,
        "kind": "state",
        "ours": {"task": "parts-check-2", "state": "failed", "agent": "parts-worker"},
        "theirs": {"task": "parts-check-2", "state": "completed", "agent": "parts-worker"},
    }
    assert [pair["place"] for pair in told["pairs"]] == [1, 2, 3]
    assert told["pairs"][2]["ours"] is None


def test_no_plan_of_the_goal_has_completed(run, api):
    completed(run, 1, goal="other.goal")
    assert api.ok(f"/plans/{failing(run)}/explain")["last_success"] is None


def test_a_plan_is_not_beside_itself_nor_beside_another_tenants(run, workspace, api):
    plan_id = completed(run, 1)
    assert api.ok(f"/plans/{plan_id}/explain")["last_success"] is None


# --- what it costs ---


def large(run, tasks):
    """A plan whose first task delegated to the others; every tenth of them failed, and some are still open."""
    plan_id = unique("plan")
    run.file_plan(plan_id)
    run.request(plan_id, f"{plan_id}-parent")
    plan = Plan.objects.get(plan_id=plan_id, workspace=run.workspace)
    parent = plan.tasks.get()
    states = ["completed"] * 7 + ["failed", "pending", "running"]
    now = plan.updated_at
    common = {"workspace": run.workspace, "tenant_id": run.tenant, "plan": plan}
    Task.objects.bulk_create(
        Task(
            **common, task_id=f"{plan_id}-{n}", name=f"sub-{n}", label="sub", ordinal=n + 1, event_type="sub.requested",
            state=states[n % 10], version=3, agent="worker", parent=parent, position=n + 2, error="no stock",
            created_at=now, started_at=now, ended_at=now if n % 10 < 8 else None, updated_at=now,
        )
        for n in range(tasks)
    )  # fmt: skip
    keys = list(plan.tasks.exclude(pk=parent.pk).order_by("position").values_list("pk", "state"))
    seq = plan.seq
    rows = []
    for key, state in keys:
        for version, (was, to) in enumerate(((None, "pending"), ("pending", "running"), ("running", state)), 1):
            seq += 1
            rows.append(
                LogRow(
                    **common, seq=seq, kind="transition", type="task.state_changed", task_id=key, from_state=was,
                    to_state=to, version=version, by="agent:worker", occurred_at=now, recorded_at=now,
                )
            )  # fmt: skip
    LogRow.objects.bulk_create(rows, batch_size=2000)
    Plan.objects.filter(pk=plan.pk).update(seq=seq, task_count=tasks + 1)
    return plan_id


def queries(api, path):
    with CaptureQueriesContext(
        connection,
    ) as counted:
        assert api.get(path).status_code == 200
    return len(counted)


def test_the_number_of_queries_does_not_depend_on_the_plan(run, api):
    small, big = large(run, 10), large(run, 400)
    assert queries(api, "/plans")  # the key is looked up once
    counts = {queries(api, f"/plans/{plan_id}/explain") for plan_id in (small, big)}
    assert len(counts) == 1
    assert counts.pop() <= 25


def test_ten_thousand_tasks(run, capsys):
    plan = Plan.objects.get(plan_id=large(run, 10_000))
    started = time.perf_counter()
    told = explain(evidence_of(plan))
    took = time.perf_counter() - started
    with capsys.disabled():
        print(f"\n10,000 tasks explained in {took:.2f} s")  # noqa: T201 - for the reader of the run
    assert (told["others"]["count"], len(told["others"]["items"])) == (999, 10)
    assert told["waits"]["count"] == 2001
    assert len(json.dumps({**told, "root": None})) < 30_000
