"""Which step of a declared plan comes next: pure, from its definition and what has happened so far.

`Run` is where a plan stands; each function takes one fact in, changes the run, and gives the orders that follow, in
order. Orders say what the ledger has to do: ask for a step, give up on one, wait, end. Nothing here knows of a
database, a clock or a task; the same facts in the same order always give the same orders.
"""

from collections.abc import Callable
from typing import Any, Concatenate, Literal, ParamSpec

from pydantic import BaseModel, ConfigDict, Field

from planner import expressions
from planner.definition import Declared, StateConfig, StateTransition
from planner.expressions import Unresolved
from planner.orders import Ask, Drop, End, Enter, GiveUp, Order, Rest
from tracker.envelope import dumps

LOST_RETRIES = 3  # further attempts after the holder of one was lost, unless the action says otherwise
MOST_VISITS = 1_000  # states that one run may enter: a loop ends, clearly
MOST_KEPT = 4_000_000  # characters of JSON that all kept results may have
MOST_ASKED = 900_000  # characters of JSON in the data of one request


class Event(BaseModel):
    """What came: a message's type and data."""

    type: str
    data: dict[str, Any] = Field(default_factory=dict)

    @property
    def result(self) -> Any:
        """What conditions and later states see of it: the SDK's workers put it into `result`, others say it bare."""
        return self.data.get("result", self.data)


class Step(BaseModel):
    """One action of the visit that goes on."""

    phase: Literal["asked", "resting", "completed", "failed", "dropped"] = "asked"
    attempt: int = 1
    until: str = ""  # when the attempt runs out of time, or is to be made again
    event: Event | None = None
    error: str = ""
    final: bool = False  # it can no longer succeed or fail otherwise


class Run(BaseModel):
    """Where a plan stands. `phase`: at work on its steps, waiting for an event, or ended in one of two ways."""

    model_config = ConfigDict(extra="ignore")

    phase: Literal["new", "working", "waiting", "completed", "failed"] = "new"
    state: str = ""
    visit: int = 0
    until: str = ""  # when the state runs out of time
    steps: dict[str, Step] = Field(default_factory=dict)
    results: dict[str, Any] = Field(default_factory=dict)
    visited: dict[str, int] = Field(default_factory=dict)  # how often, by state
    taken: list[tuple[str, str]] = Field(default_factory=list)  # ways that were gone, each once
    error: str = ""
    going: tuple[str, str, str] | None = Field(None, exclude=True)  # to which state, from which one, on what

    @property
    def over(self) -> bool:
        """Whether nothing follows any more."""
        return self.phase in ("completed", "failed")


P = ParamSpec("P")


Fact = Callable[Concatenate[Declared, Run, P], list[Order]]


def following(fact: Fact[P]) -> Fact[P]:
    """After a fact, enter the state that it leads to, and on through those that are left at once."""

    def with_all_that_follows(plan: Declared, run: Run, /, *args: P.args, **more: P.kwargs) -> list[Order]:
        orders = fact(plan, run, *args, **more)
        while run.going:
            orders += _enter(plan, run, *run.going)
        return orders

    with_all_that_follows.__doc__ = fact.__doc__
    return with_all_that_follows


# --- facts ------------------------------------------------------------------------------------------------------------


@following
def begin(plan: Declared, run: Run) -> list[Order]:
    """The plan starts."""
    return _go(run, plan.initial_state, "", "the plan was started")


@following
def answered(plan: Declared, run: Run, name: str, event: Event, error: str | None) -> list[Order]:
    """A step's task has ended with an answer; `error` None: it is completed."""
    step = _open(run, name)
    if step is None:
        return []
    step.event, step.until = event, ""
    if error is None:
        step.phase, step.final = "completed", True
        return _joined(plan, run, name)
    return _failed(plan, run, name, error or f"{event.type} says that it failed")


@following
def cancelled(plan: Declared, run: Run, name: str, why: str) -> list[Order]:
    """Somebody cancelled a step's task: that is not tried again."""
    step = _open(run, name)
    if step is None:
        return []
    step.event = None
    return _failed(plan, run, name, why, for_good=True)


@following
def lost(plan: Declared, run: Run, name: str, why: str, *, surely: bool = True) -> list[Order]:
    """Who held an attempt is gone without an answer: the next attempt at once, as long as there is one.

    `surely` false: it is back, and may still answer; then it is left to do so when no further attempt is.
    """
    step = _open(run, name)
    if step is None or step.phase != "asked":
        return []
    action = _state(plan, run).asked[name]
    most = LOST_RETRIES if action.retries is None else action.retries
    step.event = None
    if step.attempt <= most:
        return [GiveUp(run.visit, name, why), *_again(plan, run, name)]
    if not surely:
        return []
    return [GiveUp(run.visit, name, why), *_failed(plan, run, name, why, for_good=True)]


@following
def out_of_time(plan: Declared, run: Run, name: str, *, taken: bool) -> list[Order]:
    """An attempt has used up its time. `taken`: somebody works on it; what nobody took is not asked for again."""
    step = _open(run, name)
    if step is None or step.phase != "asked":
        return []
    seconds = _state(plan, run).asked[name].timeout or 0
    error = f"no answer within {seconds:g} s" if taken else f"nobody took it within {seconds:g} s"
    step.event, step.until = None, ""
    return [GiveUp(run.visit, name, error), *_failed(plan, run, name, error, for_good=not taken)]


@following
def state_out_of_time(plan: Declared, run: Run) -> list[Order]:
    """The state has used up its time, with all of its attempts."""
    if run.phase not in ("working", "waiting"):
        return []
    seconds = _state(plan, run).timeout or 0
    what = "its steps were not done" if run.phase == "working" else "what it waits for did not come"
    return _state_failed(plan, run, f"state {run.state} timed out: {what} within {seconds:g} s")


@following
def rested(plan: Declared, run: Run, name: str) -> list[Order]:
    """The time before the next attempt is over."""
    step = _open(run, name)
    return _again(plan, run, name) if step and step.phase == "resting" else []


def restarted(run: Run, name: str, attempt: int) -> None:
    """Somebody else had the task start anew: that is the attempt from now on."""
    step = _open(run, name)
    if step:
        step.phase, step.attempt, step.until, step.error = "asked", attempt, "", ""


@following
def came(plan: Declared, run: Run, event: Event) -> list[Order]:
    """An event came for a plan that may wait for it."""
    if run.phase != "waiting":
        return []
    try:
        way = _way(plan, run, [event], failed=False)
    except Unresolved as error:
        return _state_failed(plan, run, str(error))
    return _go(run, way.to_state, run.state, event.type) if way else []


# --- what follows -----------------------------------------------------------------------------------------------------


def _state(plan: Declared, run: Run) -> StateConfig:
    return plan.states[run.state]


def _open(run: Run, name: str) -> Step | None:
    step = run.steps.get(name)
    return step if step and run.phase == "working" and not step.final else None


def known(plan: Declared, run: Run, plan_id: str = "") -> dict[str, Any]:
    """What placeholders and conditions see."""
    return {"goal_data": plan.goal_data, "results": run.results, "goal": plan.goal, "plan_id": plan_id or plan.plan_id}


def _go(run: Run, target: str, source: str, why: str) -> list[Order]:
    """Where the run goes next; it is entered when the fact that leads there has been taken in."""
    run.going = target, source, why
    return []


def _enter(plan: Declared, run: Run, name: str, source: str, why: str) -> list[Order]:
    run.going = None
    if run.visit >= MOST_VISITS:
        return _end(
            run, "failed", f"{MOST_VISITS} states have been entered, and it still goes round", "an endless loop"
        )
    state = plan.states[name]
    run.visit, run.state, run.until, run.steps = run.visit + 1, name, "", {}
    run.visited[name] = run.visited.get(name, 0) + 1
    if source and (source, name) not in run.taken:
        run.taken.append((source, name))
    entered: list[Order] = [Enter(name, run.visit, source, why, state.timeout)]
    if state.asked:
        run.phase = "working"
        return [*entered, *_ask_all(plan, run)]
    if state.is_terminal:
        return [*entered, *_end(run, "completed", "", f"state {name} is terminal")]
    run.phase = "waiting"
    return entered if state.default_next is None else [*entered, *_go(run, state.default_next, name, "")]


def _ask_all(plan: Declared, run: Run) -> list[Order]:
    orders: list[Order] = []
    run.steps = {name: Step() for name in _state(plan, run).asked}
    for name, step in list(run.steps.items()):
        if not (step.final or run.going or run.over):
            orders += _ask(plan, run, name)
    return orders


def _ask(plan: Declared, run: Run, name: str) -> list[Order]:
    """Ask for the attempt that its step is at; what cannot be asked has failed for good."""
    step, action = run.steps[name], _state(plan, run).asked[name]
    try:
        data = expressions.filled(action.data or {}, known(plan, run))
    except Unresolved as error:
        return _failed(plan, run, name, f"its request cannot be made: {error}", for_good=True)
    if (size := len(dumps(data))) > MOST_ASKED:
        error_text = f"its request would have {size} characters, and {MOST_ASKED} are the most"
        return _failed(plan, run, name, error_text, for_good=True)
    step.phase, step.error, step.event = "asked", "", None
    return [Ask(run.visit, name, step.attempt, action, data)]


def _again(plan: Declared, run: Run, name: str) -> list[Order]:
    step = run.steps[name]
    step.attempt += 1
    step.until = ""
    return _ask(plan, run, name)


def _failed(plan: Declared, run: Run, name: str, error: str, *, for_good: bool = False) -> list[Order]:
    """An attempt has failed: the next one, after a rest, or the step has failed."""
    step, action = run.steps[name], _state(plan, run).asked[name]
    step.error = error
    if not for_good and step.attempt <= (action.retries or 0):
        if not action.backoff:
            return _again(plan, run, name)
        step.phase = "resting"
        return [Rest(run.visit, name, action.backoff)]
    step.phase, step.final, step.until = "failed", True, ""
    return _joined(plan, run, name)


def _joined(plan: Declared, run: Run, name: str) -> list[Order]:
    """A step is done or has failed: whether that settles its state, and where it goes then."""
    state, step = _state(plan, run), run.steps[name]
    left = [n for n, s in run.steps.items() if not s.final]
    if step.phase == "completed" and (state.join == "any" or not left):
        return [*_drop(run, left, "another one of its state is done"), *_succeeded(plan, run)]
    if step.phase == "failed" and (state.join == "all" or not left):
        return [*_drop(run, left, f"{name} of the same state has failed"), *_step_failed(plan, run, name)]
    return []


def _drop(run: Run, names: list[str], why: str) -> list[Order]:
    for name in names:
        run.steps[name].phase, run.steps[name].final, run.steps[name].until = "dropped", True, ""
    return [Drop(run.visit, name, why) for name in names]


def _succeeded(plan: Declared, run: Run) -> list[Order]:
    """The state's steps are done: keep what they gave, and go on."""
    state = _state(plan, run)
    done = {n: s.event for n, s in run.steps.items() if s.phase == "completed" and s.event}
    results: dict[str, Any] = {name: event.result for name, event in done.items()}
    run.results[run.state] = results if state.actions else [*results.values(), None][0]
    if (size := len(dumps(run.results))) > MOST_KEPT:
        return _state_failed(plan, run, f"its results have {size} characters, and {MOST_KEPT} are the most")
    if state.is_terminal:
        return _end(run, "completed", "", f"state {run.state} is terminal")
    try:
        way = _way(plan, run, list(done.values()), failed=False)
    except Unresolved as error:
        return _state_failed(plan, run, str(error))
    if way:
        return _go(run, way.to_state, run.state, way.on_event)
    if state.default_next is not None:
        return _go(run, state.default_next, run.state, "")
    came = ", ".join(sorted({event.type for event in done.values()}))
    return _state_failed(plan, run, f"state {run.state}: no transition holds for {came}")


def _step_failed(plan: Declared, run: Run, name: str) -> list[Order]:
    """A step has failed for good. A transition that is made for that is taken, else on_failure."""
    step = run.steps[name]
    if step.event:
        try:
            way = _way(plan, run, [step.event], failed=True, expected=_state(plan, run).asked[name].response_event)
        except Unresolved:
            way = None  # the failure is told as it is, not what a condition makes of it
        if way:
            run.results[run.state] = {name: step.event.result} if _state(plan, run).actions else step.event.result
            return _go(run, way.to_state, run.state, way.on_event)
    return _state_failed(plan, run, f"{name}: {step.error}" if _state(plan, run).actions else step.error)


def _state_failed(plan: Declared, run: Run, error: str) -> list[Order]:
    dropped = _drop(run, [n for n, s in run.steps.items() if not s.final], "its state has failed")
    target = _state(plan, run).on_failure
    if target is not None:
        return [*dropped, *_go(run, target, run.state, f"failure: {error}")]
    return [*dropped, *_end(run, "failed", error, f"state {run.state} has failed")]


def _end(run: Run, state: Literal["completed", "failed"], error: str, why: str) -> list[Order]:
    run.phase, run.error, run.until = state, error, ""
    return [End(state, error, why)]


def _way(plan: Declared, run: Run, events: list[Event], *, failed: bool, expected: str = "") -> StateTransition | None:
    """The first transition on one of these events whose condition holds.

    After a failure only those count that are made for it: on another answer than the one `expected` of a success, or
    with a condition that looks at the answer. Raises Unresolved when a condition cannot be computed.
    """
    by_type = {event.type: event for event in events}
    for way in _state(plan, run).transitions:
        event = by_type.get(way.on_event)
        if event is None or (failed and not _meant_for_failure(way, expected)):
            continue
        if way.condition is None or _holds(plan, run, way, event, skip=failed):
            return way
    return None


def _meant_for_failure(way: StateTransition, expected: str) -> bool:
    return way.on_event != expected or (way.condition is not None and expressions.looks_at_the_answer(way.condition))


def _holds(plan: Declared, run: Run, way: StateTransition, event: Event, *, skip: bool) -> bool:
    seen = known(plan, run) | {"result": event.result, "event": event.model_dump()}
    try:
        return expressions.holds(way.condition or "", seen)
    except Unresolved as error:
        if skip:
            return False
        raise Unresolved(f"the condition of the transition to {way.to_state} cannot be computed: {error}") from error
