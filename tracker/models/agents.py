"""What the registry and the bus know of agents."""

from django.db import models
from django.db.models import Q

from tracker.models.plans import ID, TENANT


class Agent(models.Model):
    """One registered instance of an agent.

    `name` is verbatim (`parts-worker:0.1.0`), `base_name` without the version.
    """

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    tenant_id = models.CharField(
        max_length=TENANT, default=""
    )  # of the key that registered it; empty: the whole workspace
    agent_id = models.CharField(max_length=ID)
    name = models.CharField(max_length=ID)
    base_name = models.CharField(max_length=ID)
    description = models.TextField(default="")
    capabilities = models.TextField(default="[]")  # JSON, as it came
    consumed_events = models.TextField(default="[]")  # JSON list of event types
    produced_events = models.TextField(default="[]")  # JSON list of event types
    registered_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    signed_off_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "agent_id", "tenant_id"], name="agent_id_once_a_workspace"),
        ]
        indexes = [models.Index(fields=["workspace", "base_name"], name="agent_by_name")]

    def __str__(self) -> str:
        return self.agent_id


class Presence(models.Model):
    """Whether an instance of a registered agent is there: what its connection, registrations and heartbeats say.

    A life begins with a registration: whoever registers under the id of one that is gone knows nothing of its work.
    """

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    tenant_id = models.CharField(max_length=TENANT, default="")  # of its key; empty: the whole workspace
    agent_id = models.CharField(max_length=ID)
    name = models.CharField(max_length=ID)
    life = models.PositiveIntegerField(default=1)
    connection = models.CharField(max_length=36, default="")  # id of its newest event stream; empty: it has none
    process = models.BigIntegerField(default=0)  # the server process that serves it
    registered_at = models.DateTimeField(null=True)
    connected_at = models.DateTimeField(null=True)
    lost_at = models.DateTimeField(null=True)  # the end of its last stream
    beats = models.BooleanField(default=False)  # it has sent heartbeats, so silence means something
    silent_at = models.DateTimeField(null=True)  # its heartbeats have stopped

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "agent_id", "tenant_id"], name="presence_once_a_workspace"),
        ]
        indexes = [
            models.Index(fields=["process"], name="presence_by_process", condition=~Q(connection="")),
        ]

    def __str__(self) -> str:
        return self.agent_id


class QueueGroup(models.Model):
    """An agent name that the registry has seen: what it listened to last, and how far it has been served.

    The cursors are ids of log rows: what lies behind them and fits the group waits while no instance of it is
    connected.
    """

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    tenant_id = models.CharField(max_length=TENANT, default="")  # of the key; empty: the whole workspace
    name = models.CharField(max_length=ID)
    topics = models.TextField(default="[]")  # JSON list of the topic patterns of its last connection
    requests_cursor = models.PositiveBigIntegerField(default=0)
    results_cursor = models.PositiveBigIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name", "tenant_id"], name="group_once_a_workspace"),
        ]

    def __str__(self) -> str:
        return self.name


class EventDefinition(models.Model):
    """An event type that agents registered, with its topic; `definition` is the JSON that came."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    name = models.CharField(max_length=ID)
    topic = models.CharField(max_length=ID)
    definition = models.TextField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name", "topic"], name="event_once_a_topic"),
        ]

    def __str__(self) -> str:
        return self.name


class PayloadSchema(models.Model):
    """A JSON Schema that agents registered under a name and a version; `definition` is the JSON that came."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, db_index=False)
    name = models.CharField(max_length=ID)
    version = models.CharField(max_length=ID)
    owner_agent_id = models.CharField(max_length=ID, default="")
    definition = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "name", "version"], name="schema_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
