"""A plan to take away: whole, and its log row for row, however long it is and whatever is written meanwhile."""

import json
import tracemalloc

import httpx
import pytest
from django.db import connection

from tests.accounts.factories import make_key
from tests.tracker.factories import plan_of
from tests.tracker.live_client import in_thread
from tests.tracker.runs import Run
from tracker.models import LogRow, Plan
from tracker.projections import export


@pytest.fixture
async def reader(workspace):
    """Headers of a key that reads the run's tenant, and the run."""
    run = Run(workspace)
    _, token = await in_thread(lambda: make_key(workspace, tenant_id=run.tenant, user_id=run.user, scopes=("read",)))
    return run, {"Authorization": f"Bearer {token}"}


def _worked(run, plan_id="the/plan 1", tasks=3):
    run.file_plan(plan_id, session_id="talk")
    run.plan(tasks, plan_id)
    run.delegate(plan_id, f"{plan_id}-task-0", [f"{plan_id}-sub"], group="g")
    run.result(plan_id, f"{plan_id}-task-1", status="failed", error="no stock")
    run.file_plan(f"{plan_id}-below", parent_plan_id=plan_id)
    return plan_id


async def test_the_whole_plan(http, reader):
    run, headers = reader
    plan_id = await in_thread(_worked, run)
    response = await http.get(f"/v1/tracker/plans/{plan_id}/export", headers=headers)
    whole = response.json()
    plan = await in_thread(plan_of, run, plan_id)
    assert (whole["seq"], whole["plan"]["plan_id"], whole["plan"]["session_id"]) == (plan.seq, plan_id, "talk")
    assert response.headers["Soorma-Plan-Seq"] == str(plan.seq)
    assert [task["name"] for task in whole["tasks"]] == ["parts-check", "parts-check-2", "parts-check-3", "stock-count"]
    assert whole["tasks"][1]["error"] == "no stock"
    assert whole["tasks"][3]["correlation_id"] == f"{plan_id}-sub"
    assert [state for state, _ in whole["tasks"][1]["spans"]] == ["pending", "running", "failed"]
    assert {link["kind"] for link in whole["links"]} == {"context", "subtask"}
    assert [sub["plan_id"] for sub in whole["sub_plans"]] == [f"{plan_id}-below"]


async def test_the_log_line_for_line(http, reader):
    run, headers = reader
    plan_id = await in_thread(_worked, run)
    response = await http.get(f"/v1/tracker/plans/{plan_id}/export", params={"format": "ndjson"}, headers=headers)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert response.headers["Content-Disposition"] == (
        "attachment; filename=\"plan-the-plan-1.ndjson\"; filename*=UTF-8''plan-the%2Fplan%201.ndjson"
    )
    rows = [json.loads(line) for line in response.text.splitlines()]
    log = await http.get(f"/v1/tracker/plans/{plan_id}/log?limit=1000", headers=headers)
    assert rows == log.json()["items"]
    assert [row["seq"] for row in rows] == list(range(1, int(response.headers["Soorma-Plan-Seq"]) + 1))


@pytest.mark.parametrize("plan_id", ["a/..b\\c", '"; x="', "日本", "." * 200])
async def test_any_id_is_a_file_name(http, reader, plan_id):
    run, headers = reader
    await in_thread(run.plan, 1, plan_id)
    quoted = httpx.URL("http://testserver/").copy_with(path=f"/v1/tracker/plans/{plan_id}/export")
    response = await http.get(quoted, headers=headers)
    named = response.headers["Content-Disposition"]
    assert "\r" not in named
    assert "/" not in named.split(";")[1]
    assert response.json()["plan"]["plan_id"] == plan_id


def long_log(run, rows, data="{}"):
    """A plan with so many rows in its log."""
    plan_id, _ = run.plan(1, "long")
    plan = Plan.objects.get(plan_id=plan_id)
    now = plan.updated_at
    for first in range(plan.seq + 1, rows + 1, 2000):
        LogRow.objects.bulk_create(
            LogRow(
                workspace=run.workspace, tenant_id=run.tenant, plan=plan, seq=seq, kind="message", type="thing.seen",
                event_id=f"e-{seq}", by="agent:a", topic="business-facts", occurred_at=now, recorded_at=now, data=data,
            )
            for seq in range(first, min(first + 2000, rows + 1))
        )  # fmt: skip
    Plan.objects.filter(pk=plan.pk).update(seq=rows)
    return Plan.objects.get(pk=plan.pk)


async def _lines(plan):
    """How many lines the export has, and the largest piece."""
    count = largest = 0
    async for piece in export.log_lines(plan):
        count += piece.count(b"\n")
        largest = max(largest, len(piece))
    return count, largest


async def test_a_long_log_is_never_held_whole(reader):
    run, _ = reader
    plan = await in_thread(long_log, run, 8_000)
    tracemalloc.start()
    count, largest = await _lines(plan)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, largest < 2 * export.PAGE_BYTES) == (8_000, True)
    assert peak < 8 * export.PAGE_BYTES
    await in_thread(_forget, plan)


async def test_large_rows_come_a_few_at_a_time(reader):
    run, _ = reader
    plan = await in_thread(long_log, run, 60, json.dumps({"text": "x" * 200_000}))
    count, largest = await _lines(plan)
    assert (count, largest < 2 * export.PAGE_BYTES) == (60, True)
    await in_thread(_forget, plan)


async def test_what_is_written_meanwhile_is_left_out(reader):
    run, _ = reader
    plan_id, tasks = await in_thread(run.plan, 3)
    plan = await in_thread(plan_of, run, plan_id)
    await in_thread(run.result, plan_id, tasks[0])
    assert (await _lines(plan))[0] == plan.seq


async def test_a_log_that_goes_away_is_not_passed_off_as_whole(reader):
    run, _ = reader
    plan = await in_thread(long_log, run, 1200)
    pieces = export.log_lines(plan)
    await anext(pieces)
    await in_thread(_forget, plan)
    with pytest.raises(export.CutShort, match=r"row \d+ of 1200"):
        await anext(pieces)


def _forget(plan):
    """These rows were not written by the ledger; nothing of them is left for the look at all logs."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tracker_logrow WHERE plan_id = %s", [plan.pk])
    Plan.objects.filter(pk=plan.pk).delete()
