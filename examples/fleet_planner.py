"""A planner: turns the goal `maintenance.goal` into a plan of two steps and moves it from state to state.

    start -> parts_check -> scheduling -> done

Watch in the dashboard: the plan appears as soon as the goal is taken. Each state with an action becomes a task, and
the plan shows which state the planner is in (`parts_check`, `scheduling`). Between two steps all tasks are done and the
plan is still in progress: what the planner stores says so. A failed parts check fails the plan.
"""

import logging

from connection import say, token
from soorma import EventEnvelope, Planner, PlatformContext
from soorma.agents.planner import GoalContext
from soorma.plan_context import PlanContext
from soorma_common.state import StateAction, StateConfig, StateTransition

NAME = "fleet-planner"
# The SDK warns about every result on the bus that belongs to no plan of this planner; with delegation that is normal.
logging.getLogger("soorma.agents.planner").setLevel(logging.ERROR)

MACHINE = {
    "start": StateConfig(state_name="start", description="The goal is taken", default_next="parts_check"),
    "parts_check": StateConfig(
        state_name="parts_check",
        description="Is the part there?",
        action=StateAction(
            event_type="parts.check.requested",
            response_event="parts.check.completed",
            data={"vehicle": "{{goal_data.vehicle}}", "part": "{{goal_data.part}}"},
        ),
        transitions=[StateTransition(on_event="parts.check.completed", to_state="scheduling")],
    ),
    "scheduling": StateConfig(
        state_name="scheduling",
        description="Find a slot, a technician and a bay",
        action=StateAction(
            event_type="schedule.service.requested",
            response_event="schedule.service.completed",
            data={"vehicle": "{{goal_data.vehicle}}"},
        ),
        transitions=[StateTransition(on_event="schedule.service.completed", to_state="done")],
    ),
    "done": StateConfig(state_name="done", description="The service is booked", is_terminal=True),
}

planner = Planner(
    name=NAME,
    description="Plans the maintenance of a vehicle",
    events_produced=["parts.check.requested", "schedule.service.requested", "maintenance.completed"],
    auth_token=token(),
)


@planner.on_goal("maintenance.goal")
async def plan_maintenance(goal: GoalContext, context: PlatformContext) -> None:
    """Store a plan for the goal and take its first step."""
    say(NAME, f"plans {goal.data.get('part')} for {goal.data.get('vehicle')}")
    plan = await PlanContext.create_from_goal(
        goal=goal, context=context, state_machine=MACHINE, current_state="start", status="pending"
    )
    await plan.execute_next()


@planner.on_transition()
async def step(event: EventEnvelope, context: PlatformContext, plan: PlanContext, next_state: str) -> None:
    """Called for each result that moves a plan; `plan` still stands where it stood before."""
    # Every planner of a tenant is asked about every plan: leave those of other goals alone.
    if plan.goal_event != "maintenance.goal":
        return
    data = event.data or {}
    if data.get("status") == "failed":
        await give_up(context, plan, data.get("error", "no reason given"))
        return
    plan.results[plan.current_state] = data.get("result")
    await plan.execute_next(event)
    if plan.is_complete():
        say(NAME, f"is done with {plan.goal_data.get('vehicle')}")
        await plan.finalize({"vehicle": plan.goal_data.get("vehicle"), **plan.results})


async def give_up(context: PlatformContext, plan: PlanContext, error: str) -> None:
    """The SDK has no call for a plan that fails: save it as failed, then answer who asked."""
    say(NAME, f"gives up on {plan.goal_data.get('vehicle')}: {error}")
    plan.status = "failed"
    await plan.save()
    await context.bus.respond(
        event_type=plan.response_event,
        data={"plan_id": plan.plan_id, "status": "failed", "error": error},
        correlation_id=plan.correlation_id,
    )


if __name__ == "__main__":
    planner.run()
