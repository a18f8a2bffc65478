"""The list stream of approvals: what waits for a decision, for whoever may see it."""

import pytest

from planner.decisions import Decide
from tests.accounts.factories import make_key, make_workspace
from tests.planner.asking import Asker
from tests.tracker.live_client import Client, committed, in_thread, with_key
from tracker.live.hub import hub

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run():
    return Asker(make_workspace())


@pytest.fixture
async def live():
    """The hub of this process, running in the test's loop."""
    hub.start()
    yield hub
    await hub.stop()


def decided(run, approval, by="user:alice"):
    whose = {"workspace_id": run.workspace.pk, "tenant_id": run.tenant, "by": by}
    return Decide(**whose, approval=approval.pk, decision="approve")


async def test_questions_come_as_they_are_asked_and_go_as_they_are_decided(live, run):
    headers = with_key(await in_thread(lambda: make_key(run.workspace, scopes=["read"])[1]))
    first = await in_thread(run.ask)
    async with Client(headers) as client:
        snapshot = await client.subscribe("approvals")
        assert [(one["id"], one["title"], one["votes"]) for one in snapshot["data"]["items"]] == [
            (first.approval_id, "Book it?", [])
        ]
        await committed(run.request_message("plan-x", "q-2", "approval.requested", data={"quorum": 2, "title": "Two?"}))
        [second] = (await client.hear())["items"]
        assert (second["task_id"], second["plan_id"], second["quorum"]) == ("q-2", "plan-x", 2)
        await committed(decided(run, first))
        patch = await client.hear()
        assert (patch["items"], patch["gone"]) == ([], [first.approval_id])


async def test_a_vote_is_told_and_what_is_foreign_is_not(live, run):
    asked = await in_thread(lambda: run.ask(quorum=2, args={"much": "x" * 200_000}))
    stranger = await in_thread(lambda: make_key(run.workspace, scopes=["read"], tenant_id="globex", user_id="b")[1])
    headers = with_key(await in_thread(lambda: make_key(run.workspace, scopes=["read"])[1]))
    async with Client(headers) as client, Client(with_key(stranger)) as other:
        assert (await other.subscribe("approvals"))["data"]["items"] == []
        assert "args" not in (await client.subscribe("approvals"))["data"]["items"][0]
        await committed(decided(run, asked))
        [item] = (await client.hear())["items"]
        assert item["votes"] == [{"by": "user:alice", "decision": "approve"}]
        await hub.tell_heads()
        assert (await other.hear())["op"] == "head"
