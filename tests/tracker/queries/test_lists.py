"""Lists: newest first, page by page, filtered; what cannot be read is refused."""

from datetime import UTC, datetime

import pytest

from tests.tracker.queries.asking import INVALID
from tracker import schemas
from tracker.models import Plan, Task


def ids(page):
    return [one["plan_id"] for one in page["items"]]


def test_plans_newest_first_page_by_page(run, api):
    made = [run.plan(1)[0] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = api.ok("/plans", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += ids(page)
        assert len(page["items"]) <= 2
        cursor = page["next_cursor"]
        if cursor is None:
            break
        run.plan(1)  # what arrives at the top moves nothing below
    assert seen == made[::-1]


def test_the_last_full_page_has_no_next(run, api):
    for _ in range(2):
        run.plan(1)
    assert api.ok("/plans", limit=2)["next_cursor"] is None


def test_a_plan_as_a_line(run, api):
    plan_id, tasks = run.plan(3, session_id="talk")
    run.result(plan_id, tasks[2], source="second-worker")
    run.running(plan_id, tasks[0], source="parts-worker")
    run.result(plan_id, tasks[0], source="parts-worker")
    run.move(tasks[1], "awaiting_approval")
    (item,) = api.ok("/plans")["items"]
    schemas.PlanItem.model_validate(item)
    counts = (
        "task_count",
        "completed_tasks",
        "failed_tasks",
        "cancelled_tasks",
        "open_tasks",
        "stalled_tasks",
        "approvals_pending",
    )
    assert [item[name] for name in counts] == [3, 2, 0, 0, 1, 0, 1]
    assert item["agents"] == ["parts-worker", "second-worker"]
    assert (item["session_id"], item["parent_plan_id"], item["state"], item["tenant_id"]) == (
        "talk",
        None,
        "in_progress",
        "acme",
    )


@pytest.fixture
def several(run):
    """Plans that differ: done, open with a stalled task, waiting for a person, named by its goal."""
    done, (task,) = run.plan(1, plan_id="done", session_id="talk")
    run.result(done, task)
    stalled, (task,) = run.plan(1, plan_id="stalled")
    run.running(stalled, task)
    Task.objects.filter(task_id=task).update(stalled=True, agent="parts-worker")
    _, (task,) = run.plan(1, plan_id="asking")
    run.move(task, "awaiting_approval")
    run.file_plan("filed", goal="Maintenance.Goal", data={"vehicle": "Überwagen 100%"})
    Plan.objects.filter(plan_id="done").update(created_at=datetime(2020, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["filed", "asking", "stalled", "done"]),
        ({"state": "completed"}, ["done"]),
        ({"state": ["completed", "paused"]}, ["done"]),
        ({"state": ""}, ["filed", "asking", "stalled", "done"]),
        ({"goal": "Maintenance.Goal"}, ["filed"]),
        ({"goal": "maintenance"}, []),
        ({"session": "talk"}, ["done"]),
        ({"agent": "parts-worker"}, ["stalled", "done"]),
        ({"agent": "planner"}, ["asking", "stalled", "done"]),
        ({"q": "ASK"}, ["asking"]),
        ({"q": "maintenance.g"}, ["filed"]),
        ({"q": "Überwagen 100%"}, ["filed"]),
        ({"q": "%"}, ["filed"]),
        ({"q": "_"}, []),
        ({"since": "2021-01-01T00:00:00Z"}, ["filed", "asking", "stalled"]),
        ({"until": "2021-01-01"}, ["done"]),
        ({"since": "2020-01-01T01:00:00+01:00", "until": "2020-01-01T00:00:00.000001Z"}, ["done"]),
        ({"since": ""}, ["filed", "asking", "stalled", "done"]),
        ({"stalled": "true"}, ["stalled"]),
        ({"stalled": "false"}, ["filed", "asking", "done"]),
        ({"awaiting": "true"}, ["asking"]),
        ({"awaiting": "true", "stalled": "true"}, []),
    ],
)
def test_filters_of_plans(several, api, query, found):
    assert ids(api.ok("/plans", **query)) == found


def test_filters_of_tasks(several, run, api):
    def found(**query):
        return [one["plan_id"] for one in api.ok("/tasks", **query)["items"]]

    assert found() == ["asking", "stalled", "done"]
    assert found(plan="stalled") == found(stalled="true") == ["stalled"]
    assert found(state=["completed", "awaiting_approval"]) == ["asking", "done"]
    assert found(agent="parts-worker") == ["stalled", "done"]
    run.agent(agent_id="worker-1")
    Task.objects.filter(plan__plan_id="done").update(agent_id="worker-1")
    assert found(agent="worker-1") == ["done"]


def test_tasks_of_a_plan_in_order_of_arrival_page_by_page(run, api):
    plan_id, tasks = run.plan(5)
    seen, cursor = [], ""
    while cursor is not None:
        page = api.ok(f"/plans/{plan_id}/tasks", limit=2, cursor=cursor)
        schemas.TaskPage.model_validate(page)
        seen += [one["task_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert seen == tasks


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/plans", {"limit": 0}),
        ("/plans", {"limit": 201}),
        ("/plans", {"limit": "many"}),
        ("/plans", {"cursor": "nonsense"}),
        ("/plans", {"cursor": "cGxhbnM6LTE"}),
        ("/plans", {"cursor": "cGxhbnM6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk"}),
        ("/plans", {"cursor": "é"}),
        ("/plans", {"state": "running"}),
        ("/plans", {"since": "yesterday"}),
        ("/plans", {"since": "0001-01-01T00:00:00+14:00"}),
        ("/plans", {"stalled": "perhaps"}),
        ("/plans", {"q": "x" * 256}),
        ("/tasks", {"state": "in_progress"}),
        ("/tasks", {"limit": 201}),
        ("/plans/p/log", {"after": -1}),
        ("/plans/p/log", {"after": 2**63}),
        ("/plans/p/log", {"limit": 1001}),
        ("/plans/p/log", {"limit": 0}),
        ("/plans/p/state", {"seq": 0}),
        ("/plans/p/state", {"seq": 1, "at": "2020-01-01T00:00:00Z"}),
        ("/plans/p/tasks", {"cursor": "nonsense"}),
        ("/metrics", {"agent_id": "x"}),
        ("/metrics", {"period": "1h"}),
    ],
)
def test_what_cannot_be_read_is_a_422_that_points(run, api, path, query):
    run.plan(1, plan_id="p")
    body = api.get(path, **query).json()
    assert (body["status"], body["code"]) == INVALID
    assert body["errors"][0]["pointer"].split("/")[1] in {*query, "agent_id", "period"}


def test_a_cursor_is_good_for_its_own_list(run, api):
    plan_id, _ = run.plan(2)
    run.plan(1)
    assert api.problem("/tasks", cursor=api.ok("/plans", limit=1)["next_cursor"]) == INVALID
    assert api.problem(f"/plans/{plan_id}/tasks", cursor=api.ok("/tasks", limit=1)["next_cursor"]) == INVALID
