"""The pages of approvals: the inbox, and what a card shows beside the approval itself."""

from typing import Any

import orjson
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.auth import MemberRequest, member_required
from planner import cards
from planner.markdown import html_of
from planner.models import Approval
from tracker.errors import NotFound, Problem
from tracker.live.list_stream import View
from tracker.models import Plan, Task
from tracker.projections.lookup import Sight

COUNTERS = ("task_count", "completed_tasks", "failed_tasks", "cancelled_tasks")
OVER = ("decided", "expired", "withdrawn")
STATES = [("", "Waiting"), *((state, state.capitalize()) for state in OVER)]
WHOSE = [
    ("mine", "Mine", "Those that name you"),
    ("workspace", "Workspace", "Those that name you or nobody"),
    ("all", "All", "Those of others as well"),
]


@never_cache
@require_GET
@member_required
def approvals(request: MemberRequest, approval_id: str = "") -> HttpResponse:
    """The inbox with those that wait, one of them open; the page goes on from the live list."""
    view = View(Sight.of(request.caller))
    context = {
        "section": "approvals",
        "selected": approval_id,
        "states": STATES,
        "whose": WHOSE,
        "waiting": [item.body for item in cards.Waiting().window(view)],
    }
    return render(request, "planner/approvals.html", context)


@never_cache
@require_GET
@member_required
def approval_card(request: MemberRequest, approval_id: str) -> HttpResponse:
    """JSON: the approval, its description as HTML, its plan, the task that it holds up, and how it went on."""
    sight = Sight.of(request.caller)
    try:
        row = cards.one(sight, approval_id)
    except NotFound as problem:
        return _problem(problem)
    shown = {
        "approval": cards.card(row),
        "description_html": html_of(row.description),
        "plan": _plan(row),
        "blocked": _blocked(sight, row),
        "answered": cards.answered(row),
    }
    return HttpResponse(orjson.dumps(shown), content_type="application/json")


def _problem(problem: Problem) -> HttpResponse:
    return HttpResponse(problem.body(), status=problem.status, content_type="application/problem+json")


def _plan(row: Approval) -> dict[str, Any]:
    plan = Plan.objects.only("state", "current_state", "seq", *COUNTERS).get(pk=row.plan_id)
    # The task that asks waits itself.
    others = max(0, plan.open_tasks - int(row.state == Approval.State.PENDING))
    return {"state": plan.state, "current_state": plan.current_state, "seq": plan.seq, "open_tasks": others}


def _blocked(sight: Sight, row: Approval) -> dict[str, Any] | None:
    """The task that the approval says it holds up, if the plan has it."""
    if not row.blocks or "\x00" in row.blocks:
        return None
    task = sight.tasks().filter(plan_id=row.plan_id, task_id=row.blocks).only("task_id", "name", "state").first()
    return _task(task) if task else None


def _task(task: Task) -> dict[str, Any]:
    return {"task_id": task.task_id, "name": task.name, "state": task.state}
