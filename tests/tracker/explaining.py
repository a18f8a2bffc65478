"""Plans that go wrong, and what of their story the tests look at."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.tracker.factories import plan_of
from tests.tracker.runs import unique
from tracker.changes import Change, Outcome, PlanMove, TaskMove
from tracker.explain import explain
from tracker.known import scope_of
from tracker.ledger import register_change
from tracker.projections.evidence import evidence_of

START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Mark(Change):
    """Marks a task as stalled, or takes the mark back, as whoever watches over agents does."""

    task_id: str
    stalled: bool = True
    reason: str = "the connection of its agent was lost"


def _mark(world, change):
    task = world.task(scope_of(change), change.task_id)
    kind = "task.stalled" if change.stalled else "task.alive"
    world.note(world.plans[task.plan_id], task, by="system", type=kind, reason=change.reason, stalled=change.stalled)
    return Outcome("recorded")


register_change(Mark, _mark)


def story(run, plan_id):
    return explain(evidence_of(plan_of(run, plan_id)))


def first(told):
    """The first bad transition in short: (kind, task, agent, attempt, error)."""
    root = told["root"]
    return root and tuple(root[name] for name in ("kind", "task", "agent", "attempt", "error"))


def followed(told):
    """What came of it: {(what, name): count}."""
    return {(one["what"], one["name"]): one["count"] for one in told["consequences"]["items"]}


def waiting(told):
    """What waits now: {(kind, name): count}."""
    return {(one["kind"], one["name"]): one["count"] for one in told["waits"]["items"]}


def at(second):
    return START + timedelta(seconds=second)


def fails(run, plan_id, task_id, error="", source="parts-worker", **envelope):
    said = {"task_id": task_id, "status": "failed"} | ({"error": error} if error else {})
    envelope = {"correlation_id": task_id, "plan_id": plan_id} | envelope
    return run.say("action-results", "parts.check.failed", said, source=source, **envelope)


def fan_out(run, subs=4):
    """A plan whose first task delegates to sub-tasks; gives the plan's id, the task's and theirs."""
    plan_id, (task_id,) = run.plan()
    names = [f"{plan_id}-sub-{number}" for number in range(subs)]
    run.delegate(plan_id, task_id, names, group=unique("group"))
    return plan_id, task_id, names


def retry(run, task_id):
    assert run.move(task_id, "pending", reason="again").result == "recorded"


def moved_by(run, task_id, *, by, reason, error="", to="failed"):
    return TaskMove(
        workspace_id=run.workspace.pk, tenant_id=run.tenant, by=by, task_id=task_id, to=to, reason=reason, error=error
    )


def cancel(run, plan_id, reason):
    return PlanMove(
        workspace_id=run.workspace.pk, tenant_id=run.tenant, by="user:alice", plan_id=plan_id, to="cancelled",
        reason=reason,
    )  # fmt: skip
