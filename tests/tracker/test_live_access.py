"""Who may open a socket, what it then sees, and when it loses it."""

import pytest

from accounts.auth import key_caller
from accounts.models import ApiKey, Membership, Role
from tests.accounts.factories import browser_of, make_key, make_member, make_workspace
from tests.tracker.live_client import HOST, Client, in_thread, with_key, with_session
from tests.tracker.runs import Run
from tracker.live import access
from tracker.live.hub import hub
from tracker.models import LiveTicket

pytestmark = pytest.mark.django_db(transaction=True)
UNAUTHENTICATED = 4401


@pytest.fixture
def run():
    return Run(make_workspace())


@pytest.fixture
async def live():
    """The hub of this process, running in the test's loop."""
    hub.start()
    yield hub
    await hub.stop()


async def refused(headers=(HOST,), path="/ws/live"):
    client = Client(headers, path)
    accepted = await client.open()
    code = await client.closed() if accepted else None
    await client.socket.wait()
    return accepted, code


async def test_nobody_is_let_in_without_a_key_or_a_session(live):
    assert await refused() == (True, UNAUTHENTICATED)
    assert await refused(with_key("soorma_wrong")) == (True, UNAUTHENTICATED)
    assert await refused(path="/ws/live?ticket=wrong") == (True, UNAUTHENTICATED)
    assert await refused(path="/ws/live?ticket=" + "x" * 5000) == (True, UNAUTHENTICATED)


async def test_a_key_needs_the_scope_read(live, run):
    _, token = await in_thread(lambda: make_key(run.workspace, scopes=["publish", "act"]))
    assert await refused(with_key(token)) == (True, UNAUTHENTICATED)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
async def test_members_of_every_role_see_their_workspace(live, run, role):
    plan_id, _ = await in_thread(run.plan)
    browser = await in_thread(lambda: browser_of(make_member(run.workspace, role)))
    async with Client(with_session(browser)) as client:
        assert (await client.subscribe(f"plan:{plan_id}"))["op"] == "snapshot"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://testserver:81", "http://testserver.evil.example", "null", "http://[", ""]
)
async def test_pages_of_others_cannot_open_a_socket(live, run, origin):
    browser = await in_thread(lambda: browser_of(make_member(run.workspace)))
    assert await refused(with_session(browser, origin)) == (False, None)


async def test_a_host_that_is_not_ours_cannot_open_a_socket(live, run):
    browser = await in_thread(lambda: browser_of(make_member(run.workspace)))
    headers = [(b"host", b"rebound.example"), *with_session(browser, "http://rebound.example")[1:]]
    assert await refused(headers) == (False, None)


async def test_origins_with_their_default_port_and_behind_a_proxy_are_ours(live, run, settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://dash.example"]
    browser = await in_thread(lambda: browser_of(make_member(run.workspace)))
    for origin in ("http://testserver:80", "HTTP://TESTSERVER", "https://dash.example"):
        async with Client(with_session(browser, origin)) as client:
            assert (await client.subscribe("plans"))["op"] == "snapshot"


async def test_what_is_foreign_is_not_there(live, run):
    plan_id, _ = await in_thread(run.plan)
    stranger = await in_thread(lambda: make_key(scopes=["read"])[1])
    neighbour = await in_thread(lambda: make_key(run.workspace, scopes=["read"], tenant_id="globex", user_id="bob")[1])
    answers = []
    for token in (stranger, neighbour):
        async with Client(with_key(token)) as client:
            for stream in (f"plan:{plan_id}", "plan:not-there"):
                answer = await client.subscribe(stream, after=0)
                answers.append((answer["op"], answer["code"], answer["detail"]))
    assert set(answers) == {("error", "not-found", "there is no plan with this id")}


async def test_a_ticket_opens_one_socket(live, run):
    plan_id, _ = await in_thread(run.plan)
    browser = await in_thread(lambda: browser_of(make_member(run.workspace, Role.VIEWER)))
    ticket = await in_thread(lambda: access.issue(caller_of(run)))
    async with Client(path=f"/ws/live?ticket={ticket}") as client:
        assert (await client.subscribe(f"plan:{plan_id}"))["op"] == "snapshot"
    assert await refused(path=f"/ws/live?ticket={ticket}") == (True, UNAUTHENTICATED)
    # A used ticket is not made good by a session.
    headers = with_session(browser)
    assert await refused(headers, f"/ws/live?ticket={ticket}") == (True, UNAUTHENTICATED)


def caller_of(run, **key):
    return key_caller(make_key(run.workspace, **{"scopes": ["read"]} | key)[0])


async def test_a_ticket_ends_after_a_minute(live, run, monkeypatch):
    monkeypatch.setattr(access, "TICKET_SECONDS", -1)
    ticket = await in_thread(lambda: access.issue(caller_of(run)))
    assert await refused(path=f"/ws/live?ticket={ticket}") == (True, UNAUTHENTICATED)
    assert await in_thread(LiveTicket.objects.count) == 0


async def test_a_ticket_is_worth_no_more_than_its_owner(live, run):
    def revoked():
        ticket = access.issue(caller_of(run))
        ApiKey.objects.get(workspace=run.workspace).revoke()
        return ticket

    ticket = await in_thread(revoked)
    assert await refused(path=f"/ws/live?ticket={ticket}") == (True, UNAUTHENTICATED)


async def test_who_loses_access_loses_the_socket_at_once(live, run):
    member = await in_thread(make_member, run.workspace, Role.VIEWER)
    signed_out = await in_thread(make_member, run.workspace, Role.VIEWER)
    browser = await in_thread(browser_of, member)
    leaving = await in_thread(browser_of, signed_out)
    key, token = await in_thread(lambda: make_key(run.workspace, scopes=["read"]))
    async with (
        Client(with_session(browser)) as by_member,
        Client(with_session(leaving)) as by_session,
        Client(with_key(token)) as by_key,
    ):
        for client in (by_member, by_session, by_key):
            await client.subscribe("plans")
        await in_thread(lambda: Membership.objects.get(pk=member.pk).delete())
        assert await by_member.closed() == UNAUTHENTICATED
        await in_thread(leaving.logout)
        assert await by_session.closed() == UNAUTHENTICATED
        assert hub.counts().sockets == 1
        await in_thread(lambda: ApiKey.objects.get(pk=key.pk).revoke())
        assert await by_key.closed() == UNAUTHENTICATED


async def test_a_server_that_ends_says_so(run):
    hub.start()
    _, token = await in_thread(lambda: make_key(run.workspace, scopes=["read"]))
    async with Client(with_key(token)) as client:
        await client.subscribe("plans")
        await hub.stop()
        assert await client.closed() == 1012
        assert hub.counts().sockets == hub.counts().subscriptions == 0


def ask_for_ticket(client, token, **more):
    return client.post("/v1/live-tickets", headers={"Authorization": f"Bearer {token}"} if token else {}, **more)


def test_tickets_are_for_callers_who_may_read(client, run):
    reading = make_key(run.workspace, scopes=["read"])[1]
    answer = ask_for_ticket(client, reading)
    assert (answer.status_code, sorted(answer.json())) == (201, ["expires_in", "ticket"])
    assert answer.json()["ticket"] not in LiveTicket.objects.values_list("digest", flat=True)
    assert ask_for_ticket(client, make_key(run.workspace, scopes=["publish"])[1]).status_code == 403
    assert ask_for_ticket(client, "").status_code == 401


def test_a_ticket_of_a_bound_key_is_bound(run):
    ticket = access.issue(caller_of(run, tenant_id="acme", user_id="alice"))
    caller = access.redeem(ticket)
    assert (caller.workspace_id, caller.tenant_id, caller.user_id) == (run.workspace.pk, "acme", "alice")
    assert access.redeem(ticket) is None
