"""Plans, tasks, their log, and the links by which messages find them. Written by the ledger alone (`tracker.sql`).

`tenant_id` and `user_id` are the agents' own words for whom they work; `workspace` is ours. Free-form JSON is kept as
text: nothing in it is converted, and PostgreSQL's jsonb could not hold every string that JSON can.
"""

from django.db import models
from django.db.models import Q

from tracker.states import PLAN, TASK

ID = 255  # longest identifier that is accepted from outside, in characters
TENANT = 64  # longest tenant or user id (the SDK's wire says so)


class Plan(models.Model):
    """A plan: one goal, its tasks, its state. `seq` is the head of its log, `version` counts its own transitions."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    user_id = models.CharField(max_length=TENANT, default="")
    plan_id = models.CharField(max_length=ID)
    state = models.CharField(max_length=20)
    version = models.PositiveIntegerField(default=0)
    seq = models.PositiveBigIntegerField(default=0)
    goal_event = models.CharField(max_length=ID, default="")
    goal_data = models.TextField(default="{}")
    response_event = models.CharField(max_length=ID, default="")
    correlation_id = models.CharField(max_length=ID, default="")
    session_id = models.CharField(max_length=ID, default="")
    parent_plan_id = models.CharField(max_length=ID, default="")
    trace_id = models.CharField(max_length=ID, default="")
    planner = models.CharField(max_length=ID, default="")  # name of the agent that owns the plan, when it is known
    current_state = models.CharField(max_length=ID, default="")  # of the agent's own state machine
    governed = models.BooleanField(
        default=False
    )  # a stored context says what state it is in; it never closes on its own
    closed_by = models.CharField(max_length=10, default="")  # "rule": on its own, "fact": somebody said so
    held = models.BooleanField(default=False)  # an operator's pause: requests wait until an operator ends it
    waiting_for = models.CharField(max_length=ID, default="")  # the event type that ends a pause
    told_at = models.DateTimeField(null=True)  # the sender's time of the newest fact about pausing or going on
    total_actions = models.PositiveIntegerField(null=True)
    error = models.TextField(default="")
    task_count = models.PositiveIntegerField(default=0)
    completed_tasks = models.PositiveIntegerField(default=0)
    failed_tasks = models.PositiveIntegerField(default=0)
    cancelled_tasks = models.PositiveIntegerField(default=0)
    unmatched = models.PositiveIntegerField(default=0)  # messages of the plan that still wait for their task
    goal_task = models.ForeignKey("Task", models.SET_NULL, null=True, related_name="sub_plans")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan_id", "workspace", "tenant_id"], name="plan_id_once_a_tenant"),
            models.CheckConstraint(condition=Q(state__in=PLAN.states), name="plan_state_known"),
        ]
        indexes = [
            models.Index(fields=["workspace", "id"], name="plan_by_age"),
            models.Index(fields=["workspace", "state", "id"], name="plan_by_state"),
            models.Index(fields=["workspace", "session_id"], name="plan_by_session", condition=~Q(session_id="")),
            models.Index(
                fields=["workspace", "parent_plan_id"], name="plan_by_parent", condition=~Q(parent_plan_id="")
            ),
            models.Index(
                fields=["workspace", "goal_event", "tenant_id", "id"], name="plan_done", condition=Q(state="completed")
            ),
        ]

    def __str__(self) -> str:
        return self.plan_id

    @property
    def open_tasks(self) -> int:
        """Tasks that have not ended."""
        return self.task_count - self.completed_tasks - self.failed_tasks - self.cancelled_tasks


class Task(models.Model):
    """A task of a plan.

    `agent` is the name of the agent that holds it, `agent_id` the instance; `position` the order of arrival.
    """

    plan = models.ForeignKey(Plan, models.CASCADE, related_name="tasks", db_index=False)
    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    task_id = models.CharField(max_length=ID)
    name = models.CharField(max_length=ID + 12)
    label = models.CharField(max_length=ID)  # the name without its number
    ordinal = models.PositiveIntegerField(default=1)  # the number among the plan's tasks of this label
    event_type = models.CharField(max_length=ID)
    state = models.CharField(max_length=20)
    version = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(default=1)
    given_up = models.PositiveIntegerField(default=0)  # the last attempt whose answer nobody waits for any more
    agent = models.CharField(max_length=ID, default="")
    agent_id = models.CharField(max_length=ID, default="")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="sub_tasks")
    position = models.PositiveIntegerField()
    correlation_id = models.CharField(max_length=ID, default="")
    response_event = models.CharField(max_length=ID, default="")
    request_event_id = models.CharField(max_length=ID, default="")
    digest = models.CharField(
        max_length=64, default=""
    )  # of the request's type and data: how a stored context finds it
    aliased = models.BooleanField(default=False)  # a stored task context already stands for it
    progress = models.FloatField(null=True)
    message = models.TextField(default="")
    stalled = models.BooleanField(default=False)
    stalled_reason = models.CharField(max_length=20, default="")  # of `tracker.liveness.REASONS`
    stalled_at = models.DateTimeField(null=True)
    timeout = models.FloatField(null=True)  # seconds that it may go without progress
    error = models.TextField(default="")
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task_id", "workspace", "tenant_id"], name="task_id_once_a_tenant"),
            models.UniqueConstraint(fields=["plan", "position"], name="task_position_once_a_plan"),
            models.CheckConstraint(condition=Q(state__in=TASK.states), name="task_state_known"),
        ]
        # No index has a column that changes with each move (state, version, updated_at): PostgreSQL then writes a row
        # anew in its place and leaves all indexes alone, for which the table keeps room on its pages (`fillfactor`).
        indexes = [
            models.Index(fields=["plan", "label", "ordinal"], name="task_by_label"),
            models.Index(fields=["correlation_id", "plan"], name="task_by_correlation"),
            models.Index(fields=["workspace", "agent", "created_at"], name="task_by_agent"),
            models.Index(fields=["workspace", "agent_id"], name="task_open_of_agent", condition=Q(ended_at=None)),
            models.Index(fields=["workspace", "id"], name="task_stalled", condition=Q(stalled=True)),
            models.Index(
                fields=["workspace", "digest"], name="task_open_for_alias", condition=Q(aliased=False, ended_at=None)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.task_id})"


class LogRow(models.Model):
    """One row of a plan's log, or a message that waits for its plan (`plan` and `seq` null).

    Messages are whatever came over the bus, once each; transitions and notes say what the ledger made of them, `data`
    holding the fields that changed on the subject (the task, or without one the plan), so that the rows alone rebuild
    the tables.
    """

    class Kind(models.TextChoices):
        """What a row tells."""

        MESSAGE = "message"
        TRANSITION = "transition"
        NOTE = "note"

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    user_id = models.CharField(max_length=TENANT, default="")
    # The database checks no keys here: each row would cost two look-ups, and only the ledger writes rows.
    plan = models.ForeignKey(Plan, models.CASCADE, null=True, related_name="log", db_index=False, db_constraint=False)
    seq = models.PositiveBigIntegerField(null=True)
    kind = models.CharField(max_length=10, choices=Kind)
    type = models.CharField(max_length=ID)
    event_id = models.CharField(max_length=ID, default="")
    task = models.ForeignKey(Task, models.SET_NULL, null=True, related_name="log", db_index=False, db_constraint=False)
    from_state = models.CharField(max_length=20, null=True)
    to_state = models.CharField(max_length=20, null=True)
    version = models.PositiveIntegerField(null=True)
    by = models.CharField(max_length=ID + 10)
    reason = models.TextField(default="")
    inferred = models.BooleanField(default=False)
    refused = models.BooleanField(default=False)
    topic = models.CharField(max_length=30, default="")
    source = models.CharField(max_length=ID, default="")
    correlation_id = models.CharField(max_length=ID, default="")
    parent_event_id = models.CharField(max_length=ID, default="")
    trace_id = models.CharField(max_length=ID, default="")
    occurred_at = models.DateTimeField()  # the sender's clock
    recorded_at = models.DateTimeField()  # ours
    data = models.TextField(default="{}")
    envelope = models.TextField(default="{}")  # what else the sender's envelope said
    task_ref = models.CharField(max_length=ID, default="")  # the id by which the message knows its task
    unmatched = models.BooleanField(default=False)  # its plan is known, its task is not yet
    handed_to = models.CharField(max_length=ID, default="")  # a request: the first agent name that was given it
    handed_id = models.CharField(max_length=ID, default="")  # and its instance
    handed_at = models.DateTimeField(null=True)
    attempt = models.PositiveIntegerField(default=1)  # a request: the attempt that it is handed over for

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "seq"], name="log_seq_once_a_plan"),
            models.UniqueConstraint(
                fields=["event_id", "source", "tenant_id", "workspace"],
                name="log_message_once",
                condition=Q(kind="message"),
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "correlation_id"], name="log_unplaced", condition=Q(plan=None)),
            models.Index(fields=["workspace", "task_ref"], name="log_unplaced_ref", condition=Q(plan=None)),
            models.Index(fields=["plan", "correlation_id"], name="log_unmatched", condition=Q(unmatched=True)),
            models.Index(fields=["plan", "task_ref"], name="log_unmatched_ref", condition=Q(unmatched=True)),
            models.Index(fields=["task", "seq"], name="log_of_task"),
            models.Index(
                fields=["workspace", "id"], name="log_requests", condition=Q(kind="message", topic="action-requests")
            ),
            models.Index(
                fields=["workspace", "id"], name="log_results", condition=Q(kind="message", topic="action-results")
            ),
            models.Index(fields=["task"], name="log_of_stalls", condition=Q(type="task.stalled")),
            models.Index(
                fields=["workspace", "type", "id"],
                name="log_requests_waiting",
                condition=Q(kind="message", topic="action-requests", handed_to=""),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id}#{self.seq} {self.kind} {self.type}"


class Link(models.Model):
    """How a message that names no plan finds it.

    By a correlation id, by a stored task context, or by a delegated sub-task id.

    - correlation: `key` -> plan
    - context: `key` is the task id inside a stored task context -> the task that it stands for
    - subtask: `key` is a delegated sub-task's id -> the parent task (`task`), by way of the context `context_key`
    - goal: `key` is the correlation of a request that nobody need answer -> its task; a plan of that id carries it out
    """

    class Kind(models.TextChoices):
        """What the key is."""

        CORRELATION = "correlation"
        CONTEXT = "context"
        SUBTASK = "subtask"
        GOAL = "goal"

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    kind = models.CharField(max_length=12, choices=Kind)
    key = models.CharField(max_length=ID)
    plan = models.ForeignKey(Plan, models.CASCADE, null=True, related_name="links")
    task = models.ForeignKey(Task, models.CASCADE, null=True, related_name="links")
    context_key = models.CharField(max_length=ID, default="")
    group_id = models.CharField(max_length=ID, default="")
    done = models.BooleanField(default=False)  # the context that named it says that it is completed
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "key", "kind", "tenant_id"], name="link_once"),
        ]
        indexes = [
            models.Index(fields=["workspace", "group_id"], name="link_of_group", condition=~Q(group_id="")),
            models.Index(fields=["workspace", "context_key"], name="link_of_context", condition=~Q(context_key="")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"
