"""As many statements for a hundred as for one."""

from django.db import connection
from django.test.utils import CaptureQueriesContext


def statements(api, path, **query):
    with CaptureQueriesContext(connection) as captured:
        api.ok(path, **query)
    return len(captured)


def test_as_many_statements_for_100_as_for_one(run, api):
    api.ok("/plans")  # the key is read once
    small, (task,) = run.plan(1, plan_id="small", session_id="few")
    large, tasks = run.plan(100, plan_id="large")
    run.file_plan("small-child", parent_plan_id="small")
    run.running(small, task)
    run.delegate(small, task, ["only"], group="small-group")
    run.running(large, tasks[0])
    run.delegate(large, tasks[0], [f"sub-{n}" for n in range(100)], group="large-group")
    for n in range(100):
        run.file_plan(f"child-{n}", parent_plan_id="large", session_id="many")
    ends = ("", "/actions", "/tasks", "/timeline", "/log", "/hierarchy", "/state", "/sub-plans")
    limits = {"/tasks": {"limit": 200}, "/log": {"limit": 1000}}
    for end in ends:
        few = statements(api, f"/plans/small{end}", **limits.get(end, {}))
        assert few == statements(api, f"/plans/large{end}", **limits.get(end, {})), end
        assert few <= (6 if end == "/hierarchy" else 2), end
    assert statements(api, "/plans", limit=1) == statements(api, "/plans", limit=100) == 2
    assert statements(api, "/tasks", limit=1) == statements(api, "/tasks", limit=100) == 1
    assert statements(api, "/sessions/few/plans") == statements(api, "/sessions/many/plans") == 1
    assert statements(api, "/delegation-groups/small-group") == statements(api, "/delegation-groups/large-group") == 2
