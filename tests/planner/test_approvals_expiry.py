"""Questions that nobody answers in time."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from planner.models import Approval
from tests.accounts.factories import make_workspace
from tests.planner.asking import Asker, decide
from tests.planner.calls import code
from tests.tracker.factories import assert_log_tells_all, plan_of, task_of
from tracker.models import Deadline


@pytest.fixture
def run(db):
    """A tenant's agents in a workspace of their own. In the end the log of each plan must rebuild the tables."""
    run = Asker(make_workspace())
    yield run
    assert_log_tells_all(run.workspace)


@pytest.fixture
def alice(run):
    return run.person("alice")


def time_passes(run):
    """What was to end within an hour is over; the clock acts on it."""
    long_ago = datetime.now(UTC) - timedelta(seconds=1)
    waiting = Approval.objects.filter(workspace=run.workspace, expires_at__isnull=False)
    waiting.update(expires_at=long_ago)
    Deadline.objects.filter(kind="approval", subject__in=waiting.values("pk")).update(due_at=long_ago)
    return run.clock()


def test_it_is_rejected_once(run, alice):
    asked = run.ask("plan-e", "q-1", expires_in=3600)
    assert Deadline.objects.get(kind="approval", subject=asked.pk).due_at == asked.expires_at
    assert time_passes(run) == ["recorded", "duplicate"]
    card = alice.get("/approvals/q-1").json()
    assert (card["state"], card["decision"], card["decided_by"]) == ("expired", "reject", "system")
    assert (task_of(run, "q-1").state, task_of(run, "q-1").error) == ("failed", "nobody decided in time")
    [row] = run.answers()
    said = json.loads(row.data)
    assert (said["decision"], said["success"], said["comment"]) == ("reject", False, "nobody decided in time")
    assert code(decide(alice, asked)) == (409, "expired")
    assert time_passes(run) == []


def test_it_goes_through_if_the_question_says_so(run, alice):
    run.ask("plan-e", "q-1", expires_in=3600, on_expiry="approve")
    time_passes(run)
    assert task_of(run, "q-1").state == "completed"
    assert json.loads(run.answers()[0].data)["decision"] == "approve"


def test_what_is_decided_does_not_expire(run, alice):
    decide(alice, run.ask(task_id="q-1", expires_in=3600))
    assert Deadline.objects.filter(kind="approval").count() == 0
    assert time_passes(run) == []
    assert task_of(run, "q-1").state == "completed"


def test_what_is_withdrawn_does_not_expire(run):
    run.ask(task_id="q-1", expires_in=3600)
    run.move("q-1", "cancelled")
    assert Deadline.objects.filter(kind="approval").count() == 0


def test_it_goes_up_the_chain(run, alice):
    asked = run.ask(
        "plan-e", "q-1", expires_in=3600, on_expiry="escalate", assignees=["alice"], escalate_to=["bob", "carol"]
    )
    bob, carol = run.person("bob"), run.person("carol")
    assert code(decide(bob, asked)) == (403, "not-assigned")
    seen = []
    for _ in range(3):
        time_passes(run)
        card = alice.get("/approvals/q-1").json()
        seen.append((card["state"], card["assignees"], card["escalate_to"], card["version"]))
    assert seen == [
        ("pending", ["alice", "bob"], ["carol"], 2),
        ("pending", ["alice", "bob", "carol"], [], 3),
        ("expired", ["alice", "bob", "carol"], [], 4),
    ]
    told = plan_of(run, "plan-e").log.filter(type="approval.escalated").order_by("seq")
    assert [row.reason for row in told] == [
        "nobody decided in time; bob is asked",
        "nobody decided in time; carol is asked",
    ]
    assert code(decide(carol, asked)) == (409, "expired")


def test_who_is_asked_next_decides(run):
    asked = run.ask(task_id="q-1", expires_in=3600, on_expiry="escalate", escalate_to="boss")
    time_passes(run)
    asked.refresh_from_db()
    assert Deadline.objects.get(kind="approval", subject=asked.pk).due_at == asked.expires_at > datetime.now(UTC)
    assert code(decide(run.person("alice"), asked)) == (403, "not-assigned")
    assert decide(run.person("boss"), asked).json()["decided_by"] == "user:boss"
    assert task_of(run, "q-1").state == "completed"
