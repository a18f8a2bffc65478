"""What planners and workers store through the SDK's memory client.

A row belongs to (workspace, tenant, user) and is found by the id that the agents gave it. Free-form JSON is kept as
text: nothing in it is converted. What the tracker makes of it goes through the ledger.
"""

from django.db import models
from django.db.models import Q

from tracker.models import ID, TENANT

KEY = 512  # longest key of working memory, in characters: the SDK prefixes plan ids


class Owned(models.Model):
    """Common to all: whose it is, and when it was written. Empty tenant or user: unknown when it was written."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False, related_name="+")
    tenant_id = models.CharField(max_length=TENANT)
    user_id = models.CharField(max_length=TENANT)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        abstract = True


class StoredPlan(Owned):
    """The record that a planner files when it takes on a goal."""

    plan_id = models.CharField(max_length=ID)
    session_id = models.CharField(max_length=ID, default="")
    parent_plan_id = models.CharField(max_length=ID, default="")
    goal_event = models.CharField(max_length=ID)
    goal_data = models.TextField(default="{}")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "plan_id", "tenant_id", "user_id"], name="stored_plan_once"),
        ]
        indexes = [
            models.Index(fields=["workspace", "tenant_id", "user_id", "id"], name="stored_plan_newest"),
            models.Index(
                fields=["workspace", "session_id", "id"], name="stored_plan_of_session", condition=~Q(session_id="")
            ),
        ]

    def __str__(self) -> str:
        return self.plan_id


class PlanContext(Owned):
    """Where a planner's state machine stands. Goal, session and response event are those of the first write."""

    plan_id = models.CharField(max_length=ID)
    session_id = models.CharField(max_length=ID, default="")
    goal_event = models.CharField(max_length=ID)
    goal_data = models.TextField(default="{}")
    response_event = models.CharField(max_length=ID, default="")
    state = models.TextField(default="{}")
    current_state = models.CharField(max_length=ID, default="")
    correlation_ids = models.TextField(default="[]")  # JSON list, as it came; PlanCorrelation is its index

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "plan_id", "tenant_id", "user_id"], name="plan_context_once"),
        ]

    def __str__(self) -> str:
        return self.plan_id


class PlanCorrelation(models.Model):
    """One correlation id of a plan context: each result on the bus is looked up here."""

    context = models.ForeignKey(PlanContext, models.CASCADE, related_name="correlations", db_index=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.CharField(max_length=ID)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["context", "key"], name="plan_correlation_once")]
        indexes = [models.Index(fields=["workspace", "key"], name="plan_correlation_by_key")]

    def __str__(self) -> str:
        return self.key


class TaskContext(Owned):
    """What a worker needs to go on with a task when the results of its sub-tasks are there."""

    task_id = models.CharField(max_length=ID)
    plan_id = models.CharField(max_length=ID, default="")
    event_type = models.CharField(max_length=ID)
    response_event = models.CharField(max_length=ID, default="")
    response_topic = models.CharField(max_length=ID)
    data = models.TextField(default="{}")
    sub_tasks = models.TextField(default="[]")  # JSON list, as it came; DelegatedTask is its index
    state = models.TextField(default="{}")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "task_id", "tenant_id", "user_id"], name="task_context_once"),
        ]

    def __str__(self) -> str:
        return self.task_id


class DelegatedTask(models.Model):
    """One sub-task id of a task context: each result on the bus is looked up here."""

    context = models.ForeignKey(TaskContext, models.CASCADE, related_name="delegated", db_index=False)
    workspace = models.ForeignKey(
        "accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    key = models.CharField(max_length=ID)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["context", "key"], name="delegated_task_once")]
        indexes = [models.Index(fields=["workspace", "key"], name="delegated_task_by_key")]

    def __str__(self) -> str:
        return self.key


class WorkingMemory(Owned):
    """One value that the agents of a plan share."""

    plan_id = models.CharField(max_length=ID)
    key = models.CharField(max_length=KEY)
    value = models.TextField()

    class Meta:
        verbose_name_plural = "working memory"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "plan_id", "key", "tenant_id", "user_id"], name="working_memory_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} {self.key}"


class Session(Owned):
    """A conversation that groups plans; `updated_at` is its last interaction."""

    session_id = models.CharField(max_length=ID)
    name = models.TextField(null=True)
    metadata = models.TextField(default="{}")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "session_id", "tenant_id", "user_id"], name="session_once"),
        ]
        indexes = [models.Index(fields=["workspace", "tenant_id", "user_id", "updated_at"], name="session_newest")]

    def __str__(self) -> str:
        return self.session_id
