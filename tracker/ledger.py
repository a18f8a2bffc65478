"""The one path of a change: everything that changes a plan or a task goes through `record`, in one transaction a batch.

1 read and lock the plans concerned; 2 drop what is already recorded; 3 read tasks and links, once; 4 change after
change, ask the state table (`tracker.rules`); 5 follow-on rules; 6 append log rows, seq = the plan's head + 1; 7
write set-based; 8 give back what the bus and the push need. Rules of other packages join in by `register_rule`.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from django.db import IntegrityError, OperationalError, transaction

from tracker import closing, contexts, deadlines, liveness, locks, moves, presence, remedies, reports, rules, sql
from tracker.changes import (
    Batch,
    Change,
    Connected,
    ContextStored,
    Delivery,
    Disconnected,
    Due,
    Handover,
    Heartbeat,
    Journal,
    Message,
    Outcome,
    PlanFiled,
    PlanMove,
    PoliciesSet,
    Progress,
    Reconcile,
    Recorded,
    Registered,
    ServerBegins,
    ServerLives,
    TaskContextStored,
    TaskMove,
)
from tracker.known import Scope, scope_of
from tracker.linking import Heard, named_plan, named_tasks, word
from tracker.projections.rows import public_row
from tracker.records import RowRecord
from tracker.wire import delivery, heard_of
from tracker.world import Stale, World

log = logging.getLogger(__name__)
Rule = Callable[[World], None]
C = TypeVar("C", bound=Change)
TRIES = 5  # for batches that lost a race with another process

_MEANING: dict[type[Change], Callable[[World, Any], Outcome]] = {
    Message: rules.message,
    Handover: moves.handover,
    PlanFiled: contexts.plan_filed,
    ContextStored: contexts.context_stored,
    TaskContextStored: contexts.task_context_stored,
    TaskMove: reports.task_move,
    Journal: reports.journal,
    Reconcile: reports.reconcile,
    Progress: reports.progress,
    PlanMove: moves.plan_move,
    Due: deadlines.due,
    Connected: presence.connected,
    Disconnected: presence.disconnected,
    Registered: presence.registered,
    Heartbeat: presence.heartbeat,
    ServerBegins: presence.server_begins,
    ServerLives: presence.server_lives,
    PoliciesSet: lambda world, change: Outcome("recorded"),
}
_rules: list[Rule] = [liveness.sub_tasks_moved, remedies.follow, closing.settle]
_witnesses: list[Rule] = []


def register_change(kind: type[C], meaning: Callable[[World, C], Outcome]) -> None:
    """Add a kind of change; `meaning` runs inside the batch's transaction and says what came of it."""
    _MEANING[kind] = meaning


def register_rule(rule: Rule) -> None:
    """Add a follow-on rule; it runs at the end of each batch, inside its transaction, before plans are closed."""
    _rules.insert(-1, rule)


def register_witness(rule: Rule) -> None:
    """Add a rule that only looks: it runs last in each batch, when plans are closed, and changes no plan or task."""
    _witnesses.append(rule)


def record(changes: Sequence[Change]) -> Batch:
    """Record changes in order, all in one transaction, and say what came of each.

    Raises what the database raises when it cannot commit: then nothing at all was recorded. A change that the state
    table refuses is an outcome, not an error.
    """
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic():
                return _record(changes)
        except (Stale, IntegrityError, OperationalError) as error:
            if not left or not _lost_race(error):
                raise
            log.info("batch of %d tried again: %s", len(changes), type(error).__name__)
    raise AssertionError("unreachable")


def _lost_race(error: Exception) -> bool:
    """Whether trying again can help: another process was faster, or two waited for each other."""
    if isinstance(error, OperationalError):
        return getattr(error.__cause__, "sqlstate", None) in {"40P01", "40001"}
    return sql.on_postgresql()


def _record(changes: Sequence[Change]) -> Batch:
    world = World(datetime.now(UTC))
    messages = [c for c in changes if isinstance(c, Message)]
    world.cursors = locks.groups(c.group_id for c in changes if isinstance(c, Handover))
    prefetch(world, messages)
    moved = [c for c in changes if isinstance(c, PlanMove)]
    world.load_plans({scope_of(c) for c in moved}, {c.plan_id for c in moved})
    hold(world, changes)
    look_ahead(world, messages)
    known = recorded_before(messages)
    deadlines.take(world, [c for c in changes if isinstance(c, Due)])
    outcomes = [_apply(world, change, known) for change in changes]
    for rule in (*_rules, *_witnesses):
        rule(world)
    world.flush()
    return _batch(world, outcomes)


def _apply(world: World, change: Change, known: dict[tuple[Scope, str, str], Outcome]) -> Outcome:
    if isinstance(change, Message):
        key = ((change.workspace_id, change.tenant_id), change.envelope.source, change.envelope.id)
        if first := known.get(key):
            return Outcome("duplicate", first.event_id, first.plan_id, first.task_id, first.seq, first.detail)
        known[key] = outcome = rules.message(world, change)
        return outcome
    value = change.write() if change.write else None
    outcome = _MEANING[type(change)](world, change)
    if change.write:
        outcome.value = value
    return outcome


def prefetch(world: World, messages: Sequence[Message]) -> None:
    """Read what the messages name, each table with one query for the whole batch."""
    if not messages:
        return
    heard = [(c, heard_of(c)) for c in messages]
    scopes = {(c.workspace_id, c.tenant_id) for c in messages}
    plans = {i for _, h in heard for i in (h.plan_id, word(h.data, "plan_id"), h.correlation_id)}
    world.load_plans(scopes, plans)
    world.load_tasks(scopes, {i for _, h in heard for i in (*named_tasks(h), h.event_id if h.is_request else "")})
    searching = [h for c, h in heard if not _settled(world, scope_of(c), h)]
    world.load_links(scopes, {i for h in searching for i in (h.correlation_id, word(h.data, "task_id"))})
    homeless = [h for _, h in heard if h.awaits_task and not named_plan(h)]
    world.load_correlated(scopes, {h.correlation_id for h in homeless})


def _settled(world: World, scope: Scope, heard: Heard) -> bool:
    """Whether a fact about a task names its plan and its task, and both are there: no link is needed then."""
    plan = world.plan(scope, named_plan(heard)) if heard.is_task_fact else None
    return plan is not None and any(
        (task := world.task(scope, key)) and task.plan_id == plan.id for key in named_tasks(heard)
    )


def look_ahead(world: World, messages: Sequence[Message]) -> None:
    """Read what requests and results look for, each with one query for the whole batch.

    Answers that overtook the requests and found no plan, and the open tasks that results may be meant for.
    """
    scopes = {scope_of(c) for c in messages}
    heard = [(scope_of(c), heard_of(c)) for c in messages]
    world.load_loose(scopes, {i for _, h in heard if h.is_request for i in (*named_tasks(h), h.event_id)})
    results = [(scope, h) for scope, h in heard if h.is_result and not _names_a_task(world, scope, h)]
    if len(results) > 1:  # one alone asks for just what it needs
        plans = [(rules.known_plan(world, scope, h, named_plan(h)), h) for scope, h in results]
        world.load_open({(plan.id, h.correlation_id) for plan, h in plans if plan})


def _names_a_task(world: World, scope: Scope, heard: Heard) -> bool:
    return any(world.task(scope, word(heard.data, name)) for name in ("action_id", "task_id"))


def hold(world: World, changes: Sequence[Change]) -> None:
    """On PostgreSQL, lock the correlations of what has no plan yet, and of what makes plans and links.

    Then look again.
    """
    if not sql.on_postgresql():
        return
    keys: dict[Scope, set[str]] = {}
    for change in changes:
        keys.setdefault((change.workspace_id, change.tenant_id), set()).update(_unsettled(world, change))
    # All at once: the locks of one batch are taken in one order, whatever scopes it is of.
    locks.keys(f"{scope[0]}/{scope[1]}/{name}" for scope, names in keys.items() for name in names)
    for scope, names in keys.items():
        world.forget_missing([scope], names)
    prefetch(world, [c for c in changes if isinstance(c, Message)])


def _unsettled(world: World, change: Change) -> set[str]:
    """The keys by which this change and a plan still have to find each other."""
    scope = change.workspace_id, change.tenant_id
    match change:
        case Message():
            heard = heard_of(change)
            name = named_plan(heard)
            known = rules.known_plan(world, scope, heard, name)
            if known:  # then only a request still meets others: answers that name nothing but its ids
                return {*named_tasks(heard), heard.event_id} - {known.plan_id} if heard.is_request else set()
            return {name or heard.correlation_id, *named_tasks(heard)}
        case PlanFiled():
            return {change.plan_id}
        case ContextStored():
            return {change.plan_id, change.correlation_id or "", *change.correlation_ids} - {""}
        case TaskContextStored():
            return {change.task_id, *(sub.sub_task_id for sub in change.sub_tasks)}
    return set()


def recorded_before(messages: Sequence[Message]) -> dict[tuple[Scope, str, str], Outcome]:
    """First outcomes of the messages that are in the log already, by scope, source and event id."""
    if not messages:
        return {}
    where, values = sql.among({"r.event_id": {c.envelope.id for c in messages}})
    query = f"""
        SELECT r.workspace_id, r.tenant_id, r.source, r.event_id, p.plan_id, t.task_id, r.seq, r.reason
        FROM tracker_logrow r LEFT JOIN tracker_plan p ON p.id = r.plan_id LEFT JOIN tracker_task t ON t.id = r.task_id
        WHERE {where} AND r.kind = 'message'"""
    return {
        ((w, tenant), source, event): Outcome("recorded", event, plan or "", task or "", seq, reason)
        for w, tenant, source, event, plan, task, seq, reason in sql.rows(query, values)
    }


def _batch(world: World, outcomes: list[Outcome]) -> Batch:
    """What the world beyond the transaction needs to hear, made when somebody listens: most of it nobody hears."""
    rows = [*world.rows, *world.placed_rows]
    for row in rows:
        world.task_by_key(row.task_id)  # read here if it has to be: who listens has no transaction
    return Batch(
        outcomes,
        partial(_rows_of, world),
        partial(_messages_of, world),
        row_count=len(rows),
        plan_count=len({row.plan_id for row in rows}),
        head=world.rows[0].id if world.rows else 0,
        due_at=min(filter(None, world.deadlines.values()), default=None),
    )


def _rows_of(world: World) -> list[Recorded]:
    rows = sorted([*world.rows, *world.placed_rows], key=lambda row: (row.plan_id or 0, row.seq or 0))
    return [_recorded(world, row) for row in rows]


def _messages_of(world: World) -> list[Delivery]:
    deliveries = [delivery(row) for row in world.rows if row.kind == "message"]
    return deliveries + [delivery(row, again=True) for row in world.asked_again]


def _recorded(world: World, row: RowRecord) -> Recorded:
    plan = world.plans[row.plan_id] if row.plan_id else None
    task = world.task_by_key(row.task_id)
    public = partial(public_row, row, task.task_id if task else None)
    return Recorded(row.id, row.workspace_id, row.tenant_id, row.plan_id, plan.plan_id if plan else "", public)
