"""The members of the workspace, for its admins."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit
from accounts.auth import MemberRequest, admin_required
from accounts.bootstrap import sign_in_url
from accounts.forms import MemberForm, RoleForm
from accounts.models import Membership, Role, User, Workspace
from accounts.names import set_member, user_named

LAST_ADMIN = "A workspace needs an admin: make somebody else one first."


@require_GET
@admin_required
def members(request: MemberRequest) -> HttpResponse:
    """All members with their roles, and the form for another."""
    return _page(request, MemberForm())


@require_POST
@admin_required
def new_member(request: MemberRequest) -> HttpResponse:
    """Adds somebody who is no member yet."""
    form = MemberForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    workspace = request.membership.workspace
    try:
        user, _ = user_named(form.cleaned_data["username"])
        if Membership.objects.filter(user=user, workspace=workspace).exists():
            raise ValidationError({"username": f"{user.username} is a member already"})
        set_member(user, workspace, form.cleaned_data["role"], by=request.caller.by)
    except ValidationError as error:
        form.add_error(None, error)
        return _page(request, form, status=422)
    messages.success(request, f"{user.username} is a member now. A sign-in link lets {user.username} in.")
    return redirect("accounts:members")


@require_POST
@admin_required
def change_role(request: MemberRequest, membership_id: int) -> HttpResponse:
    """Gives a member another role; the last admin keeps the role."""
    form = RoleForm(request.POST)
    if not form.is_valid():
        return _page(request, MemberForm(), status=422)
    role = form.cleaned_data["role"]
    with transaction.atomic():
        member = _locked(request, membership_id)
        if role != Role.ADMIN and _is_last_admin(member):
            messages.error(request, LAST_ADMIN)
            return redirect("accounts:members")
        done = set_member(member.user, member.workspace, role, by=request.caller.by)
    if done == "changed":
        messages.success(request, f"{member.user.username} is {role} now.")
    return redirect("accounts:members")


@require_http_methods(["GET", "POST"])
@admin_required
def remove_member(request: MemberRequest, membership_id: int) -> HttpResponse:
    """Asks first, then ends the membership; open sessions lose the workspace with their next request."""
    if request.method == "GET":
        return render(
            request, "accounts/member_remove.html", {"member": _found(request, membership_id), "section": "members"}
        )
    with transaction.atomic():
        member = _locked(request, membership_id)
        if _is_last_admin(member):
            messages.error(request, LAST_ADMIN)
            return redirect("accounts:members")
        by, workspace = request.caller.by, member.workspace
        audit.record("member.removed", member.user.username, by=by, workspace=workspace, request=request)
        member.delete()
    messages.success(request, f"{member.user.username} is no member of {workspace.name} any more.")
    return redirect("accounts:members")


@never_cache
@require_POST
@admin_required
def member_link(request: MemberRequest, membership_id: int) -> HttpResponse:
    """Makes a one-time sign-in link for a member and shows it, this once."""
    member = _found(request, membership_id)
    if not may_let_in(request.user, member.user):
        messages.error(request, f"{member.user.username} may do more than you, so the link cannot come from you.")
        return redirect("accounts:members")
    link = sign_in_url(member.user, f"{request.scheme}://{request.get_host()}")
    audit.record("link.made", member.user.username, by=request.caller.by, workspace=member.workspace, request=request)
    return render(request, "accounts/member_link.html", {"member": member, "link": link, "section": "members"})


def may_let_in(admin: User, user: User) -> bool:
    """Whether the admin may make a link that signs in as the user: only where it opens nothing new to the admin."""
    if admin.is_superuser or admin.pk == user.pk:
        return True
    if user.is_superuser or user.is_staff or not user.is_active:
        return False
    own = Membership.objects.filter(user=admin, role=Role.ADMIN).values("workspace_id")
    return not Membership.objects.filter(user=user).exclude(workspace_id__in=own).exists()


def _found(request: MemberRequest, membership_id: int) -> Membership:
    mine = Membership.objects.select_related("user", "workspace").filter(workspace_id=request.caller.workspace_id)
    return get_object_or_404(mine, pk=membership_id)


def _locked(request: MemberRequest, membership_id: int) -> Membership:
    # One at a time in a workspace: two admins who demote each other must not both succeed.
    Workspace.objects.select_for_update().get(pk=request.caller.workspace_id)
    return _found(request, membership_id)


def _is_last_admin(member: Membership) -> bool:
    others = Membership.objects.filter(workspace_id=member.workspace_id, role=Role.ADMIN, user__is_active=True)
    return member.role == Role.ADMIN and not others.exclude(pk=member.pk).exists()


def _page(request: MemberRequest, form: MemberForm, status: int = 200) -> HttpResponse:
    found = Membership.objects.filter(workspace_id=request.caller.workspace_id).select_related("user")
    context = {"members": found.order_by("user__username"), "form": form, "roles": Role.choices, "section": "members"}
    return render(request, "accounts/members.html", context, status=status)
