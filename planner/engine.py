"""The engine of declared plans: inside the ledger's transaction it reacts to what moved and asks for the next step.

What a plan's machine says (`planner.machine`) becomes moves, messages and deadlines of the same batch, so that a step
is asked for exactly when its cause is recorded. Each request has an id made of plan, visit, action and attempt: nothing
is lost or asked for twice, wherever the server may die.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from planner import machine
from planner.declared_models import DeclaredPlan
from planner.definition import Declared
from planner.machine import Event, Run
from planner.orders import Ask, Drop, End, Enter, GiveUp, Order, Rest
from tracker import deadlines, ledger, linking, rules, sql
from tracker.changes import Message
from tracker.envelope import TRACKER, Envelope, dumps, loads
from tracker.models import Presence, Task
from tracker.projections.rows import moment
from tracker.records import PlanRecord, RowRecord, TaskRecord
from tracker.rules import after_task
from tracker.states import PLAN, TASK
from tracker.world import SYSTEM, World

RETRY, TIMEOUT, LEFT, STATE_TIMEOUT = "step.retry", "step.timeout", "step.left", "state.timeout"
LEFT_SECONDS = 1.0  # for an answer that is under way while its agent connects again
LOST = {"disconnected", "restarted", "silent"}  # marks that say that whoever held a task is gone
REQUESTS, RESULTS = "action-requests", "action-results"
MOST_ANSWERED = 900_000  # characters of JSON in the answer to the goal
_STEPS = UUID("6f4b4f0a-5a63-4a0e-9f0e-0d9f4c1d6d0f")  # the space of the ids of steps


def register() -> None:
    """Join the ledger and the clock."""
    ledger.register_rule(react)
    ledger.register_rule(expect_lost)
    deadlines.register(RETRY, _retry_due)
    deadlines.register(TIMEOUT, _timeout_due)
    deadlines.register(LEFT, _left_due)
    deadlines.register(STATE_TIMEOUT, _state_timeout_due)


def is_declared(plan: PlanRecord) -> bool:
    """Whether the server itself runs the plan; no agent can have the tracker's own name."""
    return plan.planner == TRACKER


def begin(world: World, plan: PlanRecord, row: DeclaredPlan) -> None:
    """Enter the first state of a plan that was made just now."""
    one = Engine(world, plan, row)
    one.carry_out(machine.begin(one.declared, one.run))
    one.keep()


def react(world: World) -> None:
    """A follow-on rule: what moved in a declared plan may be what it waits for."""
    touched = {row.plan_id for row in (*world.rows, *world.placed_rows)}
    keys = [
        k for k, plan in world.plans.items() if k in touched and is_declared(plan) and plan.state in PLAN.open_states
    ]
    for row in _rows_of(keys):
        engine = Engine(world, world.plans[row.plan_id], row)
        engine.take_in()
        engine.keep()


def expect_lost(world: World) -> None:
    """A follow-on rule: an agent has another stream than before, so what it held when the last one ended was lost.

    Unless the answer still comes: who has it sends it at once.
    """
    if not world.back:
        return
    spaces = sorted({workspace for workspace, _, _ in world.back})
    ids = sorted({agent_id for _, _, agent_id in world.back})
    held = Task.objects.filter(workspace_id__in=spaces, agent_id__in=ids, state="running", plan__planner=TRACKER)
    for key, workspace, tenant, agent_id in held.values_list("id", "workspace_id", "tenant_id", "agent_id"):
        if {(workspace, tenant, agent_id), (workspace, "", agent_id)} & set(world.back):
            world.deadlines[(LEFT, key)] = world.now + timedelta(seconds=LEFT_SECONDS)


def _left_due(world: World, key: int) -> None:
    found = _of_task(world, key)
    if found:
        engine, task, name = found
        if task.state == "running" and engine.was_left(task):
            why = f"the connection of {task.agent_id} was lost"
            engine.carry_out(machine.lost(engine.declared, engine.run, name, why, surely=False))
        engine.keep()


def _rows_of(keys: list[int]) -> Iterable[DeclaredPlan]:
    if not keys:
        return []
    return DeclaredPlan.objects.filter(plan_id__in=sorted(keys)).select_related("workspace").order_by("plan_id")


def _of_task(world: World, key: int) -> "tuple[Engine, TaskRecord, str] | None":
    """The engine of the plan of a step's task, with all that has ended there taken in, and the step's name."""
    task = world.task_by_key(key)
    plan = world.plans.get(task.plan_id) if task else None
    if task is None or plan is None or plan.state in PLAN.ended:
        return None
    for row in _rows_of([plan.id]):
        engine = Engine(world, plan, row)
        engine.look_at_tasks()
        name = next((n for n in engine.run.steps if engine.task_id(engine.run.visit, n) == task.task_id), None)
        if name is not None:
            return engine, task, name
        engine.keep()
    return None


def _retry_due(world: World, key: int) -> None:
    found = _of_task(world, key)
    if found:
        engine, _, name = found
        if engine.due(engine.run.steps[name].until):
            engine.carry_out(machine.rested(engine.declared, engine.run, name))
        engine.keep()


def _timeout_due(world: World, key: int) -> None:
    found = _of_task(world, key)
    if found:
        engine, task, name = found
        step, taken = engine.run.steps[name], task.state != "pending"
        if engine.due(step.until) and step.phase == "asked":
            if engine.plan.held and not taken:
                engine.time(name)  # an operator holds it back: its time begins when it can be taken
            else:
                engine.carry_out(machine.out_of_time(engine.declared, engine.run, name, taken=taken))
        engine.keep()


def _state_timeout_due(world: World, key: int) -> None:
    world.load_plan_keys([key])
    plan = world.plans.get(key)
    if plan is None or plan.state in PLAN.ended:
        return
    for row in _rows_of([key]):
        engine = Engine(world, plan, row)
        engine.look_at_tasks()
        if engine.due(engine.run.until):
            engine.carry_out(machine.state_out_of_time(engine.declared, engine.run))
        engine.keep()


class Engine:
    """One declared plan inside one transaction."""

    def __init__(self, world: World, plan: PlanRecord, row: DeclaredPlan) -> None:
        self.world, self.plan, self.row = world, plan, row
        self.scope = plan.workspace_id, plan.tenant_id
        self.declared = Declared.model_validate(loads(row.definition))
        self.declared.plan_id = plan.plan_id
        self.run = Run.model_validate(loads(row.run))

    def keep(self) -> None:
        """Store where the plan stands, if that has changed."""
        run = dumps(self.run.model_dump())
        if run != self.row.run:
            self.row.run = run
            DeclaredPlan.objects.filter(pk=self.row.pk).update(run=run)

    def due(self, until: str) -> bool:
        """Whether a moment that the run waits for has come; a deadline may be of an attempt that is past."""
        return bool(until) and datetime.fromisoformat(until) <= self.world.now

    def was_left(self, task: TaskRecord) -> bool:
        """Whether the instance that holds a task was given it over a stream that has ended since."""
        mine = Presence.objects.filter(workspace_id=task.workspace_id, agent_id=task.agent_id)
        since = mine.order_by("-connected_at").values_list("connected_at", flat=True).first()
        return bool(since and task.started_at and sql.as_datetime(task.started_at) < since)

    # --- facts --------------------------------------------------------------------------------------------------------

    def take_in(self) -> None:
        """Take in what this batch recorded of the plan, row after row."""
        rows = [r for r in (*self.world.rows, *self.world.placed_rows) if r.plan_id == self.plan.id]
        for row in rows:
            if self.run.over:
                return
            if row.task_id and (name := self._step_of(row.task_id)):
                self._look_at(name)
            elif self.run.phase == "waiting" and row.kind == "message" and not row.refused and row.source != TRACKER:
                event = Event(type=row.type, data=loads(row.data))
                self.carry_out(machine.came(self.declared, self.run, event))

    def look_at_tasks(self) -> None:
        """Take in what the tasks of the open steps say."""
        visit = self.run.visit
        for name in list(self.run.steps):
            if self.run.visit == visit:
                self._look_at(name)

    def task_id(self, visit: int, step: str) -> str:
        """The id of a step's task: always the same one."""
        return str(uuid5(_STEPS, dumps([*self.scope, self.plan.plan_id, visit, step])))

    def _task(self, visit: int, step: str) -> TaskRecord | None:
        return self.world.task(self.scope, self.task_id(visit, step))

    def _step_of(self, key: int) -> str | None:
        task = self.world.task_by_key(key)
        return next((n for n in self.run.steps if task and self.task_id(self.run.visit, n) == task.task_id), None)

    def _look_at(self, name: str) -> None:
        """What the task of a step says, if the step is still open."""
        step, task = self.run.steps[name], self._task(self.run.visit, name)
        if task is None or step.final or self.run.phase != "working":
            return
        if task.attempt > step.attempt:
            machine.restarted(self.run, name, task.attempt)
            self.time(name)
        if step.phase != "asked":
            return
        if task.state == "cancelled":
            self.carry_out(machine.cancelled(self.declared, self.run, name, self._why_cancelled(task)))
        elif task.state in TASK.ended:
            error = None if task.state == "completed" else task.error
            self.carry_out(machine.answered(self.declared, self.run, name, self._answer(task), error))
        elif task.stalled and getattr(task, "stalled_reason", "") in LOST:
            self.carry_out(machine.lost(self.declared, self.run, name, f"{task.agent} was lost while it held this"))

    def _why_cancelled(self, task: TaskRecord) -> str:
        by = next(
            (r.by for r in reversed(self.world.rows) if r.task_id == task.id and r.to_state == "cancelled"), SYSTEM
        )
        return f"{task.name} was cancelled by {by}"

    def _answer(self, task: TaskRecord) -> Event:
        """What ended a task: the message that did, else what was reported."""
        of_task = [r for r in (*self.world.rows, *self.world.placed_rows) if r.task_id == task.id and not r.refused]
        answers = [r for r in of_task if _is_answer(r)]
        ends = [r for r in of_task if r.kind == "transition" and r.to_state in TASK.ended]
        if not answers and not ends:
            where = "task_id = %s AND kind = 'message' AND topic = 'action-results'"
            answers = [r for r in self.world.kept_rows(where, [task.id]) if not r.refused]
        if answers:
            return Event(type=answers[-1].type, data=loads(answers[-1].data))
        said = loads(ends[-1].data) if ends else {}
        data = {name: said[name] for name in ("result", "error") if said.get(name) is not None}
        return Event(type=task.response_event, data=data)

    # --- orders -------------------------------------------------------------------------------------------------------

    def carry_out(self, orders: Iterable[Order]) -> None:
        """Make moves, messages and deadlines of what the machine says."""
        for order in orders:
            match order:
                case Enter():
                    self._enter(order)
                case Ask():
                    self._ask(order)
                case Rest():
                    self._rest(order)
                case GiveUp():
                    self._close(order, "failed", order.error)
                case Drop():
                    self._close(order, "cancelled", order.why)
                case End():
                    self._end(order)

    def _enter(self, order: Enter) -> None:
        told = {"entered": order.state, "visit": order.visit, "from": order.source or None}
        self.world.note(
            self.plan, None, by=SYSTEM, type="plan.entered", reason=order.why, told=told, current_state=order.state
        )
        self.world.deadlines[(STATE_TIMEOUT, self.plan.id)] = None
        if order.timeout:
            self.run.until = self._after(STATE_TIMEOUT, self.plan.id, order.timeout)

    def _after(self, kind: str, subject: int, seconds: float) -> str:
        at = self.world.now + timedelta(seconds=seconds)
        self.world.deadlines[(kind, subject)] = at
        return moment(at) or ""

    def _rest(self, order: Rest) -> None:
        task = self._task(order.visit, order.step)
        assert task
        self.run.steps[order.step].until = self._after(RETRY, task.id, order.seconds)

    def time(self, name: str) -> None:
        """An attempt begins, and so does its time."""
        task = self._task(self.run.visit, name)
        seconds = self.declared.states[self.run.state].asked[name].timeout
        if task and seconds:
            self.run.steps[name].until = self._after(TIMEOUT, task.id, seconds)

    def _ask(self, order: Ask) -> None:
        """Record the request for an attempt; its task is made, or starts anew."""
        action, task_id = order.action, self.task_id(order.visit, order.step)
        event_id = f"{task_id}.{order.attempt}"
        data = order.data | {"task_id": task_id, "action_id": task_id}
        if task := self.world.task(self.scope, task_id):
            self._anew(task, order, event_id, data)
        self._say(REQUESTS, action.event_type, event_id, event_id, data, response_event=action.response_event)
        if order.visit == self.run.visit:  # it may have been passed meanwhile
            self.time(order.step)

    def _anew(self, task: TaskRecord, order: Ask, event_id: str, data: dict[str, Any]) -> None:
        """The next attempt: from now on the task is known by its request, and an answer to an older one is not its."""
        fresh: dict[str, Any] = {"error": "", "progress": None, "started_at": None, "agent": "", "agent_id": ""}
        reason = f"attempt {order.attempt}"
        self.world.move(self.plan, task, "pending", by=SYSTEM, reason=reason, attempt=order.attempt, **fresh)
        task.correlation_id, task.request_event_id = event_id, event_id
        task.digest, task.aliased = linking.digest_of(order.action.event_type, data), False
        self.world.mark(task)
        self.world.correlate(self.plan, event_id)
        after_task(self.world, self.plan, task)

    def _close(self, order: GiveUp | Drop, to: str, why: str) -> None:
        """A step's task, if it is still open, ends without an answer."""
        task = self._task(order.visit, order.step)
        if task and task.state in TASK.open_states:
            self._end_task(task, to, why)

    def _end_task(self, task: TaskRecord, to: str, why: str) -> None:
        for kind in (RETRY, TIMEOUT):
            self.world.deadlines[(kind, task.id)] = None
        plan = self.world.plans[task.plan_id]
        if to == "failed" and TASK.move(task.state, to):
            self.world.move(plan, task, to, by=SYSTEM, reason=why, error=why)
        else:  # what nobody took cannot have failed
            self.world.move(plan, task, "cancelled", by=SYSTEM, reason=why)
        after_task(self.world, plan, task)

    def _end(self, order: End) -> None:
        """The plan is over: whatever is open in it ends, and whoever set the goal gets the answer."""
        ends = sorted(TASK.ended)
        where = f"plan_id = %s AND state NOT IN ({sql.marks(ends)})"
        self.world.find_tasks(where, [self.plan.id, *ends], tail="ORDER BY position")
        for task in sorted(self.world.tasks.values(), key=lambda t: t.position):
            if task.plan_id == self.plan.id and task.state in TASK.open_states:
                self._end_task(task, "cancelled", f"its plan has {'ended' if order.state == 'completed' else 'failed'}")
        self.world.deadlines[(STATE_TIMEOUT, self.plan.id)] = None
        more: dict[str, Any] = {"closed_by": "fact", "error": linking.storable(order.error)}
        result = {"state": self.run.state, "results": self.run.results}
        if len(dumps(result)) > MOST_ANSWERED:
            result = {"state": self.run.state}
        more |= {"held": False} if self.plan.held else {}
        self.world.move(self.plan, None, order.state, by=SYSTEM, reason=order.why, told={"result": result}, **more)
        if self.plan.response_event:
            self._answer_goal(order, result)

    def _answer_goal(self, order: End, result: dict[str, Any]) -> None:
        done = order.state == "completed"
        data: dict[str, Any] = {"plan_id": self.plan.plan_id, "status": order.state, "success": done, "result": result}
        if not done:
            data["error"] = order.error
        event_id = str(uuid5(_STEPS, dumps([*self.scope, self.plan.plan_id, "answer"])))
        self._say(RESULTS, self.plan.response_event, event_id, self.plan.correlation_id, data)

    def _say(
        self, topic: str, type: str, event_id: str, correlation_id: str, data: dict[str, Any], **more: str
    ) -> None:
        """Record a message of the server's own, with all that follows from it."""
        said: dict[str, Any] = {
            "id": event_id,
            "source": TRACKER,
            "type": type,
            "topic": topic,
            "time": self.world.now,
            "data": data,
            "correlation_id": correlation_id,
            "response_topic": RESULTS if more else None,
            "session_id": self.plan.session_id or None,
            "tenant_id": self.plan.tenant_id,
            "user_id": self.plan.user_id,
            "plan_id": self.plan.plan_id,
            **more,
        }
        envelope = Envelope.model_construct(None, **said)  # its source is not for agents to have
        workspace = self.row.workspace.name
        message = Message(
            workspace_id=self.plan.workspace_id,
            tenant_id=self.plan.tenant_id,
            by=SYSTEM,
            envelope=envelope,
            workspace=workspace,
        )
        rules.message(self.world, message)


def _is_answer(row: RowRecord) -> bool:
    return row.kind == "message" and row.topic == RESULTS
