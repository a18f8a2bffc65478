"""The pages: plans, one plan, agents, and in DEBUG the design system."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.auth import MemberRequest, member_required
from tracker import gallery
from tracker.api.paging import page
from tracker.api.plans import chosen
from tracker.errors import Invalid, NotFound
from tracker.models import Plan
from tracker.projections.lookup import Sight
from tracker.projections.snapshots import plan_items, plan_snapshot
from tracker.roster import agent_page, roster
from tracker.schemas import PlanFilter
from tracker.states import PLAN, TASK

PAGE = 50
STATES = ("in_progress", "paused", "completed", "failed", "cancelled")
STATE_CHOICES = [("", "All"), *((state, state.replace("_", " ").capitalize()) for state in STATES)]
SDK_VARIABLES = [f"SOORMA_{name}_URL" for name in ("REGISTRY", "EVENT_SERVICE", "MEMORY", "TRACKER")]
# What an operator may do, of the state table: verb, source, only when stalled.
ORDERS = {"pause", "resume", "cancel", "retry"}
MOVES = {
    machine.subject: [(move.verb, move.source, move.only_stalled) for move in machine.moves if move.verb in ORDERS]
    for machine in (PLAN, TASK)
}
# What the row of a plan that is not known yet is made of: the script's template.
BLANK = {"plan_id": "", "goal_event": "", "state": "pending", "agents": [], "task_count": 0, "created_at": ""}


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """To the plans."""
    return redirect("tracker:plans")


@never_cache
@require_GET
@member_required
def plans(request: MemberRequest) -> HttpResponse:
    """Plans, newest first, of `state` and with `q`, paged by `cursor`; htmx gets the list, with `rows` its rows."""
    state, q = request.GET.get("state", ""), request.GET.get("q", "").strip()
    sight = Sight.of(request.caller)
    try:
        found, cursor = page("plans", chosen(sight.plans(), _filter(state, q)), request.GET.get("cursor"), PAGE)
    except Invalid as error:
        raise Http404("there is no such page of plans") from error
    context: dict[str, Any] = {"items": plan_items(found), "state": state, "q": q}
    context["older"] = urlencode({"state": state, "q": q, "cursor": cursor}) if cursor else ""
    if getattr(request, "htmx", False):
        part = "rows" if "rows" in request.GET else "list"
        return render(request, f"tracker/_plan_{part}.html", context)
    context["any_plan"] = bool(found) or sight.plans().exists()
    return render(request, "tracker/plans.html", {**context, **_shell(request), "section": "plans"})


def _filter(state: str, q: str) -> PlanFilter:
    """What the list shows, in the words of the API and of its live stream."""
    # A plan that is only known by its name has not started, but it is not over either.
    states = ["in_progress", "pending"] if state == "in_progress" else [state] if state in STATES else []
    return PlanFilter.model_validate({"state": states, "q": q.replace("\x00", "")[:200]})


def _shell(request: HttpRequest) -> dict[str, Any]:
    base_url = f"{request.scheme}://{request.get_host()}"
    return {"state_choices": STATE_CHOICES, "blank": BLANK, "base_url": base_url, "sdk_variables": SDK_VARIABLES}


@never_cache
@require_GET
@member_required
def plan(request: MemberRequest, plan_id: str) -> HttpResponse:
    """One plan with its timeline and log; the page carries its snapshot and goes on from that seq."""
    sight = Sight.of(request.caller)
    try:
        snapshot = plan_snapshot(sight.plan(plan_id))
    except (NotFound, Plan.DoesNotExist):
        return render(request, "tracker/plan_gone.html", {"plan_id": plan_id, "section": "plans"}, status=404)
    sub_plans = sight.plans().filter(parent_plan_id=plan_id).order_by("id")[:PAGE]
    context = {"plan": snapshot["plan"], "snapshot": snapshot, "sub_plans": sub_plans, "section": "plans"}
    context |= {"log_url": f"/v1/tracker/plans/{plan_id}/log", **_orders(request)}
    return render(request, "tracker/plan.html", context)


def _orders(request: MemberRequest) -> dict[str, Any]:
    """What the plan's buttons go by; nothing for those who may not act."""
    return {"moves": MOVES, "open_states": PLAN.open_states} if request.caller.may("act") else {}


@never_cache
@require_GET
@member_required
def agents(request: MemberRequest) -> HttpResponse:
    """The agents that have registered, by name and instance, what each is doing, and what waits for them."""
    found = roster(Sight.of(request.caller))
    return render(request, "tracker/agents.html", {**found, **_shell(request), "section": "agents"})


@never_cache
@require_GET
@member_required
def agent(request: MemberRequest, name: str) -> HttpResponse:
    """One agent: its instances, what waits for it, its newest tasks."""
    try:
        found = agent_page(Sight.of(request.caller), name)
    except NotFound:
        return render(request, "tracker/agent_gone.html", {"name": name, "section": "agents"}, status=404)
    return render(request, "tracker/agent.html", {"agent": found, "section": "agents"})


@require_GET
@member_required
def design(request: MemberRequest) -> HttpResponse:
    """The design system with made-up data; `tasks` says how many the plan has. DEBUG only."""
    if not settings.DEBUG:
        raise Http404
    snapshot = gallery.snapshot(min(int(request.GET.get("tasks", "0")), 20_000))
    context = {"snapshot": snapshot, "plan": snapshot["plan"], "still": True, "log_url": "", "section": "design"}
    lists = {
        "items": gallery.plan_items(),
        "agents": gallery.agents(),
        "states": gallery.STATES,
        "swatches": gallery.SWATCHES,
        **_orders(request),
    }
    return render(request, "tracker/design.html", {**context, **lists, **_shell(request), "document": gallery.DOCUMENT})
