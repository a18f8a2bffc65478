"""Who is calling: over HTTP, through Ninja, from a socket."""

import asyncio

import pytest
from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import include, path
from ninja import NinjaAPI, Router, Schema

from accounts.auth import AuthError, CallerAuth, caller_for_scope, needs
from accounts.models import Role
from tests.accounts.factories import browser_of, make_key, make_member, make_workspace

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

api = NinjaAPI(auth=CallerAuth(), urls_namespace="who-calls", docs_url=None)
router = Router()


class Body(Schema):
    number: int


@router.get("/open")
def for_everybody_known(request: HttpRequest):
    return {"by": request.caller.by, "workspace": request.auth.workspace}


@router.get("/read")
@needs("read")
def for_readers(request: HttpRequest):
    return {"by": request.caller.by}


@router.post("/act")
@needs("act")
def for_actors(request: HttpRequest, body: Body):
    return {"by": request.caller.by}


@router.post("/publish")
@needs("publish")
async def for_publishers(request: HttpRequest):
    return {"by": request.caller.by}


@api.exception_handler(AuthError)
def refused(request, error):
    return JsonResponse({"refused": type(error).__name__}, status=error.status)


api.add_router("", router)
urlpatterns = [path("api/", api.urls), path("", include("accounts.urls"))]


def bearing(token):
    return Client(headers={"authorization": f"Bearer {token}"})


def answer(client, method, where, **kwargs):
    response = client.generic(method, f"/api/{where}", content_type="application/json", **kwargs)
    return response.status_code, response.json()


def test_nobody_is_refused_everywhere():
    asked = [("GET", "open"), ("GET", "read"), ("POST", "act"), ("POST", "publish")]
    refusals = [answer(Client(), method, where) for method, where in asked]
    assert refusals == [(401, {"refused": "Unauthenticated"})] * 4


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer x", "Bearer soorma_x", "Bearer ü"])
def test_a_wrong_key_is_refused_also_in_a_signed_in_browser(header):
    browser = browser_of(make_member(make_workspace()), headers={"authorization": header})
    assert answer(browser, "GET", "open") == (401, {"refused": "Unauthenticated"})


def test_a_key_needs_no_csrf_token():
    _, token = make_key(user_id="alice")
    client = Client(headers={"authorization": f"Bearer {token}"}, enforce_csrf_checks=True)
    assert answer(client, "POST", "act", data='{"number": 1}') == (200, {"by": "user:alice"})


def test_scopes_of_keys_are_looked_at_before_the_body():
    _, token = make_key(scopes=["read"])
    asked = [("GET", "open"), ("GET", "read"), ("POST", "act"), ("POST", "publish")]
    assert [answer(bearing(token), method, where)[0] for method, where in asked] == [200, 200, 403, 403]


@pytest.mark.parametrize(
    ("role", "codes"),
    [(Role.VIEWER, [200, 200, 403, 403]), (Role.OPERATOR, [200, 200, 422, 403]), (Role.ADMIN, [200, 200, 422, 200])],
)
def test_roles_are_scopes(role, codes):
    browser = browser_of(make_member(make_workspace(), role))
    asked = [("GET", "open"), ("GET", "read"), ("POST", "act"), ("POST", "publish")]
    assert [answer(browser, method, where)[0] for method, where in asked] == codes


def test_a_session_that_changes_something_needs_the_csrf_token():
    member = make_member(make_workspace(), name="alice")
    browser = browser_of(member, enforce_csrf_checks=True)
    assert answer(browser, "GET", "read") == (200, {"by": "user:alice"})
    assert answer(browser, "POST", "act", data='{"number": 1}') == (403, {"refused": "CsrfFailed"})
    browser.get("/settings/keys")
    given = browser.cookies["csrftoken"].value
    assert answer(browser, "POST", "act", data='{"number": 1}', headers={"x-csrftoken": given})[0] == 200


def test_a_member_without_a_workspace_is_nobody():
    member = make_member(make_workspace())
    browser = browser_of(member)
    member.delete()
    assert answer(browser, "GET", "open")[0] == 401


def test_a_role_counts_from_the_next_request_on():
    member = make_member(make_workspace(), Role.OPERATOR)
    browser = browser_of(member)
    assert answer(browser, "POST", "act", data='{"number": 1}')[0] == 200
    member.role = Role.VIEWER
    member.save()
    assert answer(browser, "POST", "act", data='{"number": 1}')[0] == 403


def test_the_session_is_in_the_chosen_workspace_else_in_the_first_by_name():
    zebra, ant = make_workspace("zebra"), make_workspace("ant")
    in_zebra = make_member(zebra, name="alice")
    make_member(ant, name="alice")
    browser = browser_of(in_zebra)
    assert answer(browser, "GET", "open")[1]["workspace"] == "zebra"
    in_zebra.delete()
    assert answer(browser, "GET", "open")[1]["workspace"] == "ant"


def test_what_a_caller_costs(django_assert_num_queries):
    _, token = make_key()
    browser = browser_of(make_member(make_workspace()))
    with django_assert_num_queries(1):
        assert [answer(bearing(token), "GET", "read")[0] for _ in range(3)] == [200] * 3
    with django_assert_num_queries(3):  # the session, the user, the memberships
        assert answer(browser, "GET", "read")[0] == 200


async def caller_of_socket(cookie):
    """Who a WebSocket with that cookie header belongs to, as a consumer behind AuthMiddlewareStack would ask."""
    found = []

    async def consumer(scope, receive, send):
        found.append(await database_sync_to_async(caller_for_scope)(scope))
        await send({"type": "websocket.close"})

    headers = [(b"cookie", cookie.encode())] if cookie else []
    socket = WebsocketCommunicator(AuthMiddlewareStack(consumer), "/ws/live", headers=headers)
    await socket.connect()
    await socket.wait()
    return found[0]


def socket_of(browser):
    cookie = f"sessionid={browser.cookies['sessionid'].value}" if browser else ""
    return asyncio.run(caller_of_socket(cookie))


@pytest.mark.django_db(transaction=True)
def test_a_socket_belongs_to_the_sessions_member():
    member = make_member(make_workspace("fleet"), Role.OPERATOR, "alice")
    caller = socket_of(browser_of(member))
    assert (caller.by, caller.workspace, caller.member_id) == ("user:alice", "fleet", member.pk)
    assert caller.scopes == {"read", "act"}


@pytest.mark.django_db(transaction=True)
def test_a_socket_without_a_session_belongs_to_nobody():
    assert socket_of(None) is None


@pytest.mark.django_db(transaction=True)
def test_a_socket_of_somebody_who_is_no_member_any_more_belongs_to_nobody():
    member = make_member(make_workspace())
    browser = browser_of(member)
    member.delete()
    assert socket_of(browser) is None


@pytest.mark.django_db(transaction=True)
def test_a_socket_of_a_session_that_signed_out_belongs_to_nobody():
    browser = browser_of(make_member(make_workspace()))
    cookie = browser.cookies["sessionid"].value
    browser.post("/sign-out")
    browser.cookies["sessionid"] = cookie
    assert socket_of(browser) is None
