"""A planner whose plan waits for a person: `asking_planner.py NAME GOAL`."""

import os
import sys

from soorma import EventEnvelope, Planner, PlatformContext
from soorma.agents.planner import GoalContext
from soorma.plan_context import PlanContext
from soorma_common.state import StateAction, StateConfig, StateTransition

name, goal_type = sys.argv[1:3]
planner = Planner(name=name, description="Asks first", auth_token=os.environ["SOORMA_TOKEN"])
MACHINE = {
    "start": StateConfig(state_name="start", description="", default_next="approval"),
    "approval": StateConfig(
        state_name="approval",
        description="Somebody decides",
        action=StateAction(
            event_type="approval.requested",
            response_event="approval.decided",
            data={"title": "Go on with {{goal_data.label}}?", "risk": "high"},
        ),
        transitions=[StateTransition(on_event="approval.decided", to_state="done")],
    ),
    "done": StateConfig(state_name="done", description="", is_terminal=True),
}


@planner.on_goal(goal_type)
async def begin(goal: GoalContext, context: PlatformContext) -> None:
    plan = await PlanContext.create_from_goal(
        goal=goal, context=context, state_machine=MACHINE, current_state="start", status="pending"
    )
    await plan.execute_next()


@planner.on_transition()
async def step(event: EventEnvelope, context: PlatformContext, plan: PlanContext, next_state: str) -> None:
    if plan.goal_event != goal_type:
        return
    if event.data["decision"] == "reject":
        plan.status = "failed"
        await plan.save()
        await context.bus.respond(
            event_type=plan.response_event,
            data={"plan_id": plan.plan_id, "status": "failed", "error": event.data["comment"]},
            correlation_id=plan.correlation_id,
        )
        return
    await plan.execute_next(event)
    await plan.finalize({"decided_by": event.data["decided_by"]})


planner.run()
