"""What a page answers to somebody who may not see it."""

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """To the sign-in page and, for what can be asked again, back here afterwards."""
    htmx = cast(HtmxDetails | None, getattr(request, "htmx", None))
    here = (htmx.current_url_abs_path or "") if htmx else request.get_full_path() if request.method == "GET" else ""
    target = reverse("accounts:sign_in") + (f"?{urlencode({'next': here})}" if here else "")
    # A plain redirect would land inside the fragment that htmx asked for.
    return HttpResponseClientRedirect(target) if htmx else redirect(target)


def no_workspace(request: HttpRequest) -> HttpResponse:
    """403 for a user without any membership."""
    return render(request, "accounts/no_workspace.html", status=403)


def too_little(request: HttpRequest) -> HttpResponse:
    """403 for a member whose role does not allow it."""
    return render(request, "accounts/too_little.html", status=403)
