"""What leaves the server for people's own systems: webhook endpoints and their deliveries, and e-mail.

A delivery or a mail is written in the transaction of what it tells (an outbox), with a deadline that makes it leave.
"""

from django.db import models

from tracker.models import ID, TENANT

PUBLIC_ID = 40  # of an endpoint or a message, in characters
URL = 2000


class WebhookEndpoint(models.Model):
    """Where a workspace, or one tenant of it (`tenant_id`, else empty), wants to be told of events.

    `secret` and, for a while after a rotation, `old_secret` sign what is sent, so they are kept as they are. `given_up`
    counts the deliveries given up in a row; one that arrives sets it back.
    """

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="+")
    tenant_id = models.CharField(max_length=TENANT, default="")
    webhook_id = models.CharField(max_length=PUBLIC_ID, unique=True)
    url = models.CharField(max_length=URL)
    description = models.CharField(max_length=ID, default="")
    events = models.TextField(default="[]")  # JSON list of event types
    secret = models.CharField(max_length=100)
    old_secret = models.CharField(max_length=100, default="")
    old_secret_until = models.DateTimeField(null=True)
    enabled = models.BooleanField(default=True)
    disabled_why = models.TextField(default="")  # by the server; empty when a person did it
    given_up = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=ID)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.url


class WebhookDelivery(models.Model):
    """One event for one endpoint. `message_id` is the same at every try: the receiver knows what it has already.

    `tries`: JSON list of what came of each try, oldest first: {at, status, code, ms, response, reason}.
    """

    class State(models.TextChoices):
        """What has become of it. Refused: this server does not send there."""

        PENDING = "pending"
        DELIVERED = "delivered"
        FAILED = "failed"
        REFUSED = "refused"

    endpoint = models.ForeignKey(WebhookEndpoint, models.CASCADE, related_name="deliveries", db_index=False)
    message_id = models.CharField(max_length=PUBLIC_ID, unique=True)
    event = models.CharField(max_length=40)
    plan_id = models.CharField(max_length=ID, default="")
    body = models.TextField()
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    try_count = models.PositiveIntegerField(default=0)  # in this round; a resend begins another
    tries = models.TextField(default="[]")
    next_try_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "webhook deliveries"
        indexes = [models.Index(fields=["endpoint", "id"], name="delivery_newest")]

    def __str__(self) -> str:
        return self.message_id


class Mail(models.Model):
    """One e-mail to one person, until it has been sent."""

    to = models.EmailField()
    subject = models.CharField(max_length=200)
    body = models.TextField()
    try_count = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "mail"

    def __str__(self) -> str:
        return self.subject
