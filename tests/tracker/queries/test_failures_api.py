"""Failures by kind over HTTP: counts, bounds, filters, pages, what it costs and who sees what."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.tracker.queries.asking import INVALID, Api
from tests.tracker.runs import unique
from tracker.failures import BARS
from tracker.models import Failure


def fails(run, error, type="parts.check.requested", source="parts-worker", plan_id=None):
    """A task that failed, in a plan of its own unless one is named."""
    plan_id = plan_id or unique("plan")
    task_id = unique("task")
    run.request(plan_id, task_id, type)
    run.result(plan_id, task_id, type.replace("requested", "completed"), source, status="failed", error=error)
    return plan_id


def age(error, **ago):
    """Let the failures with this text have happened earlier."""
    Failure.objects.filter(error=error).update(failed_at=timezone.now() - timedelta(**ago))


def told(items):
    return [(item["message"], item["count"], item["plan_count"]) for item in items]


def test_nothing_has_failed(api):
    assert api.ok("/failures") == {"items": [], "next_cursor": None}
    assert api.ok("/failures/each") == {"items": [], "next_cursor": None}


def test_kinds_with_their_counts(run, api):
    first = fails(run, "no part 17")
    fails(run, "no part 4", plan_id=first)
    last = fails(run, "no part 5")
    fails(run, "no bay", "bay.book.requested")
    items = api.ok("/failures")["items"]
    assert told(items) == [("no bay", 1, 1), ("no part <n>", 3, 2)]
    kind = items[1]
    assert kind["example"]["error"] == "no part 5"
    assert kind["example"]["plan_id"] == last
    assert [plan["plan_id"] for plan in kind["plans"]] == [last, first]
    assert kind["first_seen"] < kind["last_seen"]
    assert (len(kind["bars"]), sum(kind["bars"])) == (BARS, 3)


def test_each_failure_of_a_kind(run, api):
    for number in range(5):
        fails(run, f"no part {number}")
    fails(run, "no bay")
    [_, kind] = api.ok("/failures")["items"]
    page = api.ok("/failures/each", fingerprint=kind["fingerprint"], limit=3)
    assert [item["error"] for item in page["items"]] == ["no part 4", "no part 3", "no part 2"]
    rest = api.ok("/failures/each", fingerprint=kind["fingerprint"], limit=3, cursor=page["next_cursor"])
    assert ([item["error"] for item in rest["items"]], rest["next_cursor"]) == (["no part 1", "no part 0"], None)
    assert set(rest["items"][0]) >= {"plan_id", "task_id", "agent", "attempt", "seq", "failed_at"}


def test_pages_of_kinds(run, api):
    words = ["alpha", "beta", "gamma", "delta", "epsilon"]
    for word in words:
        fails(run, word)
    found, cursor = [], {}
    while cursor is not None:
        page = api.ok("/failures", limit=2, **cursor)
        found += [item["message"] for item in page["items"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == words[::-1]


@pytest.mark.parametrize(
    ("query", "messages"),
    [
        ({"type": "bay.book.requested"}, ["no bay"]),
        ({"agent": "other-worker"}, ["no tyre"]),
        ({"type": "odd"}, []),
        ({"plan": "the-plan"}, ["no tyre"]),
    ],
)
def test_filters(run, api, query, messages):
    fails(run, "no part")
    fails(run, "no bay", "bay.book.requested")
    fails(run, "no tyre", source="other-worker", plan_id="the-plan")
    assert [item["message"] for item in api.ok("/failures", **query)["items"]] == messages
    assert [item["error"] for item in api.ok("/failures/each", **query)["items"]] == messages


def test_a_period_and_its_bars(run, api):
    for error, hours in (("no part 1", 50), ("no part 2", 20), ("no part 3", 2), ("no bay", 100)):
        fails(run, error)
        age(error, hours=hours)
    now = timezone.now()
    period = {"since": (now - timedelta(hours=24)).isoformat(), "until": now.isoformat()}
    items = api.ok("/failures", **period)["items"]
    assert told(items) == [("no part <n>", 2, 2)]
    assert [place for place, count in enumerate(items[0]["bars"]) if count] == [3, 21]
    assert len(api.ok("/failures", since=(now - timedelta(hours=60)).isoformat())["items"]) == 1
    assert len(api.ok("/failures", until=(now - timedelta(hours=60)).isoformat())["items"]) == 1


def test_a_tenant_sees_its_own(run, api):
    fails(run, "no part")
    other = Api(run.workspace, "umbrella", "bob")
    whole = Api(run.workspace)
    assert other.ok("/failures")["items"] == other.ok("/failures/each")["items"] == []
    assert len(whole.ok("/failures", tenant="acme")["items"]) == 1
    assert whole.ok("/failures", tenant="umbrella")["items"] == []
    assert api.ok("/failures", tenant="umbrella")["items"] == []


@pytest.mark.parametrize("query", [{"cursor": "odd"}, {"limit": 0}, {"since": "yesterday"}, {"limit": 201}])
def test_what_does_not_fit(api, query):
    assert api.problem("/failures", **query) == INVALID
    assert api.problem("/failures/each", **query) == INVALID


def queries(api, path):
    with CaptureQueriesContext(connection) as counted:
        api.ok(path)
    return len(counted)


def test_the_number_of_queries_does_not_depend_on_the_failures(run, api):
    fails(run, "no part")
    assert queries(api, "/plans")  # the key is looked up once
    one = queries(api, "/failures"), queries(api, "/failures/each")
    for word in ("alpha", "beta", "gamma", "delta"):
        for _ in range(4):
            fails(run, word)
    assert (queries(api, "/failures"), queries(api, "/failures/each")) == one


def test_the_story_tells_of_its_kind(run, api):
    first = fails(run, "no part 1")
    fails(run, "no part 2")
    kin = api.ok(f"/plans/{first}/explain")["root"]["kin"]
    assert (kin["message"], kin["count"], kin["plan_count"]) == ("no part <n>", 2, 2)
