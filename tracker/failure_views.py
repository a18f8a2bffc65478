"""Pages about what went wrong: a plan's story, and failures by kind."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.auth import MemberRequest, member_required
from tracker.api.explain import story_of
from tracker.api.failures import FailureFilter, chosen, page_of_kinds
from tracker.api.paging import page
from tracker.errors import Invalid, NotFound
from tracker.failures import one, types, with_relatives
from tracker.projections.lookup import Sight
from tracker.projections.story import markdown

PERIODS = {
    "1h": ("1 hour", timedelta(hours=1)),
    "24h": ("24 hours", timedelta(hours=24)),
    "7d": ("7 days", timedelta(days=7)),
    "30d": ("30 days", timedelta(days=30)),
    "all": ("All", None),
}
USUAL = "7d"
KINDS, EACH = 30, 20  # on a page


@never_cache
@require_GET
@member_required
def story(request: MemberRequest, plan_id: str) -> HttpResponse:
    """Why a plan went wrong, or how it stands; with `part` what the plan's page shows beside itself."""
    try:
        told = story_of(Sight.of(request.caller), plan_id)
    except NotFound:
        return render(request, "tracker/plan_gone.html", {"plan_id": plan_id, "section": "plans"}, status=404)
    part = "part" in request.GET
    context = {"story": told, "markdown": markdown(told), "section": "plans", "part": part}
    return render(request, "tracker/_explain.html" if part else "tracker/explain.html", context)


@never_cache
@require_GET
@member_required
def failures(request: MemberRequest) -> HttpResponse:
    """Failures by kind, the one that was met last first, of a `period`, a `type` or a `kind`; htmx gets the list."""
    asked = _asked(request)
    sight = Sight.of(request.caller)
    which = _filter(asked, KINDS)
    try:
        items, cursor = page_of_kinds(sight, which)
    except Invalid as error:
        raise Http404("there is no such page of failures") from error
    context: dict[str, Any] = {**asked, "items": items, "since": which.since, "until": timezone.now()}
    context["period_word"] = PERIODS[asked["period"]][0]
    context["older"] = urlencode(_query(asked) | {"cursor": cursor}) if cursor else ""
    if getattr(request, "htmx", False):
        return render(request, f"tracker/_failure_{'rows' if 'rows' in request.GET else 'list'}.html", context)
    every_kind = which.model_copy(update={"type": "", "fingerprint": ""})
    context["types"] = types(chosen(sight, every_kind))
    context["periods"] = [(value, word) for value, (word, _) in PERIODS.items()]
    return render(request, "tracker/failures.html", {**context, "section": "failures"})


@never_cache
@require_GET
@member_required
def each_failure(request: MemberRequest) -> HttpResponse:
    """The failures of one `kind`, newest first, as rows."""
    asked = _asked(request)
    found = with_relatives(chosen(Sight.of(request.caller), _filter(asked, EACH)))
    try:
        some, cursor = page("failures", found, asked["cursor"] or None, EACH)
    except Invalid as error:
        raise Http404("there is no such page of failures") from error
    older = urlencode(_query(asked) | {"cursor": cursor}) if cursor else ""
    return render(request, "tracker/_failure_each.html", {"items": [one(failure) for failure in some], "older": older})


def _asked(request: HttpRequest) -> dict[str, str]:
    """What the address asks for, in words that mean something."""
    texts = {name: request.GET.get(name, "").replace("\x00", "")[:255] for name in ("period", "type", "kind", "cursor")}
    return texts | {"period": texts["period"] if texts["period"] in PERIODS else USUAL}


def _query(asked: dict[str, str]) -> dict[str, str]:
    return {name: asked[name] for name in ("period", "type", "kind") if asked[name]}


def _filter(asked: dict[str, str], limit: int) -> FailureFilter:
    ago = PERIODS[asked["period"]][1]
    since = timezone.now() - ago if ago else None
    words = {"type": asked["type"], "fingerprint": asked["kind"], "cursor": asked["cursor"] or None}
    return FailureFilter.model_validate({"since": since, "limit": limit, **words})
