"""Tables of kept counts of tasks; see `tracker.rollups`. They can be thrown away: all is counted again."""

from django.db import models

from tracker.models.plans import ID, TENANT


class Rollup(models.Model):
    """A cell: the tasks of one name that were created within one hour, out of one block of tasks.

    `hour` counts hours, `first` and `last` (when they were created) microseconds since 1970.
    """

    class Kind(models.TextChoices):
        """By what is counted."""

        AGENT = "agent"  # name: of the agent
        INSTANCE = "instance"  # name: of the agent; instance: its id
        TASK_TYPE = "task_type"  # name: the event type
        GOAL = "goal"  # name: the goal of the plan

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_constraint=False, db_index=False)
    tenant_id = models.CharField(max_length=TENANT)
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=ID)
    instance = models.CharField(max_length=ID, default="")
    hour = models.IntegerField()
    block = models.BigIntegerField(db_index=True)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    pending = models.IntegerField(default=0)
    running = models.IntegerField(default=0)
    delegated = models.IntegerField(default=0)
    waiting = models.IntegerField(default=0)
    in_review = models.IntegerField(default=0)
    awaiting_approval = models.IntegerField(default=0)
    completed = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    cancelled = models.IntegerField(default=0)
    retries = models.IntegerField(default=0)
    stalled = models.IntegerField(default=0)
    stalls = models.IntegerField(default=0)
    work_us = models.BigIntegerField(default=0)
    worked = models.IntegerField(default=0)  # values in `work`
    queued = models.IntegerField(default=0)  # values in `queue`
    work = models.BinaryField(default=b"")  # sorted milliseconds, see `tracker.tallies.pack`
    queue = models.BinaryField(default=b"")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "kind", "name", "instance", "hour", "block", "tenant_id"], name="rollup_once"
            ),
        ]
        indexes = [models.Index(fields=["workspace", "kind", "hour"], name="rollup_by_hour")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.hour}/{self.block}"


class RollupDue(models.Model):
    """A block of tasks that has to be counted (again): some of them changed since."""

    block = models.BigIntegerField(primary_key=True)
    touched_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.block)


class RollupHead(models.Model):
    """How far the log has been looked through for changed tasks, and the newest task that is known. One row."""

    log = models.BigIntegerField(default=0)
    task = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"log {self.log}, task {self.task}"
