"""Where a browser goes next: only to pages of this server."""

from urllib.parse import quote, unquote

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme

COOKIE = "next"
COOKIE_SECONDS = 3600
LONGEST = 500


def local(path: str) -> str:
    """The path if it is one of this server, else the empty string."""
    fits = path.startswith("/") and len(path) <= LONGEST and path.isprintable()
    return path if fits and url_has_allowed_host_and_scheme(path, allowed_hosts=None) else ""


def after_sign_in(request: HttpRequest, link_next: str = "") -> str:
    """The page that the link names, else the one that was asked for before signing in, else the first page."""
    kept = unquote(request.COOKIES.get(COOKIE, ""))
    return local(link_next) or local(kept) or resolve_url(settings.LOGIN_REDIRECT_URL)


def keep(response: HttpResponseBase, path: str) -> None:
    """Remember in the browser which page was asked for, until it has signed in."""
    if local(path):
        response.set_cookie(
            COOKIE, quote(path), max_age=COOKIE_SECONDS, httponly=True, samesite="Lax", secure=settings.SECURE_COOKIES
        )
