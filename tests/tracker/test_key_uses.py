"""When a key was used last is written now and then, and when the server ends."""

import pytest

from accounts.models import ApiKey
from tests.accounts.factories import make_workspace
from tests.services.waiting import wait_until_async
from tests.tracker.live_client import in_thread
from tests.tracker.served import Agent, served
from tracker import key_uses

pytestmark = pytest.mark.django_db(transaction=True)


async def last_used(workspace):
    return await in_thread(lambda: ApiKey.objects.get(workspace=workspace).last_used_at)


async def test_at_the_end():
    workspace = await in_thread(make_workspace)
    async with served() as http:
        agent = await Agent.of(http, workspace)
        assert (await agent.publish()).status_code == 200
        assert await last_used(workspace) is None
    assert await last_used(workspace) is not None


async def test_now_and_then(monkeypatch):
    monkeypatch.setattr(key_uses, "EVERY_SECONDS", 0.05)
    workspace = await in_thread(make_workspace)
    async with served() as http:
        agent = await Agent.of(http, workspace)
        assert (await agent.publish()).status_code == 200
        assert await wait_until_async(lambda: last_used(workspace))
