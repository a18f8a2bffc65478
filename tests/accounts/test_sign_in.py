"""One-time links, sessions and where they lead."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import AuditEntry, Role, SignInLink
from accounts.paths import local
from tests.accounts.factories import browser_of, closing_connection, make_member, make_workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def member():
    return make_member(make_workspace("fleet"), Role.VIEWER, "alice")


def follow(browser, user, **link):
    """Open a fresh link of the user."""
    return browser.get(f"/sign-in/{SignInLink.objects.issue(user, **link)}")


def test_the_sign_in_page_says_how_to_get_a_link():
    page = Client().get("/sign-in")
    assert page.status_code == 200
    assert "manage.py sign_in_link" in page.content.decode()


def test_a_link_signs_in_and_leads_to_the_plans(member):
    browser = Client()
    answer = follow(browser, member.user)
    assert (answer.status_code, answer["location"]) == (302, "/plans")
    assert browser.get("/settings/keys").status_code == 200
    entry = AuditEntry.objects.get(action="member.signed_in")
    assert (entry.by, entry.subject, entry.address) == ("user:alice", "alice", "127.0.0.1")


def test_a_used_link_is_gone_also_for_who_used_it(member):
    secret = SignInLink.objects.issue(member.user)
    first, second = Client(), Client()
    codes = [browser.get(f"/sign-in/{secret}").status_code for browser in (first, first, second)]
    assert codes == [302, 410, 410]
    assert first.get("/settings/keys").status_code == 200
    assert second.get("/settings/keys").status_code == 302


def test_unknown_expired_and_used_links_look_alike(member):
    expired = SignInLink.objects.issue(member.user, validity=timedelta(0))
    used = SignInLink.objects.issue(member.user)
    follow_up = [Client().get(f"/sign-in/{secret}") for secret in (used, used, expired, "unknown", "ü" * 500)][1:]
    assert {answer.status_code for answer in follow_up} == {410}
    assert len({answer.content for answer in follow_up}) == 1


def test_asking_for_the_headers_does_not_use_a_link_up(member):
    secret = SignInLink.objects.issue(member.user)
    assert [Client().head(f"/sign-in/{secret}").status_code, Client().get(f"/sign-in/{secret}").status_code] == [
        405,
        302,
    ]


@pytest.mark.django_db(transaction=True)
def test_of_eight_who_click_at_once_one_is_signed_in(member):
    secret = SignInLink.objects.issue(member.user)
    with ThreadPoolExecutor(max_workers=8) as pool:
        clicks = [pool.submit(closing_connection, Client().get, f"/sign-in/{secret}") for _ in range(8)]
        codes = sorted(click.result(timeout=30).status_code for click in clicks)
    assert codes == [302] + [410] * 7
    assert Session.objects.count() == 1


def test_signing_in_gives_the_session_a_new_key(member):
    browser = Client()
    session = browser.session
    session["planted"] = "by somebody else"
    session.save()
    planted = session.session_key
    browser.cookies["sessionid"] = planted
    follow(browser, member.user)
    assert browser.session.session_key != planted
    assert not Session.objects.filter(session_key=planted).exists()


def test_somebody_elses_link_replaces_the_session(member):
    browser = browser_of(make_member(make_workspace("other"), name="bob"))
    follow(browser, member.user)
    assert browser.get("/settings/keys").context["caller"].by == "user:alice"
    assert "workspace" not in browser.session


@pytest.mark.parametrize(
    "wanted", ["/plans/1?state=failed", "/approvals", "/plans/%C3%BC", "/plans?q=a%20b", "/plans?q=ü"]
)
def test_the_page_that_was_asked_for_comes_after_signing_in(member, wanted):
    browser = Client()
    browser.get("/sign-in", {"next": wanted})
    assert follow(browser, member.user)["location"].replace("%C3%BC", "ü") == wanted.replace("%C3%BC", "ü")
    assert follow(browser, member.user)["location"] == "/plans"


def test_the_links_own_page_comes_first(member):
    browser = Client()
    browser.get("/sign-in", {"next": "/approvals"})
    assert follow(browser, member.user, next="/plans/7")["location"] == "/plans/7"


ELSEWHERE = ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "plans", "/a\nb", ""]


@pytest.mark.parametrize("wanted", [*ELSEWHERE, "/" + "a" * 500])
def test_only_pages_of_this_server_count(wanted):
    assert local(wanted) == ""


@pytest.mark.parametrize("wanted", ELSEWHERE)
def test_nobody_is_led_elsewhere(member, wanted):
    browser = Client()
    browser.get("/sign-in", {"next": wanted})
    assert follow(browser, member.user, next=wanted)["location"] == "/plans"
    browser.cookies["next"] = wanted.replace("\n", "%0A")
    assert follow(browser, member.user)["location"] == "/plans"
    assert browser.get("/sign-in", {"next": wanted})["location"] == "/plans"
    moved = browser.post("/workspace", {"workspace": member.workspace_id, "next": wanted})
    assert moved["location"] == "/plans"


def test_the_signed_in_pass_the_sign_in_page(member):
    browser = browser_of(member)
    assert browser.get("/sign-in", {"next": "/approvals"})["location"] == "/approvals"


def test_signing_out_ends_the_session(member):
    browser = browser_of(member)
    assert browser.get("/sign-out").status_code == 405
    assert browser.post("/sign-out")["location"] == "/sign-in"
    assert browser.get("/settings/keys").status_code == 302
    assert AuditEntry.objects.filter(action="member.signed_out", by="user:alice").count() == 1
    assert browser.post("/sign-out")["location"] == "/sign-in"


@pytest.mark.parametrize("where", ["/sign-out", "/workspace", "/keys/new"])
def test_changes_need_the_csrf_token(member, where):
    assert browser_of(member, enforce_csrf_checks=True).post(where).status_code == 403


def test_a_page_that_needs_a_member_sends_the_stranger_to_sign_in():
    assert Client().get("/settings/keys?x=1")["location"] == "/sign-in?next=%2Fsettings%2Fkeys%3Fx%3D1"
    assert Client().post("/keys/new")["location"] == "/sign-in"


def test_a_fragment_that_needs_a_member_sends_the_whole_page_to_sign_in():
    headers = {"hx-request": "true", "hx-current-url": "http://testserver/plans?state=failed"}
    answer = Client().post("/keys/new", headers=headers)
    assert answer["hx-redirect"] == "/sign-in?next=%2Fplans%3Fstate%3Dfailed"


def test_a_user_without_a_workspace_is_told(member):
    browser = browser_of(member)
    member.delete()
    page = browser.get("/settings/keys")
    assert page.status_code == 403
    assert "create_member alice" in page.content.decode()


def test_a_disabled_users_session_ends(member):
    browser = browser_of(member)
    member.user.is_active = False
    member.user.save()
    assert browser.get("/settings/keys").status_code == 302


def test_a_member_moves_between_own_workspaces_only(member):
    second = make_member(make_workspace("second"), name="alice")
    foreign = make_workspace("foreign")
    browser = browser_of(member)
    moved = browser.post("/workspace", {"workspace": second.workspace_id, "next": "/settings/keys"})
    assert (moved.status_code, moved["location"]) == (302, "/settings/keys")
    assert browser.get("/settings/keys").context["caller"].workspace == "second"
    refused = [
        browser.post("/workspace", {"workspace": wanted}).status_code
        for wanted in (foreign.pk, "", "x", "-1", "9" * 40, "²")
    ]
    assert refused == [404] * 6
    assert browser.get("/settings/keys").context["caller"].workspace == "second"
