"""What each kind of change means for plans and tasks. Called by the ledger inside its transaction, change after change.

Every rule asks the state table. What a message proves but nobody reported is walked and marked inferred; what the
table does not allow leaves the message in the log, marked refused, and changes nothing.
"""

from collections.abc import Collection
from typing import Any

from tracker import linking, liveness, policies
from tracker.changes import Message, Outcome
from tracker.delegation import settle_delegation
from tracker.envelope import dumps
from tracker.known import Scope, scope_of
from tracker.linking import Heard, word
from tracker.plan_facts import arrived, plan_fact
from tracker.records import LinkRecord, PlanRecord, RowRecord, TaskRecord
from tracker.states import TASK
from tracker.wire import heard_again, heard_of, row_of
from tracker.world import SYSTEM, World

MOST_OPEN = 20  # open tasks of one correlation among which a result of another type looks for its own


def message(world: World, change: Message) -> Outcome:
    """Record an event and let it do what it does."""
    heard = heard_of(change)
    row = row_of(change, world.now)
    plan = plan_for(world, scope_of(change), heard)
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


def plan_for(world: World, scope: Scope, heard: Heard) -> PlanRecord | None:
    """The plan of a message: the one it names (made when unknown), else the one its ids lead to, else none yet."""
    name = linking.named_plan(heard)
    plan = known_plan(world, scope, heard, name)
    return plan or (open_plan(world, scope, name, heard) if name else None)


def known_plan(world: World, scope: Scope, heard: Heard, name: str) -> PlanRecord | None:
    """The plan of a message, if there is one: that of its `name`, which alone decides when it says one.

    Else the one that its correlation, sub-task id, stored context or task leads to.
    """
    if name:
        return world.plan(scope, name)
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
        return world.plan_of_correlation(scope, heard.correlation_id)
    return None


def open_plan(world: World, scope: Scope, plan_id: str, heard: Heard) -> PlanRecord:
    """A plan that a message names and nobody has announced."""
    plan = world.add_plan(scope, plan_id)
    world.move(
        plan,
        None,
        "in_progress",
        by=f"agent:{heard.source}",
        cause=heard,
        user_id=heard.user_id,
        correlation_id=plan_id,
        session_id=heard.session_id,
        trace_id=heard.trace_id,
    )
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
        liveness.heard(world, task, by=f"agent:{heard.source}", cause=heard)
    arrived(world, plan, heard)


def learn(world: World, plan: PlanRecord, heard: Heard) -> None:
    """The first session and trace seen on a plan's messages are the plan's."""
    new: dict[str, Any] = {}
    if heard.session_id and not plan.session_id:
        new["session_id"] = heard.session_id
    if heard.trace_id and not plan.trace_id:
        new["trace_id"] = heard.trace_id
    if heard.user_id and not plan.user_id:
        new["user_id"] = heard.user_id
    if new:
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, **new)


def _named_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord | None:
    for key in linking.named_tasks(heard):
        if task := _task_in(world, plan, key):
            return task
    return None


def _task_in(world: World, plan: PlanRecord, key: str) -> TaskRecord | None:
    """The plan's task of that id, also when another plan's task had the id first."""
    task = world.task((plan.workspace_id, plan.tenant_id), key)
    if task is None or task.plan_id == plan.id:
        return task
    same = world.asked_under(plan, key)
    return next((task for task in same if linking.is_open(task)), same[0] if same else None)


def request(world: World, plan: PlanRecord, heard: Heard, row: RowRecord) -> None:
    """A request makes a task, unless it is the plan's goal or asks for a task that is there."""
    if linking.is_goal(heard, plan):
        data: dict[str, Any] = {} if heard.data == {} or plan.goal_data != "{}" else {"goal_data": dumps(heard.data)}
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, correlation_id=heard.correlation_id, **data)
        return
    known = _task_in(world, plan, word(heard.data, "action_id"))
    if known and known.event_type == heard.type:
        row.task_id = known.id
        row.reason = "asks again for a task that is there"
        return
    task = new_task(world, plan, heard)
    row.task_id = task.id
    if row.handed_to:
        start_task(world, plan, task, row.handed_to, row.handed_id)
    if plan.state == "pending":
        world.move(plan, None, "in_progress", by=SYSTEM, cause=heard, reason="its first task has arrived")
    names = {task.task_id, *linking.named_tasks(heard)}
    rematch(world, plan, task.correlation_id, names)
    take_all(world, plan, world.loose_answers((plan.workspace_id, plan.tenant_id), names - {plan.plan_id}))


def new_task(world: World, plan: PlanRecord, heard: Heard) -> TaskRecord:
    """The task that a request asks for, pending."""
    scope = plan.workspace_id, plan.tenant_id
    key = linking.task_key(heard, lambda key: world.task(scope, key) is not None)
    link = world.link(scope, "subtask", heard.correlation_id) or world.link(
        scope, "subtask", word(heard.data, "task_id")
    )
    task = world.add_task(plan, key, linking.label_of(heard), heard.type, heard.correlation_id)
    task.response_event = heard.response_event
    task.request_event_id, task.digest = heard.event_id, linking.digest_of(heard.type, heard.data)
    world.move(
        plan,
        task,
        "pending",
        by=heard.by,
        cause=heard,
        name=task.name,
        event_type=task.event_type,
        position=task.position,
        parent_id=link.task_id if link else None,
        attempt=1,
        **_time_of(plan, heard),
    )
    if link is None:
        _top_level(world, plan, task, heard)
    context = world.link(scope, "context", key)
    if context and context.task_id is None:
        bind_context(world, plan, task, context)
    if link and (parent := world.task_by_key(link.task_id)):
        settle_delegation(world, world.plans[parent.plan_id], parent)
    return task


def _time_of(plan: PlanRecord, heard: Heard) -> dict[str, Any]:
    """How long the task may go without progress, if anybody has said so."""
    timeout = liveness.timeout_of(heard.data) or policies.timeout_of(plan, heard.type)
    return {"timeout": timeout} if timeout else {}


def _top_level(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard) -> None:
    """Who asks for a task of its own owns the plan.

    What it asks without wanting an answer may be the goal of another plan.
    """
    if not plan.planner:
        world.note(plan, None, by=f"agent:{heard.source}", cause=heard, planner=heard.source)
    if not heard.response_event and heard.correlation_id not in {plan.plan_id, plan.correlation_id}:
        world.put_link((plan.workspace_id, plan.tenant_id), "goal", heard.correlation_id, task_id=task.id)


def rematch(world: World, plan: PlanRecord, correlation_id: str, refs: Collection[str]) -> None:
    """A task has become known: perhaps messages that overtook it are its own."""
    for row in world.unmatched_rows(plan, correlation_id, refs):
        answer(world, plan, heard_again(row), row)


def start_task(world: World, plan: PlanRecord, task: TaskRecord, agent: str, agent_id: str) -> None:
    """The request was handed over: its task runs, held by that instance of the agent."""
    world.move(plan, task, "running", by=f"agent:{agent}", reason="handed over", agent=agent, agent_id=agent_id)


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
    by_action = _task_in(world, plan, word(heard.data, "action_id"))
    if linking.by_id(heard, by_action, sure=True):
        return by_action
    by_task = _task_in(world, plan, word(heard.data, "task_id"))
    if linking.by_id(heard, by_task, sure=False):
        return by_task
    if alias := _aliased_task(world, plan, heard):
        return alias
    asked = world.open_tasks(plan, 1, correlation_id=heard.correlation_id, response_event=heard.type)
    if task := linking.oldest(heard, asked) or by_task:
        return task
    shared = heard.correlation_id in {plan.plan_id, plan.correlation_id} or bool(
        world.link((plan.workspace_id, plan.tenant_id), "correlation", heard.correlation_id)
    )
    some = world.open_tasks(plan, MOST_OPEN, correlation_id=heard.correlation_id)
    return linking.only_one(heard, some, shared=shared)


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
    if linking.of_older_attempt(heard.correlation_id, plan, task):
        world.refuse(row, f"its attempt was given up on; the task is at attempt {task.attempt}")
        return
    if why := _late(world, plan, task, heard):
        world.refuse(row, why)
        return
    to, error = linking.verdict(heard.type, heard.data)
    more: dict[str, Any] = {"error": error} if error else {}
    if not task.agent:
        more["agent"] = heard.source
    walk_task(world, plan, task, to, heard, row, **more)


def _late(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard) -> str:
    """Why a result is not wanted any more: it is of an attempt that was given up on, and the policy refuses those.

    One that does not tell its attempt is of the present one, if anybody has that.
    """
    if not task.given_up:
        return ""
    given_up = heard.attempt <= task.given_up if heard.attempt is not None else _unclaimed(world, task)
    if not given_up or policies.of(plan, task.event_type).late == "accept":
        return ""
    return f"of an attempt that was given up on; the task is at attempt {task.attempt}"


def _unclaimed(world: World, task: TaskRecord) -> bool:
    """Whether the present attempt waits for an agent, and the one before was handed to one."""
    if task.state != "pending" or task.given_up != task.attempt - 1:
        return False
    where = "task_id = %s AND kind = 'message' AND event_id = %s AND handed_id <> ''"
    return bool(world.kept_rows(where, [task.id, task.request_event_id]))


def told(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard, row: RowRecord, state: str) -> None:
    """An agent says which state its task is in."""
    if state == task.state:
        return
    more = {"error": linking.storable(str(error))} if (error := heard.data.get("error")) else {}
    if state == "running" and not task.agent:
        more["agent"] = heard.source
    walk_task(
        world, plan, task, state, heard, row, reason=linking.storable(str(heard.data.get("reason") or "")), **more
    )


def progress(world: World, plan: PlanRecord, task: TaskRecord, heard: Heard, row: RowRecord) -> None:
    """The latest progress of a task; it may say the task's state as well."""
    value, text = heard.data.get("progress"), heard.data.get("message")
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1):
        world.refuse(row, f"progress must be a number from 0 to 1, not {value!r:.40}")
        return
    if task.state in TASK.ended:
        world.refuse(row, f"the task is {task.state}")
        return
    state = heard.data.get("state")
    if isinstance(state, str) and state != task.state:
        walk_task(world, plan, task, state, heard, row)
    new: dict[str, Any] = {}
    if value is not None:
        new["progress"] = float(value)
    if text is not None:
        new["message"] = linking.storable(str(text))
    if not row.refused:
        progressed = "progress" in new and new["progress"] != task.progress
        world.note(plan, task, by=f"agent:{heard.source}", cause=heard, **new)
        liveness.heard(world, task, by=f"agent:{heard.source}", cause=heard, progressed=progressed)


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
    """Move a task to where a message proves it is.

    Steps in between are inferred; no legal way: the message is refused.
    """
    path = TASK.path(task.state, to) if to in TASK.states else None
    if not path:
        world.refuse(row, f"a {task.state} task cannot become {to:.40}")
        return
    by = f"agent:{heard.source}"
    for step in path[:-1]:
        world.move(plan, task, step, by=by, cause=heard, inferred=True, reason="proved by what followed")
    world.move(plan, task, to, by=by, cause=heard, reason=reason, **more)
    after_task(world, plan, task)


def after_task(world: World, plan: PlanRecord, task: TaskRecord) -> None:
    """What follows when a task has moved: results may find who is left, and its parent may go on."""
    if task.state in TASK.ended and plan.unmatched:
        rematch(world, plan, task.correlation_id, [])  # of those that could be meant, perhaps one is left
    # A sub-task that starts anew is open again.
    moved = task.state in TASK.ended or task.state == "pending"
    if task.parent_id and moved and (parent := world.task_by_key(task.parent_id)):
        settle_delegation(world, world.plans[parent.plan_id], parent)


def bind_context(world: World, plan: PlanRecord, task: TaskRecord, context: LinkRecord) -> None:
    """A context is known to be a task's.

    Its sub-tasks are the plan's, and so are messages about them that came early.
    """
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
    _set_parent(world, task, [sub.key for sub in subs])
    adopt(world, plan, [context.key, *(sub.key for sub in subs)])
    rematch(world, plan, context.key, [context.key])
    if task.state == "pending":
        world.move(plan, task, "running", by=SYSTEM, inferred=True, reason="its worker has stored its context")
    settle_delegation(world, plan, task)


def _set_parent(world: World, parent: TaskRecord, sub_tasks: list[str]) -> None:
    """Sub-tasks that were there before it was known whose they are."""
    scope = parent.workspace_id, parent.tenant_id
    world.load_tasks([scope], sub_tasks)
    for key in sub_tasks:
        task = world.task(scope, key)
        if task and task.parent_id is None and not _is_above(world, task, parent):
            world.note(world.plans[task.plan_id], task, by=SYSTEM, parent_id=parent.id)


def _is_above(world: World, task: TaskRecord, below: TaskRecord | None) -> bool:
    """Whether a task is another one or one of those above it: contexts that name each other must not make a circle."""
    while below and below is not task:
        below = world.task_by_key(below.parent_id)
    return below is task


def adopt(world: World, plan: PlanRecord, keys: list[str]) -> None:
    """Messages of these correlations that came before their plan was known.

    They are its own, in the order they came.
    """
    take_all(world, plan, world.unplaced_rows((plan.workspace_id, plan.tenant_id), keys))


def take_all(world: World, plan: PlanRecord, rows: list[RowRecord]) -> None:
    """Give messages that waited their place in the plan's log, and let each do what it does."""
    for row in rows:
        if row.plan_id is None:  # one may have brought another in
            world.place_row(row, plan)
            take(world, plan, heard_again(row), row)
