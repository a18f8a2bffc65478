"""Workspaces, members and keys for tests, made the way the product makes them."""

import itertools

from django.db import connection
from django.test import Client

from accounts.models import ApiKey, Membership, Role, SignInLink, Workspace
from accounts.names import set_member, user_named

_numbers = itertools.count(1)


def make_workspace(name=None):
    return Workspace.objects.create(name=name or f"workspace-{next(_numbers)}")


def make_member(workspace, role=Role.ADMIN, name=None):
    user, _ = user_named(name or f"member-{next(_numbers)}")
    set_member(user, workspace, role, by="system")
    return Membership.objects.get(user=user, workspace=workspace)


def make_key(workspace=None, name="agent", **fields):
    return ApiKey.objects.issue(workspace or make_workspace(), name=name, **fields)


def browser_of(member, **client):
    """A browser in which the member has signed in with a link."""
    browser = Client(**client)
    secret = SignInLink.objects.issue(member.user)
    assert browser.get(f"/sign-in/{secret}").status_code == 302
    session = browser.session
    session["workspace"] = member.workspace_id
    session.save()
    return browser


def closing_connection(function, *args):
    """Call a function in a thread and give back the thread's database connection."""
    try:
        return function(*args)
    finally:
        connection.close()
