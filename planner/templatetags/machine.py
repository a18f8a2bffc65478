"""The machine of a declared plan, for the page of a plan."""

from typing import Any

from django import template

from planner import drawing
from planner.declared_models import DeclaredPlan
from planner.definition import Declared
from planner.machine import Run
from tracker.envelope import TRACKER, loads
from tracker.errors import NotFound
from tracker.projections.lookup import Sight

register = template.Library()


@register.inclusion_tag("planner/_machine.html", takes_context=True)
def machine(context: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """The picture of the plan's machine and where it stands; nothing for plans that the server does not run."""
    caller = getattr(context.get("request"), "caller", None)
    if caller is None or plan.get("planner") != TRACKER:
        return {}
    try:
        found = Sight.of(caller).plan(plan["plan_id"])
    except NotFound:
        return {}
    row = DeclaredPlan.objects.filter(plan_id=found.pk).first()
    if row is None:
        return {}
    declared, run = Declared.model_validate(loads(row.definition)), Run.model_validate(loads(row.run))
    return {
        "drawing": drawing.draw(declared.states, declared.initial_state, run),
        "told": drawing.told(declared.states, declared.initial_state),
        "run": run,
        "plan_id": plan["plan_id"],
        "may_act": caller.may("act"),
    }
