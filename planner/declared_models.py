"""Declared plans: what the server itself runs."""

from django.db import models

from tracker.models import ID


class DeclaredPlan(models.Model):
    """The definition of a plan that the server runs, as it came, and where its machine stands (`planner.machine.Run`).

    It changes under the lock of its plan only, in the transaction of what moved it.
    """

    plan = models.OneToOneField("tracker.Plan", models.CASCADE, related_name="declared")
    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False, related_name="+")
    goal = models.CharField(max_length=ID)
    definition = models.TextField()
    run = models.TextField(default="{}")
    key = models.CharField(max_length=ID, default="")  # Idempotency-Key of the request that made it
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["workspace", "goal", "id"], name="declared_by_goal")]

    def __str__(self) -> str:
        return f"{self.goal} ({self.plan_id})"
