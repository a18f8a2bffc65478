"""What agents stored, to look at."""

from django.contrib import admin

from planner.models import Approval, PlanContext, Session, StoredPlan, TaskContext, WorkingMemory

OWNER = ("workspace", "tenant_id", "user_id")


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are the agents': nobody edits them by hand."""

    list_filter = ("workspace",)
    ordering = ("-updated_at",)

    def has_add_permission(self, request, obj=None):  # type: ignore[no-untyped-def]
        return False

    def has_change_permission(self, request, obj=None):  # type: ignore[no-untyped-def]
        return False


@admin.register(StoredPlan)
class StoredPlanAdmin(ReadOnly):
    list_display = ("plan_id", "goal_event", "session_id", *OWNER, "updated_at")
    search_fields = ("plan_id", "session_id")


@admin.register(PlanContext)
class PlanContextAdmin(ReadOnly):
    list_display = ("plan_id", "goal_event", "current_state", *OWNER, "updated_at")
    search_fields = ("plan_id",)


@admin.register(TaskContext)
class TaskContextAdmin(ReadOnly):
    list_display = ("task_id", "plan_id", "event_type", *OWNER, "updated_at")
    search_fields = ("task_id", "plan_id")


@admin.register(WorkingMemory)
class WorkingMemoryAdmin(ReadOnly):
    list_display = ("plan_id", "key", *OWNER, "updated_at")
    search_fields = ("plan_id", "key")


@admin.register(Session)
class SessionAdmin(ReadOnly):
    list_display = ("session_id", "name", *OWNER, "updated_at")
    search_fields = ("session_id", "name")


@admin.register(Approval)
class ApprovalAdmin(ReadOnly):
    list_display = ("title", "state", "risk", "requested_by", "decided_by", "workspace", "tenant_id", "requested_at")
    search_fields = ("title", "approval_id")
    ordering = ("-id",)
