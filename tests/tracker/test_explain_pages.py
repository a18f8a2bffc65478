"""The pages about what went wrong: what they show, to whom, and how many queries that takes."""

import html
import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.accounts.factories import make_member, make_workspace
from tests.tracker.runs import Run, unique


@pytest.fixture
def member(run, client):
    """A signed-in client of a viewer in the run's workspace."""
    client.force_login(make_member(run.workspace, role="viewer").user)
    return client


def fails(run, error, plan_id=None, type="parts.check.requested"):
    plan_id, task_id = plan_id or unique("plan"), unique("task")
    run.request(plan_id, task_id, type)
    run.result(plan_id, task_id, type.replace("requested", "completed"), status="failed", error=error)
    return plan_id


def shown(response):
    """The text of a page, its tags taken away."""
    text = re.sub(r"<script.*?</script>|<textarea.*?</textarea>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


@pytest.mark.parametrize("path", ["/plans/p/explain", "/failures", "/failures/each"])
def test_a_stranger_is_sent_to_sign_in(client, db, path):
    assert client.get(path).headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize("query", ["", "?part"])
def test_a_plans_story(run, member, query):
    plan_id = fails(run, "no part <b>17</b>")
    page = member.get(f"/plans/{plan_id}/explain{query}")
    text = page.content.decode()
    assert ("<html" in text) == (query == "")
    assert "parts-check failed at parts-worker: no part <b>17</b>." in shown(page) + html.unescape(text)
    assert "<b>17" not in text
    assert "Retry parts-check" in shown(page)


def test_a_plan_that_is_not_there(run, member):
    run.plan(1, "known")
    assert member.get("/plans/unknown/explain").status_code == 404
    other = Run(make_workspace())
    other.plan(1, "foreign")
    assert member.get("/plans/foreign/explain").status_code == 404


def test_the_plans_page_links_to_its_story(run, member):
    plan_id = fails(run, "no part")
    assert f'href="/plans/{plan_id}/explain"' in member.get(f"/plans/{plan_id}").content.decode()


def test_a_large_payload_shows_its_beginning(run, member):
    plan_id, task_id = unique("plan"), unique("task")
    run.request(plan_id, task_id)
    run.result(plan_id, task_id, status="failed", error="no part", log="l" * 50_000)
    page = member.get(f"/plans/{plan_id}/explain?part")
    assert "it begins" in shown(page)
    assert len(page.content) < 30_000


def test_nothing_has_failed(member):
    assert "Nothing has failed" in shown(member.get("/failures"))


def test_failures_by_kind(run, member):
    for number in range(3):
        fails(run, f"ValueError: no part '{number}'")
    fails(run, "no bay", type="bay.book.requested")
    page = member.get("/failures")
    text = shown(page)
    assert "ValueError no part value parts.check.requested" in text
    assert page.content.decode().count("<details") - page.content.decode().count('<details class="menu"') == 2
    assert 'aria-label="3 in 7 days, at most 3 in a 24th of it"' in page.content.decode()
    assert re.findall(r"<option>([^<]+)</option>", page.content.decode()) == [
        "bay.book.requested",
        "parts.check.requested",
    ]


def test_of_one_type_or_kind(run, member):
    fails(run, "no part")
    fails(run, "no bay", type="bay.book.requested")
    page = shown(member.get("/failures?type=bay.book.requested", headers={"HX-Request": "true"}))
    assert "no bay" in page
    assert "no part" not in page
    kind = re.findall(r'data-kind="(\w+)"', member.get("/failures").content.decode())[1]
    page = member.get(f"/failures?kind={kind}")
    assert "no part" in shown(page)
    assert "no bay" not in shown(page)
    assert "<details data-kind" in page.content.decode()
    assert "No failure of odd in the last 1 hour." in shown(member.get("/failures?period=1h&type=odd"))


@pytest.mark.parametrize("query", ["period=odd", "type=%00", "kind=%F0%9F%90%9B", "period=all"])
def test_odd_words_filter_nothing_wrongly(run, member, query):
    fails(run, "no part")
    page = member.get(f"/failures?{query}")
    assert page.status_code == 200
    assert ("no part" in shown(page)) == ("kind" not in query)


def test_each_failure_of_a_kind(run, member):
    plans = [fails(run, f"no part {number}") for number in range(22)]
    kind = re.search(r'data-kind="(\w+)"', member.get("/failures").content.decode())[1]
    page = member.get(f"/failures/each?kind={kind}").content.decode()
    assert page.count("<li>") == 20
    assert f"/plans/{plans[-1]}#seq=" in page
    older = html.unescape(re.search(r'hx-get="([^"]+)"', page)[1])
    assert member.get(older).content.decode().count("<li>") == 2


@pytest.mark.parametrize("path", ["/failures?cursor=odd", "/failures/each?cursor=odd"])
def test_there_is_no_such_page(member, path):
    assert member.get(path).status_code == 404


def test_others_failures_are_not_there(run, member):
    other = Run(make_workspace())
    fails(other, "confidential")
    assert "confidential" not in shown(member.get("/failures?period=all"))


def test_the_number_of_queries_does_not_depend_on_the_failures(run, member):
    fails(run, "no part")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as counted:
            assert member.get("/failures").status_code == 200
        counts.append(len(counted))
        for word in ("alpha", "beta", "gamma"):
            fails(run, word)
            fails(run, word)
    assert counts[0] == counts[1]
