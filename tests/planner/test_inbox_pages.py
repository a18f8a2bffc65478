"""The pages of approvals: what they carry, to whom, and how many queries that takes."""

import json
import re

import pytest

from tests.accounts.factories import make_member, make_workspace
from tests.planner.asking import Asker, decide


@pytest.fixture
def run(db):
    return Asker(make_workspace())


@pytest.fixture
def olga(run, client):
    """A signed-in client of an operator."""
    client.force_login(make_member(run.workspace, name="olga", role="operator").user)
    return client


def ask(run, task_id, **data):
    plan_id, _ = run.plan()
    return run.ask(plan_id, task_id, **data)


def waiting(response):
    found = re.search(
        r'<script id="waiting" type="application/json">(.*?)</script>', response.content.decode(), re.DOTALL
    )
    return [item["title"] for item in json.loads(found[1])]


def count(response):
    return re.search(r'<span class="count"( hidden)?><span aria-hidden="true">([^<]*)', response.content.decode())


def test_a_stranger_is_sent_to_sign_in(client, db):
    for path in ("/approvals", "/approvals/1", "/approvals/1/card"):
        assert client.get(path).headers["Location"].startswith("/sign-in")


def test_the_inbox_carries_what_waits(run, olga):
    ask(run, "q-1", title="</script><script>alert(1)</script>")
    ask(run, "q-2", title="Second?")
    page = olga.get("/approvals")
    assert waiting(page) == ["</script><script>alert(1)</script>", "Second?"]
    assert "<script>alert" not in page.content.decode()


def test_a_card_has_safe_prose_and_what_it_holds_up(run, olga):
    plan_id, [task_id] = run.plan()
    asked = run.ask(plan_id, "q-1", description="**Now** <script>alert(1)</script>", blocks=task_id)
    card = olga.get(f"/approvals/{asked.approval_id}/card").json()
    assert card["description_html"] == "<p><strong>Now</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>"
    assert card["approval"]["description"].startswith("**Now**")
    assert card["blocked"] == {"task_id": task_id, "name": "parts-check", "state": "pending"}
    assert (card["plan"]["state"], card["plan"]["open_tasks"], card["answered"]) == ("in_progress", 1, None)


def test_another_workspaces_card_is_not_there(run, client):
    asked = ask(run, "q-1")
    client.force_login(make_member(make_workspace(), role="admin").user)
    answers = [client.get(f"/approvals/{name}/card") for name in (asked.approval_id, "unknown", "%00")]
    assert [(each.status_code, each.json()) for each in answers] == [(404, answers[0].json())] * 3
    assert waiting(client.get("/approvals")) == []


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({}, "1"),
        ({"assignees": ["olga"]}, "1"),
        ({"assignees": ["bob"]}, None),
        ({"assignees": ["olg", "olgas"]}, None),
    ],
)
def test_every_page_counts_what_waits_for_its_reader(run, olga, data, shown):
    ask(run, "q-1", **data)
    page = olga.get("/plans")
    assert (count(page)[2] if not count(page)[1] else None) == shown
    assert ("<title>(1) Plans" in page.content.decode()) == bool(shown)


def test_what_one_has_voted_on_and_what_is_decided_does_not_count(run, olga):
    voted, decided = ask(run, "q-1", quorum=2), ask(run, "q-2")
    decide(run.person("olga"), voted)
    decide(run.person("bob"), decided)
    assert count(olga.get("/plans"))[1]


def test_nothing_waits_for_a_viewer(run, client):
    ask(run, "q-1")
    client.force_login(make_member(run.workspace, role="viewer").user)
    page = client.get("/approvals")
    assert count(page)[1]
    assert 'data-decides=""' in page.content.decode()


def test_the_inbox_takes_as_many_queries_however_much_waits(run, olga, django_assert_max_num_queries):
    def queries(path):
        with django_assert_max_num_queries(12) as counted:
            assert olga.get(path).status_code == 200
        return len(counted)

    ask(run, "q-0", quorum=2)
    one = queries("/approvals")
    for number in range(1, 20):
        decide(run.person("bob"), ask(run, f"q-{number}", quorum=2))
    assert queries("/approvals") == one
