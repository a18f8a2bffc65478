"""What the tracker knows, by subject. Django looks for models here."""

from tracker.models.agents import Agent, EventDefinition, PayloadSchema, Presence, QueueGroup
from tracker.models.plans import ID, TENANT, Link, LogRow, Plan, Task
from tracker.models.rollups import Rollup, RollupDue, RollupHead
from tracker.models.watch import Deadline, Failure, LiveTicket, Policy

__all__ = [
    "ID",
    "TENANT",
    "Agent",
    "Deadline",
    "EventDefinition",
    "Failure",
    "Link",
    "LiveTicket",
    "LogRow",
    "PayloadSchema",
    "Plan",
    "Policy",
    "Presence",
    "QueueGroup",
    "Rollup",
    "RollupDue",
    "RollupHead",
    "Task",
]
