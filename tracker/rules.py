"""What each kind of change means for plans and tasks. Called by the ledger inside its transaction, change after change.

Every rule asks the state table. What a message proves but nobody reported is walked and marked inferred; what the table does not
allow leaves the message in the log, marked refused, and changes nothing.
"""

import json
from datetime import datetime
from typing import Any

from tracker import linking, sql
from tracker.changes import ContextStored, Handover, Message, Outcome, PlanFiled, PlanMove, TaskContextStored, TaskMove
from tracker.envelope import dumps
from tracker.linking import Heard, word
from tracker.sql import LinkRecord, PlanRecord, RowRecord, TaskRecord
from tracker.states import PLAN, TASK
from tracker.world import SYSTEM, Scope, World

_ENVELOPE_KEPT = (
    "specversion", "subject", "response_event", "response_topic", "response_schema_name", "payload_schema_name", "session_id", "goal_id", "plan_id",
)  # fmt: skip


def heard_of(message: Message) -> Heard:
    """A new message as linking sees it."""
    e = message.envelope
    return Heard(
        topic=e.topic, type=e.type, event_id=e.id, source=e.source, correlation_id=e.correlation_id or "", data=e.data, occurred_at=e.time,
        plan_id=e.plan_id or "", response_event=e.response_event or word(e.data, "response_event"), session_id=e.session_id or "",
        trace_id=e.trace_id or "", user_id=e.user_id,
    )  # fmt: skip


def heard_again(row: RowRecord) -> Heard:
    """A kept message as linking sees it."""
    envelope, data = json.loads(row.envelope), json.loads(row.data)
    return Heard(
        topic=row.topic, type=row.type, event_id=row.event_id, source=row.source, correlation_id=row.correlation_id, data=data,
        occurred_at=row.occurred_at, plan_id=envelope.get("plan_id") or "",
        response_event=envelope.get("response_event") or word(data, "response_event"), session_id=envelope.get("session_id") or "",
        trace_id=row.trace_id, user_id=row.user_id,
    )  # fmt: skip


def row_of(message: Message, now: datetime) -> RowRecord:
    """The log row of a new message, not placed yet."""
    e = message.envelope
    kept = {name: value for name in _ENVELOPE_KEPT if (value := getattr(e, name)) is not None}
    kept["platform_tenant_id"] = message.workspace
    return RowRecord(
        id=0, workspace_id=message.workspace_id, tenant_id=message.tenant_id, user_id=e.user_id, kind="message", type=e.type, event_id=e.id,
        by=message.by, topic=e.topic, source=e.source, correlation_id=e.correlation_id or "", parent_event_id=e.parent_event_id or "",
        trace_id=e.trace_id or "", occurred_at=e.time, recorded_at=now, data=dumps(e.data), envelope=dumps(kept),
        task_ref=word(e.data, "action_id") or word(e.data, "task_id"),
    )  # fmt: skip


# --- messages ----------------------------------------------------------------------------------------------------------------


def message(world: World, change: Message) -> Outcome:
    """Record an event and let it do what it does."""
    heard = heard_of(change)
    row = row_of(change, world.now)
    plan = plan_for(world, _scope(change), heard)
    world.add_row(row, plan)
    if plan:
        take(world, plan, heard, row)
    task = world.task_by_key(row.task_id)
    return Outcome(
        "refused" if row.refused else "recorded",
        heard.event_id,
        plan.plan_id if plan else "",
        task.task_id if task else "",
        row.seq,
        row.reason,
    )


def _scope(change: Any) -> Scope:
    return change.workspace_id, change.tenant_id


def plan_for(world: World, scope: Scope, heard: Heard) -> PlanRecord | None:
    """The plan of a message: the one it names (made when unknown), else the one its ids lead to, else none yet."""
    if name := linking.named_plan(heard):
        return world.plan(scope, name) or open_plan(world, scope, name, heard)
    return known_plan(world, scope, heard)


def known_plan(world: World, scope: Scope, heard: Heard) -> PlanRecord | None:
    """The plan that a message's correlation, sub-task id, stored context or task id leads to."""
    if plan := world.plan(scope, heard.correlation_id):
        return plan
    ids = (heard.correlation_id, word(heard.data, "task_id"))
    for kind, key in (("correlation", ids[0]), *((kind, key) for key in ids for kind in ("subtask", "context"))):
        link = world.link(scope, kind, key)
        if link and link.plan_id:
            return world.plans[link.plan_id]
    if heard.awaits_task:
        for key in linking.named_tasks(heard):
            if task := world.task(scope, key):
                return world.plans[task.plan_id]
    return None


def open_plan(world: World, scope: Scope, plan_id: str, heard: Heard) -> PlanRecord:
    """A plan that a message names and nobody has announced."""
    plan = world.add_plan(scope, plan_id)
    world.move(
        plan, None, "in_progress", by=f"agent:{heard.source}", cause=heard, user_id=heard.user_id, correlation_id=plan_id,
        session_id=heard.session_id, trace_id=heard.trace_id,
    )  # fmt: skip
    adopt(world, plan, [plan_id])
    return plan


def take(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """Let a message that has its place in the plan's log do what it does."""
    learn(world, plan, heard)
    if heard.is_request:
        request(world, plan, heard, row)
    elif heard.awaits_task:
        answer(world, plan, heard, row)
    elif heard.is_plan_fact:
        plan_fact(world, plan, heard, row)
    elif task := _named_task(world, plan, heard):
        row.task_id = task.id
    if plan.waiting_for == heard.type and plan.state == "paused":
        resume(world, plan, heard, "what it waited for has arrived")


def learn(world: World, plan: PlanRecord, heard: Heard) -> None:
    """The first session and trace seen on a plan's messages are the plan's."""
    new = {k: v for k in ("session_id", "trace_id", "user_id") if (v := getattr(heard, k)) and not getattr(plan, k)}
    if new:
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, **new)


def _named_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord | None:
    scope = plan.workspace_id, plan.tenant_id
    for key in linking.named_tasks(heard):
        task = world.task(scope, key)
        if task and task.plan_id == plan.id:
            return task
    return None


# --- requests ----------------------------------------------------------------------------------------------------------------


def request(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """A request makes a task, unless it is the plan's goal or asks for a task that is there."""
    if linking.is_goal(heard, plan):
        data = {} if heard.data == {} or plan.goal_data != "{}" else {"goal_data": dumps(heard.data)}
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, correlation_id=heard.correlation_id, **data)
        return
    scope = plan.workspace_id, plan.tenant_id
    known = world.task(scope, word(heard.data, "action_id"))
    if known and known.plan_id == plan.id and known.event_type == heard.type:
        row.task_id = known.id
        row.reason = "asks again for a task that is there"
        return
    task = new_task(world, plan, heard)
    row.task_id = task.id
    if row.handed_to:
        _start(world, plan, task, row.handed_to, row.handed_id)
    if plan.state == "pending":
        world.move(plan, None, "in_progress", by=SYSTEM, cause=heard, reason="its first task has arrived")
    rematch(world, plan, task.correlation_id, [task.task_id, *linking.named_tasks(heard)])


def new_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord:
    """The task that a request asks for, pending."""
    scope = plan.workspace_id, plan.tenant_id
    key = linking.task_key(heard, lambda key: world.task(scope, key) is not None)
    link = world.link(scope, "subtask", heard.correlation_id) or world.link(
        scope, "subtask", word(heard.data, "task_id")
    )
    task = world.add_task(plan, key, linking.label_of(heard), heard.type)
    task.correlation_id, task.response_event = heard.correlation_id, heard.response_event
    task.request_event_id, task.digest = heard.event_id, linking.digest_of(heard.type, heard.data)
    world.move(
        plan, task, "pending", by=f"agent:{heard.source}", cause=heard, name=task.name, event_type=task.event_type, position=task.position,
        parent_id=link.task_id if link else None, attempt=1,
    )  # fmt: skip
    if link is None:
        _top_level(world, plan, task, heard)
    context = world.link(scope, "context", key)
    if context and context.task_id is None:
        _bind_context(world, plan, task, context)
    if link and (parent := world.task_by_key(link.task_id)):
        settle_delegation(world, world.plans[parent.plan_id], parent)
    return task


def _top_level(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard) -> None:
    """Who asks for a task of its own owns the plan; what it asks without wanting an answer may be the goal of another plan."""
    if not plan.planner:
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, planner=heard.source)
    if not heard.response_event and heard.correlation_id not in {plan.plan_id, plan.correlation_id}:
        world.put_link((plan.workspace_id, plan.tenant_id), "goal", heard.correlation_id, task_id=task.id)


def rematch(world: World, plan: PlanRecord, correlation_id: str, refs: list[str]) -> None:
    """A task has become known: perhaps messages that overtook it are its own."""
    for row in world.unmatched_rows(plan, correlation_id, refs):
        answer(world, plan, heard_again(row), row)


def _start(world: World, plan: PlanRecord, task: TaskRecord, agent: str, agent_id: str) -> None:
    world.move(plan, task, "running", by=f"agent:{agent}", reason="handed over", agent=agent, agent_id=agent_id)


# --- results and facts about tasks -------------------------------------------------------------------------------------------


def answer(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """A result or a fact about a task: find the task and move it, or let the message wait for it."""
    task = find_task(world, plan, heard)
    if task is None and not linking.is_final_answer(heard, plan):
        if not row.unmatched:
            row.unmatched = True
            plan.unmatched += 1
            world.mark(plan)
        return
    if row.unmatched:
        row.unmatched = False
        plan.unmatched -= 1
        world.touch_row(row)
    if task is None:
        return
    row.task_id = task.id
    if heard.is_result:
        result(world, plan, task, heard, row)
    elif heard.type == "task.progress":
        progress(world, plan, task, heard, row)
    else:
        told(world, plan, task, heard, row, str(heard.data.get("new_state")))


def find_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord | None:
    """The task of this plan that a message is about."""
    if not heard.is_result:
        return _named_task(world, plan, heard) or _aliased_task(world, plan, heard)
    scope = plan.workspace_id, plan.tenant_id
    by_action = _inside(plan, world.task(scope, word(heard.data, "action_id")))
    if linking.by_id(heard, by_action, sure=True):
        return by_action
    by_task = _inside(plan, world.task(scope, word(heard.data, "task_id")))
    if linking.by_id(heard, by_task, sure=False):
        return by_task
    if alias := _aliased_task(world, plan, heard):
        return alias
    asked = world.open_tasks(plan, 1, correlation_id=heard.correlation_id, response_event=heard.type)
    return (
        linking.oldest(heard, asked)
        or by_task
        or linking.only_one(heard, world.open_tasks(plan, 2, correlation_id=heard.correlation_id))
    )


def _inside(plan: PlanRecord, task: TaskRecord | None) -> TaskRecord | None:
    return task if task and task.plan_id == plan.id else None


def _aliased_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord | None:
    scope = plan.workspace_id, plan.tenant_id
    for key in (word(heard.data, "task_id"), heard.correlation_id):
        link = world.link(scope, "context", key)
        if (
            link
            and link.task_id
            and link.plan_id == plan.id
            and (link.key == word(heard.data, "task_id") or heard.is_result)
        ):
            return world.task_by_key(link.task_id)
    return None


def result(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard, row: RowRecord) -> None:
    """A result ends its task, by way of every step that nobody reported."""
    to, error = linking.verdict(heard.type, heard.data)
    more: dict[str, Any] = {"error": error} if error else {}
    if not task.agent:
        more["agent"] = heard.source
    walk_task(world, plan, task, to, heard, row, **more)


def told(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard, row: RowRecord, state: str) -> None:
    """An agent says which state its task is in."""
    if state == task.state:
        return
    more = {"error": linking.storable(str(error))} if (error := heard.data.get("error")) else {}
    walk_task(
        world, plan, task, state, heard, row, reason=linking.storable(str(heard.data.get("reason") or "")), **more
    )


def progress(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard, row: RowRecord) -> None:
    """The latest progress of a task; it may say the task's state as well."""
    value, text = heard.data.get("progress"), heard.data.get("message")
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1):
        refuse(world, row, f"progress must be a number from 0 to 1, not {value!r:.40}")
        return
    if task.state in TASK.ended:
        refuse(world, row, f"the task is {task.state}")
        return
    state = heard.data.get("state")
    if isinstance(state, str) and state != task.state:
        walk_task(world, plan, task, state, heard, row)
    new: dict[str, Any] = {}
    if value is not None:
        new["progress"] = float(value)
    if text is not None:
        new["message"] = linking.storable(str(text))
    if new and not row.refused:
        world.note(plan, task, by=f"agent:{heard.source}", cause=heard, **new)


def walk_task(
    world: World,
    plan: PlanRecord,
    task: TaskRecord,
    to: str,
    heard: Heard,
    row: RowRecord,
    *,
    reason: str = "",
    **more: Any,
) -> None:
    """Move a task to where a message proves it is; steps in between are inferred; no legal way: the message is refused."""
    path = TASK.path(task.state, to) if to in TASK.states else None
    if not path:
        refuse(world, row, f"a {task.state} task cannot become {to:.40}")
        return
    by = f"agent:{heard.source}"
    for step in path[:-1]:
        world.move(plan, task, step, by=by, cause=heard, inferred=True, reason="proved by what followed")
    world.move(plan, task, to, by=by, cause=heard, reason=reason, **more)
    after_task(world, plan, task)


def after_task(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """What follows when a task has moved: its parent may go on."""
    if task.parent_id and task.state in TASK.ended and (parent := world.task_by_key(task.parent_id)):
        settle_delegation(world, world.plans[parent.plan_id], parent)


def refuse(world: World, row: RowRecord, why: str) -> None:
    """Keep the message and say why nothing came of it."""
    row.refused, row.reason = True, why
    world.touch_row(row)


# --- facts about plans -------------------------------------------------------------------------------------------------------


def plan_fact(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """A fact about the plan that an agent tells."""
    data, by = heard.data, f"agent:{heard.source}"
    match heard.type:
        case "plan.started":
            started(world, plan, heard)
        case "plan.waiting_for_input":
            pause(world, plan, heard, row)
        case "plan.state_changed":
            state = str(data.get("new_state"))
            pausing(world, plan, heard, row, linking.PLAN_STATES.get(state, state))
        case ended:
            error = (
                linking.storable(str(data.get("error") or data.get("reason") or "")) if ended == "plan.failed" else ""
            )
            say(world, plan, ended.removeprefix("plan."), by=by, heard=heard, row=row, error=error)


def started(world: World, plan: PlanRecord, heard: Heard) -> None:
    """An agent announces its plan: its goal, and how many actions it will have."""
    data = heard.data
    goal = word(data, "goal_event") or word(data, "goal") or word(data, "plan_name") or word(data, "goal_type")
    new: dict[str, Any] = {}
    if goal and not plan.goal_event:
        new["goal_event"] = goal
    if isinstance(total := data.get("total_actions"), int) and not isinstance(total, bool) and 0 <= total < 2**31:
        new["total_actions"] = total
    if not plan.planner:
        new["planner"] = heard.source
    world.note(plan, None, by=f"agent:{heard.source}", cause=heard, **new)
    if plan.state == "pending":
        world.move(plan, None, "in_progress", by=f"agent:{heard.source}", cause=heard)


def pause(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """The plan waits for somebody; not if what it waits for was sent after this and has overtaken it."""
    expected = word(heard.data, "expected_event")
    if expected and _arrived_since(world, plan, expected, heard.occurred_at):
        row.reason = "what it waits for is there already"
        return
    pausing(world, plan, heard, row, "paused", waiting_for=expected)


def _arrived_since(world: World, plan: PlanRecord, type: str, at: datetime) -> bool:
    if any(r.plan_id == plan.id and r.type == type and r.kind == "message" and r.occurred_at >= at for r in world.rows):
        return True
    query = "SELECT 1 FROM tracker_logrow WHERE plan_id = %s AND kind = 'message' AND type = %s AND occurred_at >= %s LIMIT 1"
    return bool(sql.rows(query, [plan.id, type, sql.native(at)]))


def pausing(world: World, plan: PlanRecord, heard: Heard, row: RowRecord, to: str, *, waiting_for: str = "") -> None:
    """A fact about pausing, going on or ending; of two about pausing the one that was sent later counts."""
    if to in {"paused", "in_progress"}:
        if plan.told_at and sql.as_datetime(plan.told_at) > heard.occurred_at:
            refuse(world, row, "the sender has told a newer state already")
            return
        plan.told_at = sql.native(heard.occurred_at)
        world.mark(plan)
    if not say(world, plan, to, by=f"agent:{heard.source}", heard=heard, row=row):
        return
    world.note(
        plan, None, by=f"agent:{heard.source}", cause=heard, waiting_for=waiting_for if plan.state == "paused" else ""
    )


def resume(world: World, plan: PlanRecord, heard: Heard, reason: str) -> None:
    """The pause is over."""
    world.move(plan, None, "in_progress", by=f"agent:{heard.source}", cause=heard, reason=reason, waiting_for="")


def say(
    world: World,
    plan: PlanRecord,
    to: str,
    *,
    by: str,
    heard: Heard | None = None,
    row: RowRecord | None = None,
    error: str = "",
    reason: str = "",
) -> bool:
    """Somebody who knows says which state the plan is in; it goes before what the plan had concluded from its tasks.

    False when the table refuses; a message is marked so, anything else leaves a note.
    """
    ends = {"closed_by": "fact"} if to in PLAN.ended else {}
    more: dict[str, Any] = {**ends, **({"error": error} if error else {})}
    if to == plan.state:
        world.note(plan, None, by=by, cause=heard, **more)
        return True
    on_its_own = plan.state in PLAN.ended and plan.closed_by == "rule"
    path = PLAN.path("in_progress" if on_its_own else plan.state, to) if to in PLAN.states else None
    if path is None or (plan.state in PLAN.ended and not on_its_own):
        why = f"a {plan.state} plan cannot become {to:.40}"
        if row:
            refuse(world, row, why)
        elif refused := world.note(plan, None, by=by, reason=why):
            refused.refused = True
        return False
    if on_its_own:
        world.move(
            plan, None, "in_progress", by=by, cause=heard, inferred=True, reason="somebody says otherwise", closed_by=""
        )
    for step in path[:-1]:
        world.move(plan, None, step, by=by, cause=heard, inferred=True, reason="proved by what followed")
    if path:
        world.move(plan, None, path[-1], by=by, cause=heard, reason=reason, **more)
    return True


# --- what the SDK stores -----------------------------------------------------------------------------------------------------


def plan_filed(world: World, change: PlanFiled) -> Outcome:
    """An agent filed a plan: it exists, its goal is known, and messages that came before it are its own."""
    plan = _plan_of(world, change, change.plan_id)
    known = {
        "goal_event": change.goal_event, "user_id": change.user_id, "session_id": change.session_id, "parent_plan_id": change.parent_plan_id,
    }  # fmt: skip
    new: dict[str, Any] = {k: v for k, v in known.items() if v and not getattr(plan, k)}
    if new.get("goal_event"):
        new["goal_data"] = dumps(change.goal_data)
    new |= _goal_task(world, plan, change.goal_event)
    world.note(plan, None, by=change.by, **new)
    adopt(world, plan, [plan.plan_id])
    return Outcome("recorded", plan_id=plan.plan_id, seq=plan.seq)


def _goal_task(world: World, plan: PlanRecord, goal_event: str | None) -> dict[str, Any]:
    """When a task of another plan asked for just this goal, that plan is the parent, and the task ends with this plan."""
    link = world.link((plan.workspace_id, plan.tenant_id), "goal", plan.plan_id)
    task = world.task_by_key(link.task_id) if link else None
    if task is None or task.event_type != goal_event or task.plan_id == plan.id or plan.goal_task_id:
        return {}
    return {"goal_task_id": task.id, "parent_plan_id": plan.parent_plan_id or world.plans[task.plan_id].plan_id}


def _plan_of(world: World, change: PlanFiled | ContextStored | TaskContextStored, plan_id: str) -> PlanRecord:
    plan = world.plan(_scope(change), plan_id)
    if plan is None:
        plan = world.add_plan(_scope(change), plan_id)
        world.move(plan, None, "pending", by=change.by, correlation_id=plan_id)
    return plan


def context_stored(world: World, change: ContextStored) -> Outcome:
    """An agent stored a plan context: it says from now on what state the plan is in."""
    plan = _plan_of(world, change, change.plan_id)
    known = {
        "goal_event": change.goal_event, "user_id": change.user_id, "session_id": change.session_id, "parent_plan_id": change.parent_plan_id,
        "response_event": change.response_event,
    }  # fmt: skip
    new: dict[str, Any] = {k: v for k, v in known.items() if v and not getattr(plan, k)}
    if new.get("goal_event"):
        new["goal_data"] = dumps(change.goal_data or {})
    if change.correlation_id and plan.correlation_id == plan.plan_id:
        new["correlation_id"] = change.correlation_id
    if change.current_state:
        new["current_state"] = change.current_state
    new["governed"] = True
    new |= _goal_task(world, plan, change.goal_event)
    world.note(plan, None, by=change.by, **new)
    keys = [k for k in dict.fromkeys([*change.correlation_ids, change.correlation_id or ""]) if k and k != plan.plan_id]
    for key in keys:
        world.put_link(_scope(change), "correlation", key, plan_id=plan.id)
    adopt(world, plan, [plan.plan_id, *keys])
    status = linking.PLAN_STATES.get(change.status or "", change.status or "")
    if status in PLAN.states and status != "pending":
        say(world, plan, status, by=change.by, reason="its stored context says so")
    return Outcome("recorded", plan_id=plan.plan_id, seq=plan.seq)


def task_context_stored(world: World, change: TaskContextStored) -> Outcome:
    """A worker stored its task's context: who delegates to whom becomes known here, and nowhere else."""
    scope = _scope(change)
    context = world.put_link(scope, "context", change.task_id)
    task = world.task_by_key(context.task_id) or _task_of_context(world, change)
    plan = world.plans[task.plan_id] if task else _plan_of_context(world, change)
    for sub in change.sub_tasks:
        world.put_link(
            scope, "subtask", sub.sub_task_id, context_key=change.task_id, group_id=sub.group_id, done=sub.done,
            plan_id=plan.id if plan else None, task_id=task.id if task else None,
        )  # fmt: skip
    if plan and task:
        _bind_context(world, plan, task, context)
    elif plan:
        context.plan_id = plan.id
    return Outcome("recorded", plan_id=plan.plan_id if plan else "", task_id=task.task_id if task else "")


def _task_of_context(world: World, change: TaskContextStored) -> TaskRecord | None:
    """The task whose context this is: by the ids in it, else the oldest open request of the same type and data that has none."""
    scope = _scope(change)
    for key in (word(change.data or {}, "action_id"), change.task_id):
        task = world.task(scope, key)
        if task and (change.event_type is None or task.event_type == change.event_type):
            return task
    if change.event_type is None or change.data is None:
        return None
    digest = linking.digest_of(change.event_type, change.data)
    where = "workspace_id = %s AND tenant_id = %s AND digest = %s AND ended_at IS NULL AND NOT aliased"
    world.find_tasks(where, [*scope, digest], tail="ORDER BY id LIMIT 20")
    fitting = [t for t in world.tasks.values() if t.digest == digest and linking.is_open(t) and not t.aliased]
    fitting = [
        t
        for t in fitting
        if (t.workspace_id, t.tenant_id) == scope and change.plan_id in ("", world.plans[t.plan_id].plan_id)
    ]
    task = min(fitting, key=lambda t: t.id, default=None)
    if task:
        task.aliased = True
        world.mark(task)
    return task


def _plan_of_context(world: World, change: TaskContextStored) -> PlanRecord | None:
    if change.plan_id:
        return _plan_of(world, change, change.plan_id)
    link = world.link(_scope(change), "subtask", change.task_id)
    return world.plans[link.plan_id] if link and link.plan_id else None


def _bind_context(world: World, plan: PlanRecord, task: TaskRecord, context: LinkRecord) -> None:
    """A context is known to be a task's: its sub-tasks are the plan's, and so are messages about them that came early."""
    context.plan_id, context.task_id = plan.id, task.id
    world.mark(context)
    world.find_links(
        "workspace_id = %s AND tenant_id = %s AND context_key = %s", [plan.workspace_id, plan.tenant_id, context.key]
    )
    scope = plan.workspace_id, plan.tenant_id
    subs = world.links_where(workspace_id=scope[0], tenant_id=scope[1], kind="subtask", context_key=context.key)
    for sub in subs:
        if sub.task_id is None:
            sub.plan_id, sub.task_id = plan.id, task.id
            world.mark(sub)
    adopt(world, plan, [context.key, *(sub.key for sub in subs)])
    rematch(world, plan, context.key, [context.key])
    settle_delegation(world, plan, task)


def settle_delegation(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """A task is delegated exactly while a sub-task of its context is open."""
    if task.state not in {"pending", "running", "delegated"}:
        return
    busy = _has_open_sub_tasks(world, task)
    if busy and task.state != "delegated":
        if task.state == "pending":
            world.move(plan, task, "running", by=SYSTEM, inferred=True, reason="it delegates")
        world.move(
            plan,
            task,
            "delegated",
            by=f"agent:{task.agent}" if task.agent else SYSTEM,
            reason="it waits for its sub-tasks",
        )
    elif not busy and task.state == "delegated":
        world.move(plan, task, "running", by=SYSTEM, reason="its sub-tasks have ended")


def _has_open_sub_tasks(world: World, task: TaskRecord) -> bool:
    world.find_links("task_id = %s AND kind = 'subtask'", [task.id])
    subs = world.links_where(kind="subtask", task_id=task.id)
    scope = task.workspace_id, task.tenant_id
    world.load_tasks([scope], [sub.key for sub in subs])
    for sub in subs:
        sub_task = world.task(scope, sub.key)
        if linking.is_open(sub_task) if sub_task else not sub.done:
            return True
    return False


def adopt(world: World, plan: PlanRecord, keys: list[str]) -> None:
    """Messages of these correlations that came before their plan was known: they are its own, in the order they came."""
    for row in world.unplaced_rows((plan.workspace_id, plan.tenant_id), keys):
        world.place_row(row, plan)
        take(world, plan, heard_again(row), row)


# --- hand-over and moves that somebody asks for ------------------------------------------------------------------------------


def handover(world: World, change: Handover) -> Outcome:
    """Requests are given to an agent: their tasks run, held by it, before it gets them. `value`: the row ids to be sent."""
    rows = (
        sql.select(RowRecord, f"id IN ({sql.marks(change.row_ids)})", change.row_ids, tail="ORDER BY id")
        if change.row_ids
        else []
    )
    world.load_plan_keys({row.plan_id for row in rows})
    missing = sorted({row.task_id for row in rows if row.task_id} - world.tasks.keys())
    if missing:
        world.find_tasks(f"id IN ({sql.marks(missing)})", missing)
    sent = [row.id for row in rows if _hand(world, row, change)]
    sql.execute(
        "UPDATE tracker_queuegroup SET requests_cursor = %s WHERE id = %s AND requests_cursor < %s",
        [change.cursor, change.group_id, change.cursor],
    )
    return Outcome("recorded", value=sent)


def _hand(world: World, row: RowRecord, change: Handover) -> bool:
    task = world.task_by_key(row.task_id)
    if task and task.state in TASK.ended:
        return False
    if not row.handed_to:
        row.handed_to, row.handed_id, row.handed_at = change.name, change.agent_id, world.at
        world.touch_row(row)
    if task:
        plan = world.plans[task.plan_id]
        if task.state == "pending":
            _start(world, plan, task, change.name, change.agent_id)
        elif change.again and task.agent == change.name:
            world.note(
                plan,
                task,
                by=f"agent:{change.name}",
                reason="its first connection ended before it was sent",
                agent_id=change.agent_id,
            )
        else:
            world.note(
                plan, task, by=f"agent:{change.name}", reason=f"also handed to {change.name}", type="task.handed_over"
            )
    return True


def task_move(world: World, change: TaskMove) -> Outcome:
    """Somebody moves a task by one legal hop. Refusals leave no row."""
    task = world.task(_scope(change), change.task_id)
    if task is None:
        return Outcome("unknown", task_id=change.task_id)
    plan = world.plans[task.plan_id]
    now = {
        "state": task.state,
        "version": task.version,
        "allowed_transitions": TASK.targets(task.state, stalled=task.stalled),
    }
    if change.expected_version is not None and change.expected_version != task.version:
        return Outcome("refused", task_id=task.task_id, detail="version-conflict", value=now)
    if not TASK.move(task.state, change.to, stalled=task.stalled):
        return Outcome("refused", task_id=task.task_id, detail="invalid-transition", value=now)
    more: dict[str, Any] = {"error": change.error} if change.error else {}
    if change.to == "pending":
        more |= {"attempt": task.attempt + 1, "stalled": False, "error": "", "progress": None}
    row = world.move(plan, task, change.to, by=change.by, reason=change.reason, occurred_at=change.at, **more)
    after_task(world, plan, task)
    return Outcome(
        "recorded",
        plan_id=plan.plan_id,
        task_id=task.task_id,
        seq=row.seq,
        value={"version": task.version, "from_state": row.from_state},
    )


def plan_move(world: World, change: PlanMove) -> Outcome:
    """Somebody moves a plan by one legal hop. Refusals leave no row."""
    plan = world.plan(_scope(change), change.plan_id)
    if plan is None:
        return Outcome("unknown", plan_id=change.plan_id)
    if plan.state in PLAN.ended or not PLAN.move(plan.state, change.to):
        return Outcome(
            "refused",
            plan_id=plan.plan_id,
            detail="invalid-transition",
            value={"state": plan.state, "version": plan.version},
        )
    more = {"closed_by": "fact"} if change.to in PLAN.ended else {}
    row = world.move(plan, None, change.to, by=change.by, reason=change.reason, **more)
    return Outcome(
        "recorded", plan_id=plan.plan_id, seq=row.seq, value={"version": plan.version, "from_state": row.from_state}
    )


# --- what follows at the end of a batch --------------------------------------------------------------------------------------


def settle(world: World) -> None:
    """Plans that nobody governs close with their tasks; tasks that another plan carries out end with it; and so on upwards."""
    waiting = [plan for plan in world.plans.values() if plan.state]
    while waiting:
        plan = waiting.pop()
        if not plan.governed and not (plan.state in PLAN.ended and plan.closed_by != "rule"):
            _close(world, plan)
        task = world.task_by_key(plan.goal_task_id) if plan.state in PLAN.ended else None
        if task and linking.is_open(task):
            parent = world.plans[task.plan_id]
            _end_with_plan(world, parent, task, plan)
            waiting.append(parent)


def _end_with_plan(world: World, parent: PlanRecord, task: TaskRecord, plan: PlanRecord) -> None:
    *steps, end = TASK.path(task.state, plan.state) or [plan.state]
    for step in steps:
        world.move(parent, task, step, by=SYSTEM, inferred=True, reason="proved by what followed")
    world.move(parent, task, end, by=SYSTEM, reason=f"plan {plan.plan_id} carried it out", error=plan.error)
    after_task(world, parent, task)


def _close(world: World, plan: PlanRecord) -> None:
    enough = plan.task_count > 0 and plan.task_count >= (plan.total_actions or 0)
    verdict = _conclusion(world, plan) if enough and plan.open_tasks == 0 else ""
    if plan.state in PLAN.ended and plan.state != verdict:
        world.move(
            plan,
            None,
            "in_progress",
            by=SYSTEM,
            reason="it has open tasks again" if not verdict else "its tasks say otherwise",
            closed_by="",
        )
    if verdict and plan.state == "in_progress":
        reason = "all its tasks have ended"
        world.move(plan, None, verdict, by=SYSTEM, reason=reason, closed_by="rule", error="")


def _conclusion(world: World, plan: PlanRecord) -> str:
    if plan.cancelled_tasks == plan.task_count:
        return "cancelled"
    if plan.failed_tasks:
        world.find_tasks("plan_id = %s AND state = 'failed'", [plan.id])
        failed = [t for t in world.tasks.values() if t.plan_id == plan.id and t.state == "failed"]
        if not all(_excused(world, task) for task in failed):
            return "failed"
    return "completed"


def _excused(world: World, task: TaskRecord) -> bool:
    """A failed sub-task does not count when the task above it completed all the same."""
    parent = world.task_by_key(task.parent_id)
    while parent:
        if parent.state == "completed":
            return True
        parent = world.task_by_key(parent.parent_id)
    return False
