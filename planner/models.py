"""What planners and workers store through the SDK's memory client.

A row belongs to (workspace, tenant, user) and is found by the id that the agents gave it. Free-form JSON is kept as
text: nothing in it is converted. What the tracker makes of it goes through the ledger.
"""

from django.db import models
from django.db.models import Q

from planner.declared_models import DeclaredPlan
from planner.outgoing_models import Mail, WebhookDelivery, WebhookEndpoint
from tracker.models import ID, TENANT

__all__ = ["DeclaredPlan", "Mail", "WebhookDelivery", "WebhookEndpoint"]

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


class Approval(models.Model):
    """A question to a person: what an `approval.requested` asks, how it stands, and what was decided.

    Lists and free-form values are JSON text. It changes under the lock of its plan only, and each change of it counts
    `version` up and has a row in the plan's log.
    """

    class State(models.TextChoices):
        """Where it stands; all but the first are final."""

        PENDING = "pending"
        DECIDED = "decided"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False, related_name="+")
    tenant_id = models.CharField(max_length=TENANT)
    approval_id = models.CharField(max_length=36, unique=True)
    plan = models.ForeignKey("tracker.Plan", models.CASCADE, db_index=False, related_name="+")
    task = models.ForeignKey("tracker.Task", models.CASCADE, db_index=False, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    version = models.PositiveIntegerField(default=1)
    title = models.TextField()
    description = models.TextField(default="")
    action = models.CharField(max_length=ID, default="")
    args = models.TextField(default="null")
    options = models.TextField(default="null")  # a list
    response_schema = models.TextField(default="null")
    allow = models.TextField(default="[]")  # of approve, reject, edit, respond
    assignees = models.TextField(default="[]")  # names; empty: whoever may act
    quorum = models.PositiveIntegerField(default=1)  # equal votes that settle it
    reject_quorum = models.PositiveIntegerField(default=1)  # rejections that settle it
    reject_needs_comment = models.BooleanField(default=False)
    expires_in = models.FloatField(null=True)  # seconds
    expires_at = models.DateTimeField(null=True)
    on_expiry = models.CharField(max_length=10, default="reject")  # reject, approve, escalate
    escalate_to = models.TextField(default="[]")  # names that have not been asked yet, in turn
    risk = models.CharField(max_length=10, default="medium")  # low, medium, high
    blocks = models.CharField(max_length=ID, default="")
    requested_by = models.CharField(max_length=ID + 10)
    requested_at = models.DateTimeField()
    decision = models.CharField(max_length=10, default="")
    decided_by = models.CharField(max_length=ID + 10, default="")
    decided_at = models.DateTimeField(null=True)  # whichever way it ended
    comment = models.TextField(default="")
    payload = models.TextField(default="null")
    delivered_at = models.DateTimeField(null=True)  # the answer has left for the agent that asked
    request = models.TextField(default="{}")  # of the request what its answer repeats

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task"], name="approval_open_once", condition=Q(state="pending")),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "decided", "expired", "withdrawn"]), name="approval_state_known"
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "state", "id"], name="approval_by_state"),
            models.Index(fields=["plan", "id"], name="approval_of_plan"),
            models.Index(fields=["task", "id"], name="approval_of_task"),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.state})"


class Vote(models.Model):
    """What one person wants; taken back it is gone from here, and the plan's log still tells of it."""

    approval = models.ForeignKey(Approval, models.CASCADE, related_name="votes", db_index=False)
    by = models.CharField(max_length=ID + 10)
    decision = models.CharField(max_length=10)
    comment = models.TextField(default="")
    payload = models.TextField(default="null")
    key = models.CharField(max_length=ID, default="")  # Idempotency-Key of the request
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["approval", "by"], name="vote_once_a_person")]

    def __str__(self) -> str:
        return f"{self.by}: {self.decision}"
