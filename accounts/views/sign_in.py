"""Signing in by a one-time link, signing out, and choosing the workspace."""

from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import audit, paths
from accounts.auth import MemberRequest, member_required
from accounts.models import Membership, SignInLink, User

BACKEND = "django.contrib.auth.backends.ModelBackend"


@never_cache
@require_GET
def sign_in(request: HttpRequest) -> HttpResponse:
    """Says how to get a link, and remembers the page that was asked for."""
    wanted = paths.local(request.GET.get("next", ""))
    if request.user.is_authenticated:
        return redirect(wanted or paths.after_sign_in(request))
    response = render(request, "accounts/sign_in.html")
    paths.keep(response, wanted)
    return response


@never_cache
@require_GET
def redeem(request: HttpRequest, secret: str) -> HttpResponse:
    """Signs in at once and uses the link up; 410 if it is unknown, used or expired (all alike)."""
    link = SignInLink.objects.claim(secret)
    if link is None:
        return render(request, "accounts/link_gone.html", status=410)
    return _signed_in(request, link.user, paths.after_sign_in(request, link.next))


def _signed_in(request: HttpRequest, user: User, target: str) -> HttpResponse:
    if request.user.is_authenticated and request.user.pk != user.pk:
        logout(request)
    login(request, user, backend=BACKEND)  # also gives the session a new key
    audit.record("member.signed_in", user.username, by=user.by, request=request)
    response = redirect(target)
    response.delete_cookie(paths.COOKIE)
    return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """Ends the session."""
    if request.user.is_authenticated:
        audit.record("member.signed_out", request.user.username, by=request.user.by, request=request)
    logout(request)
    return redirect("accounts:sign_in")


@require_POST
@member_required
def choose_workspace(request: MemberRequest) -> HttpResponseBase:
    """Moves the session to another of the member's workspaces; 404 for others."""
    wanted = request.POST.get("workspace", "")
    mine = Membership.objects.filter(user=request.user)
    membership = get_object_or_404(mine, workspace_id=int(wanted) if wanted.isdecimal() and len(wanted) < 19 else 0)
    request.session["workspace"] = membership.workspace_id
    return redirect(paths.local(request.POST.get("next", "")) or "/plans")
