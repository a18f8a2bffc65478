"""API keys and members: who may see and do what."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.auth import caller_for_token
from accounts.models import ApiKey, AuditEntry, Membership, Role, SignInLink, User
from tests.accounts.factories import browser_of, make_key, make_member, make_workspace

pytestmark = pytest.mark.django_db
TOKEN = re.compile(r"soorma_[\w-]{43}")
NEW_KEY = {"name": "fleet agent", "tenant_id": "", "user_id": "", "scopes": ["read"], "expires_in": ""}


@pytest.fixture
def workspace():
    return make_workspace("fleet")


@pytest.fixture
def admin(workspace):
    return make_member(workspace, Role.ADMIN, "alice")


@pytest.fixture
def alice(admin):
    return browser_of(admin)


@pytest.fixture
def other(workspace):
    return make_member(workspace, Role.VIEWER, "bob")


def text_of(response):
    return response.content.decode()


def token_in(response):
    """The one token that a page shows, however often."""
    (token,) = set(TOKEN.findall(text_of(response)))
    return token


WHO = ["stranger", "outsider", "viewer", "operator", "admin"]
MATRIX = [
    # method, path, and the codes for WHO; the outsider is admin of another workspace
    ("GET", "/settings/keys", [302, 200, 200, 200, 200]),
    ("POST", "/keys/new", [302, 200, 403, 403, 200]),
    ("GET", "/settings/keys/{key}/revoke", [302, 404, 403, 403, 200]),
    ("POST", "/settings/keys/{key}/revoke", [302, 404, 403, 403, 302]),
    ("GET", "/settings/members", [302, 200, 403, 403, 200]),
    ("POST", "/settings/members/new", [302, 302, 403, 403, 302]),
    ("POST", "/settings/members/{member}/role", [302, 404, 403, 403, 302]),
    ("GET", "/settings/members/{member}/remove", [302, 404, 403, 403, 200]),
    ("POST", "/settings/members/{member}/remove", [302, 404, 403, 403, 302]),
    ("POST", "/settings/members/{member}/link", [302, 404, 403, 403, 200]),
]


@pytest.mark.parametrize(("method", "path", "codes"), MATRIX)
def test_who_may_do_what(workspace, other, method, path, codes):
    key, token = make_key(workspace)
    browsers = {
        "stranger": Client(),
        "outsider": browser_of(make_member(make_workspace("elsewhere"), Role.ADMIN)),
        "viewer": browser_of(other),
        "operator": browser_of(make_member(workspace, Role.OPERATOR)),
        "admin": browser_of(make_member(workspace, Role.ADMIN)),
    }
    where = path.format(key=key.pk, member=other.pk)
    data = {**NEW_KEY, "username": "carol", "role": "operator"}
    answers = {}
    for who in WHO:
        if who == "admin":
            other.refresh_from_db()
            assert (other.role, caller_for_token(token) is None) == ("viewer", False), "nobody before could change it"
        answers[who] = getattr(browsers[who], method.lower())(where, data).status_code
    assert answers == dict(zip(WHO, codes, strict=True))


def test_the_list_shows_the_keys_of_the_workspace_and_no_token(workspace, alice):
    key, token = make_key(workspace, name="parts worker", tenant_id="acme", user_id="carol", scopes=["publish"])
    make_key(make_workspace("elsewhere"), name="foreign key")
    page = text_of(alice.get("/settings/keys"))
    assert [word in page for word in ("parts worker", key.prefix, "acme", "carol", "publish", "never")] == [True] * 6
    assert [word in page for word in ("foreign key", token)] == [False] * 2


def test_the_list_shows_the_last_use(workspace, alice):
    _, token = make_key(workspace)
    caller_for_token(token)
    (key,) = alice.get("/settings/keys").context["keys"]
    assert timezone.now() - key.last_used_at < timedelta(minutes=1)


@pytest.mark.parametrize("count", [1, 30])
def test_the_lists_cost_the_same_however_long(workspace, alice, count, django_assert_num_queries):
    for _ in range(count):
        make_key(workspace)
        make_member(workspace, Role.VIEWER)
    with django_assert_num_queries(5):  # the session, the user, the memberships, the list, the approvals
        alice.get("/settings/keys")
    with django_assert_num_queries(5):
        alice.get("/settings/members")


def test_viewers_see_keys_but_nothing_to_change_them(workspace, other):
    make_key(workspace)
    page = text_of(browser_of(other).get("/settings/keys"))
    assert ["revoke" in page.lower(), "/keys/new" in page, "/settings/members" in page] == [False] * 3


def test_a_new_key_is_shown_once_and_works(workspace, admin, alice):
    sent = NEW_KEY | {"tenant_id": "acme", "user_id": "carol", "scopes": ["publish", "read"], "expires_in": "30"}
    page = alice.post("/keys/new", sent)
    assert "no-store" in page["cache-control"]
    caller = caller_for_token(token_in(page))
    assert (caller.workspace, caller.tenant_id, caller.user_id) == ("fleet", "acme", "carol")
    key = ApiKey.objects.get()
    assert (key.name, key.created_by, key.scopes) == ("fleet agent", admin.user, ["publish", "read"])
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    assert TOKEN.findall(text_of(alice.get("/settings/keys"))) == []
    entry = AuditEntry.objects.get(action="key.made")
    assert (entry.by, entry.workspace, entry.address) == ("user:alice", workspace, "127.0.0.1")


def test_a_key_that_is_bound_to_nothing_is_bound_to_nothing(alice):
    alice.post("/keys/new", NEW_KEY)
    key = ApiKey.objects.get()
    assert (key.tenant_id, key.user_id, key.expires_at) == (None, None, None)


def test_the_empty_page_needs_to_say_nothing(alice):
    page = alice.post("/keys/new", {}, headers={"hx-request": "true"})
    assert "<html" not in text_of(page)
    assert caller_for_token(token_in(page)).scopes == {"publish", "read", "act"}


def test_the_ready_commands_quote_what_the_shell_would_read(alice):
    page = alice.post("/keys/new", NEW_KEY | {"tenant_id": "a; rm -rf $HOME"})
    assert page.context["environment"].splitlines()[-1] == "export SOORMA_TENANT='a; rm -rf $HOME'"
    assert f"export SOORMA_TOKEN={token_in(page)}\n" in page.context["environment"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": " "},
        {"name": "x" * 65},
        {"name": "a\0b"},
        {"tenant_id": "x" * 65},
        {"user_id": "a\tb"},
        {"scopes": []},
        {"scopes": ["fly"]},
        {"scopes": ["manage"]},
        {"expires_in": "-1"},
        {"expires_in": "7"},
    ],
)
def test_a_wrong_form_makes_no_key_and_says_why(alice, wrong):
    page = alice.post("/keys/new", NEW_KEY | wrong)
    assert (page.status_code, set(page.context["form"].errors)) == (422, set(wrong))
    assert not ApiKey.objects.exists()


def test_revoking_asks_first_and_then_ends_the_key(workspace, alice):
    key, token = make_key(workspace, name="parts worker")
    assert "parts worker" in text_of(alice.get(f"/settings/keys/{key.pk}/revoke"))
    assert caller_for_token(token) is not None
    page = alice.post(f"/settings/keys/{key.pk}/revoke", follow=True)
    assert "The key parts worker is revoked." in text_of(page)
    assert caller_for_token(token) is None
    alice.post(f"/settings/keys/{key.pk}/revoke")
    assert AuditEntry.objects.filter(action="key.revoked").count() == 1


def test_a_new_member_comes_in_with_a_link(alice):
    alice.post("/settings/members/new", {"username": "carol", "role": "operator"})
    carol = Membership.objects.get(user__username="carol")
    page = alice.post(f"/settings/members/{carol.pk}/link")
    link = page.context["link"]
    assert (link in text_of(page), page["cache-control"].count("no-store")) == (True, 1)
    newcomer = Client()
    newcomer.get(link.removeprefix("http://testserver"))
    assert newcomer.get("/settings/keys").context["caller"].by == "user:carol"


@pytest.mark.parametrize(
    "wrong", [{"username": ""}, {"username": "a b"}, {"username": "x" * 65}, {"role": "owner"}, {"username": "alice"}]
)
def test_a_wrong_member_is_not_made(alice, wrong):
    page = alice.post("/settings/members/new", {"username": "carol", "role": "viewer"} | wrong)
    assert (page.status_code, set(page.context["form"].errors)) == (422, set(wrong))
    assert Membership.objects.count() == 1


def test_a_role_is_changed_and_noted(alice, other):
    alice.post(f"/settings/members/{other.pk}/role", {"role": "operator"})
    other.refresh_from_db()
    assert other.role == "operator"
    entry = AuditEntry.objects.get(action="member.role_changed")
    assert (entry.by, entry.subject, entry.detail) == ("user:alice", "bob", {"from": "viewer", "to": "operator"})


def test_a_removed_member_is_out_at_once(alice, other):
    theirs = browser_of(other)
    assert theirs.get("/settings/keys").status_code == 200
    alice.post(f"/settings/members/{other.pk}/remove")
    assert theirs.get("/settings/keys").status_code == 403
    assert User.objects.filter(username="bob").exists()
    assert AuditEntry.objects.get(action="member.removed").by == "user:alice"


def test_the_last_admin_stays(alice, admin, other):
    demoted = alice.post(f"/settings/members/{admin.pk}/role", {"role": "viewer"}, follow=True)
    removed = alice.post(f"/settings/members/{admin.pk}/remove", follow=True)
    assert ["A workspace needs an admin" in text_of(page) for page in (demoted, removed)] == [True] * 2
    admin.refresh_from_db()
    assert admin.role == "admin"
    alice.post(f"/settings/members/{other.pk}/role", {"role": "admin"})
    alice.post(f"/settings/members/{admin.pk}/role", {"role": "viewer"})
    admin.refresh_from_db()
    assert admin.role == "viewer"


def test_a_disabled_admin_is_no_admin(alice, admin, other):
    alice.post(f"/settings/members/{other.pk}/role", {"role": "admin"})
    User.objects.filter(pk=other.user_id).update(is_active=False)
    alice.post(f"/settings/members/{admin.pk}/role", {"role": "viewer"})
    admin.refresh_from_db()
    assert admin.role == "admin"


def link_for(alice, member):
    """Whether the page makes a link for the member."""
    before = SignInLink.objects.count()
    alice.post(f"/settings/members/{member.pk}/link")
    return SignInLink.objects.count() > before


def test_no_admin_becomes_somebody_with_rights_elsewhere(alice, other):
    elsewhere = make_workspace("elsewhere")
    make_member(elsewhere, Role.VIEWER, "bob")
    assert not link_for(alice, other)
    make_member(elsewhere, Role.ADMIN, "alice")
    assert link_for(alice, other)


@pytest.mark.parametrize("right", ["is_superuser", "is_staff"])
def test_no_admin_becomes_somebody_with_more_rights(alice, other, right):
    User.objects.filter(pk=other.user_id).update(**{right: True})
    assert not link_for(alice, other)


def test_somebody_disabled_gets_no_link(alice, other):
    User.objects.filter(pk=other.user_id).update(is_active=False)
    assert not link_for(alice, other)


def test_settings_lead_to_the_keys(alice):
    assert alice.get("/settings")["location"] == "/settings/keys"


def test_names_are_shown_as_text(workspace, alice):
    make_key(workspace, name="<script>alert(1)</script>")
    assert "<script>alert" not in text_of(alice.get("/settings/keys"))


@pytest.mark.parametrize("number", [0, 10**30])
def test_numbers_that_name_nothing_are_not_found(alice, number):
    paths = [f"keys/{number}/revoke", f"members/{number}/role", f"members/{number}/remove", f"members/{number}/link"]
    answers = [alice.post(f"/settings/{path}", {"role": "viewer"}).status_code for path in paths]
    assert answers == [404] * 4
