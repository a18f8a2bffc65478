"""The link that a fresh server prints."""

import pytest
from django.test import Client

from accounts.bootstrap import ensure_default
from accounts.models import Membership, Role, User, Workspace
from tests.accounts.factories import make_member, make_workspace

pytestmark = pytest.mark.django_db
BASE = "http://127.0.0.1:8000"


def who_signs_in(link):
    """The user that a browser is after it followed the link."""
    browser = Client()
    assert browser.get(link.removeprefix(BASE)).status_code == 302
    return User.objects.get(pk=browser.session["_auth_user_id"]).username


def test_an_empty_database_gets_a_workspace_and_an_admin():
    link = ensure_default(BASE)
    assert list(Membership.objects.values_list("user__username", "workspace__name", "role")) == [
        ("admin", "default", "admin")
    ]
    assert who_signs_in(link) == "admin"


def test_a_restart_makes_nothing_but_a_new_link():
    links = {ensure_default(BASE), ensure_default(BASE + "/")}
    assert [who_signs_in(link) for link in links] == ["admin", "admin"]
    assert (Workspace.objects.count(), User.objects.count(), Membership.objects.count()) == (1, 1, 1)


def test_the_first_admin_of_a_used_database_gets_the_link():
    workspace = make_workspace()
    make_member(workspace, Role.VIEWER, "victor")
    make_member(workspace, Role.ADMIN, "alice")
    make_member(workspace, Role.ADMIN, "bob")
    assert who_signs_in(ensure_default(BASE)) == "alice"
    assert not User.objects.filter(username="admin").exists()


def test_workspaces_that_a_key_made_get_an_admin():
    workspaces = [make_workspace("one"), make_workspace("two")]
    assert who_signs_in(ensure_default(BASE)) == "admin"
    assert list(Membership.objects.values_list("workspace__name", "role")) == [(w.name, "admin") for w in workspaces]


def test_a_disabled_admin_gets_no_link():
    ensure_default(BASE)
    User.objects.update(is_active=False)
    assert ensure_default(BASE) is None
