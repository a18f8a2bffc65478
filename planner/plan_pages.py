"""The page on which a plan is declared: from nothing, or from one that was declared before."""

import json
from typing import Any

from django.db.models import Max
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.auth import MemberRequest, member_required
from planner.declared_models import DeclaredPlan
from tracker.envelope import loads
from tracker.errors import NotFound
from tracker.projections.lookup import Sight

GOALS, TENANTS = 12, 50  # that are offered
EXAMPLE: dict[str, Any] = {
    "goal": "maintenance.goal",
    "goal_data": {"vehicle": "v-7", "part": "brake pads"},
    "states": {
        "start": {"default_next": "check"},
        "check": {
            "description": "Look whether the part is on the shelf",
            "action": {
                "event_type": "parts.check.requested",
                "response_event": "parts.check.completed",
                "data": {"part": "{{goal_data.part}}"},
                "retries": 2,
                "timeout": 60,
            },
            "transitions": [
                {"on_event": "parts.check.completed", "to_state": "done", "condition": "result.in_stock > 1"},
                {"on_event": "parts.check.completed", "to_state": "ask"},
            ],
        },
        "ask": {
            "description": "A person decides about the last one",
            "action": {
                "event_type": "approval.requested",
                "response_event": "approval.decided",
                "data": {"title": "Take the last {{goal_data.part}}?", "args": "{{results.check}}"},
            },
            "transitions": [
                {"on_event": "approval.decided", "to_state": "done", "condition": "result.decision == 'approve'"}
            ],
            "on_failure": "given_up",
        },
        "done": {"is_terminal": True},
        "given_up": {"is_terminal": True},
    },
}


@never_cache
@require_GET
@member_required
def new_plan(request: MemberRequest) -> HttpResponse:
    """A definition to be edited, with `from` that of a plan declared before; needs the scope act."""
    if not request.caller.may("act"):
        return render(request, "accounts/too_little.html", {"section": "plans"}, status=403)
    sight = Sight.of(request.caller)
    earlier = _earlier(sight, request.GET.get("from", ""))
    document = loads(earlier.definition) if earlier else EXAMPLE
    newest = sight.plans().exclude(tenant_id="").order_by("-id").values_list("tenant_id", flat=True).first()
    tenant = earlier.plan.tenant_id if earlier else newest
    shown = {name: value for name, value in document.items() if name not in ("plan_id", "tenant_id", "user_id")}
    context = {
        "section": "plans",
        "text": json.dumps(shown, indent=2, ensure_ascii=False),
        "earlier": earlier,
        "goals": _goals(sight),
        "tenant": tenant or "",
        "tenants": sorted(set(sight.plans().order_by("-id").values_list("tenant_id", flat=True)[:TENANTS]) - {""}),
    }
    return render(request, "planner/new_plan.html", context)


def _earlier(sight: Sight, plan_id: str) -> DeclaredPlan | None:
    if not plan_id or "\x00" in plan_id:
        return None
    try:
        plan = sight.plan(plan_id)
    except NotFound:
        return None
    return DeclaredPlan.objects.filter(plan_id=plan.pk).select_related("plan").first()


def _goals(sight: Sight) -> list[DeclaredPlan]:
    """The newest declared plan of each goal, the newest first."""
    seen = DeclaredPlan.objects.filter(workspace_id=sight.workspace_id)
    if sight.tenant_id is not None:
        seen = seen.filter(plan__tenant_id=sight.tenant_id)
    newest = seen.values("goal").annotate(newest=Max("id")).order_by("-newest").values_list("newest", flat=True)[:GOALS]
    return list(DeclaredPlan.objects.filter(pk__in=list(newest)).select_related("plan").order_by("-id"))
