"""Workers, time that passes and marks, for tests of what stalls."""

from datetime import UTC, datetime, timedelta

from tests.tracker.factories import task_of
from tests.tracker.runs import unique
from tracker import deadlines
from tracker.changes import Connected, Disconnected, Handover, Heartbeat, Registered
from tracker.models import Deadline, LogRow, Presence, QueueGroup

NAME = "parts-worker"


class Worker:
    """An instance of an agent, as the server's bus and registry tell the ledger of it."""

    def __init__(self, run, agent_id=None, name=NAME):
        self.run, self.name, self.agent_id = run, name, agent_id or unique("w")
        self.group, _ = QueueGroup.objects.get_or_create(
            workspace=run.workspace, name=name, tenant_id=run.tenant, defaults={"seen_at": datetime.now(UTC)}
        )
        run.agent(name, self.agent_id, tenant_id=run.tenant)

    def tell(self, kind, **fields):
        return self.run.record(self.run.change(kind, agent_id=self.agent_id, **fields))[0]

    def register(self):
        self.heard(datetime.now(UTC))
        self.tell(Registered, name=self.name)
        return self

    def connect(self, stream="stream-1", process=1):
        self.tell(Connected, name=self.name, connection=stream, process=process)
        return self

    def leave(self, stream="stream-1", heir=""):
        return self.tell(Disconnected, connection=stream, heir=heir)

    def beat(self):
        self.heard(datetime.now(UTC))
        self.tell(Heartbeat)

    def heard(self, at):
        self.run.workspace.agent_set.filter(agent_id=self.agent_id).update(heartbeat_at=at)

    def take(self, *task_ids):
        rows = LogRow.objects.filter(workspace=self.run.workspace, kind="message", task__task_id__in=task_ids)
        keys = list(rows.filter(topic="action-requests").order_by("id").values_list("id", flat=True))
        more = {"row_ids": keys, "name": self.name, "group_id": self.group.pk, "cursor": keys[-1]}
        self.tell(Handover, **more)

    @property
    def presence(self):
        return Presence.objects.get(workspace=self.run.workspace, agent_id=self.agent_id)


def pass_time(run, seconds):
    """Let this much time pass for all deadlines, and act on those that have come, until none is left."""
    past = timedelta(seconds=seconds)
    for one in Deadline.objects.all():
        Deadline.objects.filter(pk=one.pk).update(due_at=one.due_at - past)
    for one in Presence.objects.filter(workspace=run.workspace):
        moments = ("registered_at", "connected_at", "lost_at", "silent_at")
        shifted = {name: at - past for name in moments if (at := getattr(one, name))}
        Presence.objects.filter(pk=one.pk).update(**shifted)
    for one in run.workspace.agent_set.all():
        run.workspace.agent_set.filter(pk=one.pk).update(heartbeat_at=one.heartbeat_at - past)
    for one in run.workspace.task_set.all():
        run.workspace.task_set.filter(pk=one.pk).update(updated_at=one.updated_at - past)
    while some := deadlines.overdue(datetime.now(UTC)):
        run.record(*some)


def stall(run, task_id):
    """Why a task has stalled, empty when it has not."""
    task = task_of(run, task_id)
    assert task.stalled == bool(task.stalled_reason) == (task.stalled_at is not None)
    return task.stalled_reason


def marks(run, task_id):
    rows = task_of(run, task_id).log.filter(type__in=("task.stalled", "task.alive")).order_by("seq")
    return [(row.type, row.reason) for row in rows]
