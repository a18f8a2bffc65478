"""Finding and making workspaces and members by name."""

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit
from accounts.models import NAME_LENGTH, Membership, Role, User, Workspace


def workspace_named(name: str, *, by: str) -> tuple[Workspace, bool]:
    """The workspace of that name, made if missing, and whether it was made. Raises ValidationError."""
    found = Workspace.objects.filter(name=name).first() if name.isprintable() else None
    if found is not None:
        return found, False
    Workspace(name=name).full_clean(validate_unique=False)
    workspace, made = Workspace.objects.get_or_create(name=name)
    if made:
        audit.record("workspace.made", name, by=by, workspace=workspace)
    return workspace, made


def user_named(name: str) -> tuple[User, bool]:
    """The user of that name, made without a password if missing, and whether it was made. Raises ValidationError."""
    if len(name) > NAME_LENGTH:
        raise ValidationError({"username": f"must have at most {NAME_LENGTH} characters"})
    fresh = User(username=name)
    fresh.set_unusable_password()
    fresh.full_clean(validate_unique=False)
    return User.objects.get_or_create(username=name, defaults={"password": fresh.password})


@transaction.atomic
def set_member(user: User, workspace: Workspace, role: str, *, by: str) -> str:
    """Give the user that role in the workspace; what was done: made, changed or unchanged."""
    membership, made = Membership.objects.get_or_create(user=user, workspace=workspace, defaults={"role": Role(role)})
    if made:
        audit.record("member.made", user.username, by=by, workspace=workspace, detail={"role": role})
        return "made"
    if membership.role == role:
        return "unchanged"
    detail = {"from": membership.role, "to": role}
    membership.role = Role(role)
    membership.save(update_fields=["role"])
    audit.record("member.role_changed", user.username, by=by, workspace=workspace, detail=detail)
    return "changed"
