"""Everything that the SDK's memory client asks for, as one router."""

from ninja import Router

from planner.api import not_offered, plan_contexts, sessions, stored_plans, task_contexts, working

router = Router()
for part in (stored_plans, plan_contexts, task_contexts, working, sessions, not_offered):
    router.add_router("", part.router)
