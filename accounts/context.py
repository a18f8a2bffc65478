"""What the page shell shows of the one who is signed in."""

from typing import Any

from django.http import HttpRequest

from accounts.auth import current_membership, member_caller, memberships_of


def workspace(request: HttpRequest) -> dict[str, Any]:
    """`caller` (a Caller or None), `membership` (or None) and `workspaces`, those of the signed-in user by name."""
    membership = current_membership(request)
    return {
        "caller": None if membership is None else member_caller(membership),
        "membership": membership,
        "workspaces": [one.workspace for one in memberships_of(request)],
    }
