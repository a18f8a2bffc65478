"""What tests of the ledger look at: plans as they stand in the tables, and whether the log says the same."""

from collections import defaultdict

from tracker.models import Link, LogRow, Plan, Task
from tracker.projections import replay
from tracker.projections.rows import moment
from tracker.states import TASK

# Columns that the log names only once they change.
_DEFAULTS = {"governed": False, "closed_by": "", "held": False, "waiting_for": ""}
# Columns that the log does not tell: keys, and how messages are matched.
_NOT_IN_THE_LOG = {
    Plan: {"id", "workspace", "tenant_id", "plan_id", "told_at", "unmatched", "updated_at", "goal_task"},
    Task: {
        "id", "workspace", "tenant_id", "plan", "task_id", "label", "ordinal", "correlation_id", "response_event",
        "request_event_id", "digest", "aliased", "parent", "updated_at",
    },
}  # fmt: skip


def plan_of(run, plan_id):
    return Plan.objects.get(workspace=run.workspace, tenant_id=run.tenant, plan_id=plan_id)


def task_of(run, task_id):
    return Task.objects.select_related("plan", "parent").get(
        workspace=run.workspace, tenant_id=run.tenant, task_id=task_id
    )


def states(run, plan_id):
    """{task name: state} of a plan."""
    return dict(plan_of(run, plan_id).tasks.order_by("position").values_list("name", "state"))


def picture(run, plan_id):
    """What must not depend on the order of messages: the plan's state, its counts, its tasks' states by name."""
    plan = plan_of(run, plan_id)
    counts = (plan.task_count, plan.completed_tasks, plan.failed_tasks, plan.cancelled_tasks)
    return {"plan": plan.state, "counts": counts, "tasks": states(run, plan_id)}


def log(run, plan_id):
    return list(plan_of(run, plan_id).log.select_related("task").order_by("seq"))


def told(run, plan_id, **wanted):
    """The rows of a plan's log with these values, in short: (type, from, to, inferred)."""
    rows = plan_of(run, plan_id).log.filter(**wanted).order_by("seq")
    return list(rows.values_list("type", "from_state", "to_state", "inferred"))


def moves(run, task_id):
    """The states that a task has gone through, `(state)` where nobody reported it."""
    rows = task_of(run, task_id).log.filter(kind="transition").order_by("seq")
    return [f"({row.to_state})" if row.inferred else row.to_state for row in rows]


def plan_moves(run, plan_id):
    rows = plan_of(run, plan_id).log.filter(kind="transition", task=None).order_by("seq")
    return [f"({row.to_state})" if row.inferred else row.to_state for row in rows]


def everything(workspace):
    """Every row that the ledger keeps for a workspace, to see that nothing has changed."""
    return {
        model.__name__: list(model.objects.filter(workspace=workspace).order_by("pk").values())
        for model in (Plan, Task, LogRow, Link)
    }


def assert_log_tells_all(workspace):
    """Of each plan: seq is 1, 2, 3 ..., each subject's versions too, and folding the rows gives the tables."""
    for plan in Plan.objects.filter(workspace=workspace).select_related("goal_task"):
        rows = list(plan.log.order_by("seq").values_list("seq", "task_id", "version"))
        assert [seq for seq, _, _ in rows] == list(range(1, plan.seq + 1))
        versions = defaultdict(list)
        for _, task, version in rows:
            if version is not None:
                versions[task].append(version)
        assert all(found == list(range(1, len(found) + 1)) for found in versions.values())
        state = replay.replay(replay.steps_of(plan))
        columns = _plan_columns(plan)
        assert {name: (_DEFAULTS | state.plan).get(name) for name in columns} == columns
        tasks = {task.task_id: _task_columns(task) for task in plan.tasks.select_related("parent")}
        assert {key: {name: of[name] for name in tasks[key]} for key, of in state.tasks.items()} == tasks
        assert plan.unmatched == plan.log.filter(unmatched=True).count()


def _columns(row):
    names = [field.name for field in row._meta.concrete_fields if field.name not in _NOT_IN_THE_LOG[type(row)]]
    values = {name: getattr(row, name) for name in names}
    return {name: moment(value) if name.endswith("_at") else value for name, value in values.items()}


def _plan_columns(plan):
    return _columns(plan) | {"goal_task": plan.goal_task.task_id if plan.goal_task else None}


def _task_columns(task):
    return _columns(task) | {"parent_task_id": task.parent.task_id if task.parent else None}


def counts_of(run, plan_id):
    """The plan's counters, counted again from its tasks."""
    found = list(plan_of(run, plan_id).tasks.values_list("state", flat=True))
    return (len(found), *(found.count(state) for state in ("completed", "failed", "cancelled")))


def open_tasks(run):
    return Task.objects.filter(workspace=run.workspace, state__in=TASK.open_states).count()
