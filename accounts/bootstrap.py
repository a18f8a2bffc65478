"""The first workspace, the first admin and the link that signs in, for a server that was just started."""

from django.db import transaction

from accounts.models import Membership, Role, SignInLink, User, Workspace
from accounts.names import set_member, user_named, workspace_named

WORKSPACE = "default"
ADMIN = "admin"


def ensure_default(base_url: str) -> str | None:
    """A one-time sign-in link of the first admin, who is made if there is none.

    On an empty database the workspace `default` is made as well; else a new admin becomes admin of every workspace, so
    that keys made before the first start lead to pages that somebody can open. None if `admin` exists and was disabled.
    """
    user = _first_admin() or _new_admin()
    return sign_in_url(user, base_url) if user.is_active else None


def sign_in_url(user: User, base_url: str) -> str:
    """A fresh one-time link for the user below the server's base URL."""
    return f"{base_url.rstrip('/')}/sign-in/{SignInLink.objects.issue(user)}"


def _first_admin() -> User | None:
    admins = Membership.objects.filter(role=Role.ADMIN, user__is_active=True).select_related("user")
    first = admins.order_by("pk").first()
    return None if first is None else first.user


@transaction.atomic
def _new_admin() -> User:
    user, made = user_named(ADMIN)
    if made:
        user.is_staff = user.is_superuser = True
        user.save(update_fields=["is_staff", "is_superuser"])
    if user.is_active:
        for workspace in list(Workspace.objects.all()) or [workspace_named(WORKSPACE, by="system")[0]]:
            set_member(user, workspace, Role.ADMIN, by="system")
    return user
