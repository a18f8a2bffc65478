"""What is watched over: deadlines, failures, what is done about tasks that stall, and who may open a live socket."""

from django.db import models

from tracker.models.plans import ID, TENANT, Plan, Task


class Deadline(models.Model):
    """A moment at which `kind` is due of `subject`, a primary key (see `tracker.deadlines`)."""

    kind = models.CharField(max_length=30)
    subject = models.BigIntegerField()
    due_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject", "kind"], name="deadline_once")]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Failure(models.Model):
    """A failure of a task, once for each attempt that failed, or of a plan that somebody ended as failed (no task).

    Failures of one kind have one fingerprint (see `tracker.fingerprints`).
    """

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    plan = models.ForeignKey(Plan, models.CASCADE, related_name="failures", db_index=False)
    task = models.ForeignKey(Task, models.CASCADE, null=True, related_name="failures")
    seq = models.PositiveBigIntegerField()  # of the row of the plan's log that tells it
    attempt = models.PositiveIntegerField(null=True)
    agent = models.CharField(max_length=ID, default="")
    type = models.CharField(max_length=ID)  # the task's event type, or the plan's goal
    fingerprint = models.CharField(max_length=16)
    error_type = models.CharField(max_length=100)
    message = models.TextField()  # without what differs each time
    error = models.TextField()  # the beginning of the text as it came
    failed_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["plan", "seq"], name="failure_once")]
        indexes = [
            models.Index(fields=["workspace", "failed_at"], name="failure_by_time"),
            models.Index(fields=["workspace", "fingerprint", "id"], name="failure_by_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.fingerprint}"


class Policy(models.Model):
    """What a workspace wants done with tasks that stall, and how long they may take (see `tracker.policies`)."""

    class Action(models.TextChoices):
        """What is done."""

        TELL = "tell"
        RETRY = "retry"
        FAIL = "fail"
        ASK = "ask"

    class Late(models.TextChoices):
        """What becomes of results of attempts that were given up on."""

        REFUSE = "refuse"
        ACCEPT = "accept"

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    position = models.PositiveIntegerField(default=0)  # the first that fits applies
    task_type = models.CharField(max_length=ID, default="*")  # patterns with * and ?
    goal = models.CharField(max_length=ID, default="*")
    timeout = models.FloatField(null=True)  # seconds without progress
    action = models.CharField(max_length=10, choices=Action, default=Action.TELL)
    attempts = models.PositiveIntegerField(default=3)
    backoff = models.FloatField(default=1.0)  # seconds
    then = models.CharField(max_length=10, choices=Action, default=Action.TELL)
    late = models.CharField(max_length=10, choices=Late, default=Late.REFUSE)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "policies"
        indexes = [models.Index(fields=["workspace", "position", "id"], name="policy_in_order")]

    def __str__(self) -> str:
        return f"{self.task_type} of {self.goal}: {self.action}"


class LiveTicket(models.Model):
    """Opens one live socket, once, as the key or the member that asked for it; stored as a digest only."""

    digest = models.CharField(max_length=64, unique=True)
    key = models.ForeignKey("accounts.ApiKey", models.CASCADE, null=True, related_name="+")
    membership = models.ForeignKey("accounts.Membership", models.CASCADE, null=True, related_name="+")
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"ticket {self.pk}"
