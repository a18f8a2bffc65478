"""The API keys of the workspace: a list for every member, made and revoked by admins."""

import shlex

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import audit
from accounts.auth import MemberRequest, admin_required, member_required, write_uses
from accounts.forms import KeyForm
from accounts.models import ApiKey


@require_GET
@member_required
def keys(request: MemberRequest) -> HttpResponse:
    """All keys, the newest first, and for admins the form for another."""
    write_uses()
    return _page(request, KeyForm())


@never_cache
@require_POST
@admin_required
def new_key(request: MemberRequest) -> HttpResponse:
    """Makes a key and shows its token, this once; htmx gets the fragment alone."""
    form = KeyForm(request.POST if "name" in request.POST else {**KeyForm.QUICK, **request.POST.dict()})
    if not form.is_valid():
        return _page(request, form, status=422)
    try:
        key, token = _issue(request, form)
    except ValidationError as error:
        form.add_error(None, error)
        return _page(request, form, status=422)
    template = "accounts/_key_made.html" if getattr(request, "htmx", False) else "accounts/key_made.html"
    base_url = f"{request.scheme}://{request.get_host()}"
    context = {"key": key, "token": token, "base_url": base_url, "environment": environment(key, token, base_url)}
    return render(request, template, {**context, "section": "keys"})


def environment(key: ApiKey, token: str, base_url: str) -> str:
    """Shell lines that set what the SDK and the examples read."""
    values = {"SOORMA_TOKEN": token, "SOORMA_URL": base_url}
    values |= {f"SOORMA_{service}_URL": base_url for service in ("REGISTRY", "EVENT_SERVICE", "MEMORY", "TRACKER")}
    values |= {"SOORMA_TENANT": key.tenant_id or "", "SOORMA_USER": key.user_id or ""}
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items() if value)


@transaction.atomic
def _issue(request: MemberRequest, form: KeyForm) -> tuple[ApiKey, str]:
    given = form.cleaned_data
    key, token = ApiKey.objects.issue(
        request.membership.workspace,
        name=given["name"],
        scopes=given["scopes"],
        tenant_id=given["tenant_id"],
        user_id=given["user_id"],
        created_by=request.user,
        expires_at=form.expires_at(),
    )
    detail = {"scopes": key.scopes, "tenant_id": key.tenant_id, "user_id": key.user_id}
    audit.record("key.made", str(key), by=request.caller.by, workspace=key.workspace, detail=detail, request=request)
    return key, token


@require_http_methods(["GET", "POST"])
@admin_required
def revoke_key(request: MemberRequest, key_id: int) -> HttpResponse:
    """Asks first, then ends the key at once."""
    key = get_object_or_404(ApiKey, pk=key_id, workspace_id=request.caller.workspace_id)
    if request.method == "GET":
        return render(request, "accounts/key_revoke.html", {"key": key, "section": "keys"})
    with transaction.atomic():
        if key.revoke():
            by = request.caller.by
            audit.record("key.revoked", str(key), by=by, workspace=request.membership.workspace, request=request)
    messages.success(request, f"The key {key.name} is revoked.")
    return redirect("accounts:keys")


def _page(request: MemberRequest, form: KeyForm, status: int = 200) -> HttpResponse:
    found = ApiKey.objects.filter(workspace_id=request.caller.workspace_id).select_related("created_by")
    return render(request, "accounts/keys.html", {"keys": found, "form": form, "section": "keys"}, status=status)
