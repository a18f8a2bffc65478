"""A declared plan as its author writes it: the published SDK's states, actions and transitions, and their faults.

`read` names every problem at once, each with the JSON pointer of its place. What it gives is sound: every name leads
somewhere, every state can be reached, and from each of them there is a way to an end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from planner import expressions
from planner.expressions import ROOTS
from tracker.envelope import Name, Text, no_nul
from tracker.errors import pointers

MOST_STATES, MOST_ACTIONS, MOST_TRANSITIONS = 200, 20, 50
OWN_NAMES = ("task_id", "action_id")  # of a request's data: the server says them
LONGEST = 30 * 86_400.0  # seconds
Seconds = Annotated[float, Field(gt=0, le=LONGEST, allow_inf_nan=False)]
StateName = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(no_nul)]
Prose = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(no_nul)]


def _label(event_type: str) -> str:
    slug = event_type.replace(".", "-").replace("_", "-")
    return slug.removesuffix("-requested") or slug


class Written(BaseModel):
    """What an author writes: a member that is not known is a typing error."""

    model_config = ConfigDict(extra="forbid")


class StateAction(Written):
    """What is asked for when a state is entered. `retries`: further attempts when one fails or runs out of time."""

    event_type: Name
    response_event: Name
    data: dict[str, Any] | None = None
    name: StateName | None = Field(None, description="tells parallel actions apart; else made of the event type")
    retries: int | None = Field(None, ge=0, le=20)
    backoff: float = Field(0, ge=0, le=LONGEST, allow_inf_nan=False, description="seconds before a further attempt")
    timeout: Seconds | None = Field(None, description="seconds that one attempt may take")


class StateTransition(Written):
    """The way to another state, taken on an event if its condition (CEL) holds."""

    on_event: Name
    to_state: StateName
    condition: Annotated[str, StringConstraints(max_length=expressions.LONGEST)] | None = None


class StateConfig(Written):
    """One state. Its actions run side by side; `join` says whether all must be done, or any one."""

    state_name: StateName | None = None
    description: Prose = ""
    action: StateAction | None = None
    actions: list[StateAction] = Field(default_factory=list, max_length=MOST_ACTIONS)
    join: Literal["all", "any"] = "all"
    transitions: list[StateTransition] = Field(default_factory=list, max_length=MOST_TRANSITIONS)
    default_next: StateName | None = None
    is_terminal: bool = False
    timeout: Seconds | None = Field(None, description="seconds that the state may take, with all of its attempts")
    on_failure: StateName | None = None

    @property
    def asked(self) -> dict[str, StateAction]:
        """Its actions by name, in order."""
        found: dict[str, StateAction] = {}
        for action in self.actions or ([self.action] if self.action else []):
            label = name = action.name or _label(action.event_type)
            number = 1
            while name in found:
                number += 1
                name = f"{label}-{number}"
            found[name] = action
        return found

    @property
    def passed_through(self) -> bool:
        """Whether it is left as soon as it is entered."""
        return not (self.action or self.actions) and self.default_next is not None


class Declared(Written):
    """The body of `POST /v1/plans`."""

    goal: Name
    goal_data: dict[str, Any] = Field(default_factory=dict)
    states: dict[StateName, StateConfig] = Field(min_length=1, max_length=MOST_STATES)
    initial_state: StateName = "start"
    session_id: Text | None = None
    parent_plan_id: Text | None = None
    plan_id: Annotated[Text, StringConstraints(min_length=1)] | None = None
    response_event: Text | None = Field(None, description="the type of the message that tells how the plan ended")
    tenant_id: Annotated[Text, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)] | None = None
    user_id: Annotated[Text, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)] | None = None


class Edge(NamedTuple):
    """One way between two states; `why` is an event type, or `failure`, or empty for the default."""

    source: str
    target: str
    why: str
    condition: str
    pointer: str


@dataclass
class Reading:
    """What came of reading a definition: the plan when nothing is wrong with it, and whatever states could be read."""

    plan: Declared | None = None
    states: dict[str, StateConfig] = field(default_factory=dict)
    initial: str = "start"
    problems: list[dict[str, str]] = field(default_factory=list)

    def blame(self, pointer: str, detail: str) -> None:
        """Something is wrong there."""
        self.problems.append({"pointer": pointer, "detail": detail})


def read(document: Any) -> Reading:
    """Read a definition and name everything that is wrong with it."""
    reading = Reading()
    if not isinstance(document, dict):
        reading.blame("", "must be an object")
        return reading
    whole = _shape(reading, document)
    broken = _read_states(reading, document.get("states"))
    if isinstance(document.get("initial_state"), str):
        reading.initial = document["initial_state"]
    if reading.states:
        _check(reading, document.get("goal_data"), broken)
    reading.plan = whole if not reading.problems else None
    return reading


def _shape(reading: Reading, document: dict[str, Any]) -> Declared | None:
    """The whole as a model. Faults inside of single states are named by `_read_states`."""
    try:
        return Declared.model_validate(document)
    except ValidationError as error:
        faults = [e for e in error.errors(include_url=False) if not (e["loc"][:1] == ("states",) and len(e["loc"]) > 2)]
        reading.problems += [fault | {"detail": plain(fault["detail"])} for fault in pointers(faults)]
        return None


def _read_states(reading: Reading, states: Any) -> set[str]:
    """Read each state by itself; gives the names of those that cannot be read."""
    broken: set[str] = set()
    for name, written in states.items() if isinstance(states, dict) else ():
        try:
            reading.states[name] = StateConfig.model_validate(written)
        except ValidationError as error:
            broken.add(name)
            faults = [e | {"loc": ("states", name, *e["loc"])} for e in error.errors(include_url=False)]
            reading.problems += [fault | {"detail": plain(fault["detail"])} for fault in pointers(faults)]
    return broken


def plain(detail: str) -> str:
    """Pydantic's words as ours: no capital, no "Input should be"."""
    detail = detail.removeprefix("Value error, ").replace("Input should be", "must be")
    return detail.replace("Extra inputs are not permitted", "is not known here").replace("Field required", "is missing")


def at(*parts: str | int) -> str:
    """A JSON pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


# --- what only the whole can tell -------------------------------------------------------------------------------------


def _check(reading: Reading, goal_data: Any, broken: set[str]) -> None:
    known = {*reading.states, *broken}
    if reading.initial not in known:
        reading.blame("/initial_state", f"there is no state {reading.initial!r}")
    ways = edges(reading.states)
    for edge in ways:
        if edge.target not in known:
            reading.blame(edge.pointer, f"there is no state {edge.target!r}")
    for name, state in reading.states.items():
        _check_state(reading, name, state)
    _check_texts(reading, goal_data, ways, broken)
    if not broken and reading.initial in known:
        _check_ways(reading, ways)


def edges(states: dict[str, StateConfig]) -> list[Edge]:
    """Every way between states, as written, in order."""
    found = []
    for name, state in states.items():
        for i, way in enumerate(state.transitions):
            pointer = at("states", name, "transitions", i, "to_state")
            found.append(Edge(name, way.to_state, way.on_event, way.condition or "", pointer))
        if state.default_next is not None:
            found.append(Edge(name, state.default_next, "", "", at("states", name, "default_next")))
        if state.on_failure is not None:
            found.append(Edge(name, state.on_failure, "failure", "", at("states", name, "on_failure")))
    return found


def _check_state(reading: Reading, name: str, state: StateConfig) -> None:
    place = at("states", name)
    if state.state_name not in (None, name):
        reading.blame(f"{place}/state_name", f"is {state.state_name!r}, but the state is called {name!r}")
    if state.action and state.actions:
        reading.blame(f"{place}/actions", "a state has one action or several, not both")
    if state.is_terminal and (state.transitions or state.default_next is not None):
        reading.blame(place, "a terminal state goes nowhere: it can have no transitions and no default_next")
    if not state.is_terminal and not state.transitions and state.default_next is None:
        reading.blame(place, "nothing follows it, and it is not terminal")
    if state.passed_through and state.transitions and not state.is_terminal:
        reading.blame(f"{place}/transitions", "are never looked at: without an action it goes on to default_next")
    if state.on_failure is not None and not (state.asked or state.timeout):
        reading.blame(f"{place}/on_failure", "nothing can fail in a state without an action and without a timeout")
    if state.default_next is None and not state.is_terminal and state.transitions and state.asked:
        _check_followed(reading, place, state)
    _check_names(reading, place, state)


def _check_followed(reading: Reading, place: str, state: StateConfig) -> None:
    """Some answer must lead on: of one action its own, of several that are joined one of theirs."""
    answers = {action.response_event for action in state.asked.values()}
    if not answers & {way.on_event for way in state.transitions}:
        wanted = " or ".join(repr(answer) for answer in sorted(answers))
        reading.blame(f"{place}/transitions", f"none is on the answer {wanted}, and there is no default_next")


def _check_names(reading: Reading, place: str, state: StateConfig) -> None:
    named = [(i, action.name) for i, action in enumerate(state.actions) if action.name]
    for i, name in named:
        if any(name == other for j, other in named if j < i):
            reading.blame(f"{place}/actions/{i}/name", f"{name!r} is the name of another action of the state")
    for pointer, action in _actions(place, state):
        for own in OWN_NAMES:
            if own in (action.data or {}):
                reading.blame(f"{pointer}/data/{own}", "is said by the server")


def _actions(place: str, state: StateConfig) -> Iterator[tuple[str, StateAction]]:
    if state.action:
        yield f"{place}/action", state.action
    for i, action in enumerate(state.actions):
        yield f"{place}/actions/{i}", action


def _check_ways(reading: Reading, ways: list[Edge]) -> None:
    """Every state must be reached from the first, and reach a terminal one."""
    forward: dict[str, set[str]] = {name: set() for name in reading.states}
    backward: dict[str, set[str]] = {name: set() for name in reading.states}
    for edge in ways:
        if edge.target in forward:
            forward[edge.source].add(edge.target)
            backward[edge.target].add(edge.source)
    reached = _spread([reading.initial], forward)
    terminal = [name for name, state in reading.states.items() if state.is_terminal]
    ending = _spread(terminal, backward)
    for name, state in reading.states.items():
        if name not in reached:
            reading.blame(at("states", name), f"no way leads from {reading.initial!r} to it")
        elif name not in ending and (state.transitions or state.default_next is not None):
            reading.blame(at("states", name), "no way leads from it to a terminal state")
    if not terminal:
        reading.blame("/states", "none of them is terminal: the plan could never end")


def _spread(start: list[str], ways: dict[str, set[str]]) -> set[str]:
    found, waiting = set(start), list(start)
    while waiting:
        new = ways[waiting.pop()] - found
        found |= new
        waiting += new
    return found


# --- placeholders and conditions --------------------------------------------------------------------------------------


def _check_texts(reading: Reading, goal_data: Any, ways: list[Edge], broken: set[str]) -> None:
    forward: dict[str, set[str]] = {name: set() for name in {*reading.states, *broken}}
    for edge in ways:
        if edge.target in forward:
            forward[edge.source].add(edge.target)
    for name, state in reading.states.items():
        place = at("states", name)
        for pointer, action in _actions(place, state):
            for where, path in placeholders(action.data or {}, f"{pointer}/data"):
                if why := _fault_of(reading, path, goal_data, broken):
                    reading.blame(where, why)
                elif path[0] == "results" and not broken and name not in _spread([*forward[path[1]]], forward):
                    reading.blame(where, f"state {path[1]!r} never comes before this one")
        for i, way in enumerate(state.transitions):
            for why in expressions.faults(way.condition) if way.condition else ():
                reading.blame(f"{place}/transitions/{i}/condition", why)


def placeholders(template: Any, pointer: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every placeholder in a template: where it stands, and the parts of its name."""
    if isinstance(template, str):
        for found in expressions.PLACEHOLDER.finditer(template):
            yield pointer, expressions.parts(found[1])
    elif isinstance(template, dict | list):
        inner = template.items() if isinstance(template, dict) else enumerate(template)
        for key, value in inner:
            yield from placeholders(value, pointer + at(key))


def _fault_of(reading: Reading, path: list[str], goal_data: Any, broken: set[str]) -> str:
    """What is wrong with a placeholder; empty when nothing is."""
    written = "{{" + ".".join(path) + "}}"
    root, rest = path[0], path[1:]
    if root not in ROOTS or (root == "results" and not rest):
        return f"{written} is not known: a placeholder begins with goal_data or results.STATE, or is plan_id or goal"
    if root == "goal_data" and isinstance(goal_data, dict) and expressions.looked_up(goal_data, rest) is expressions.NO:
        return f"{written}: the goal data has no such member"
    if root != "results" or rest[0] in broken:
        return ""
    if rest[0] not in reading.states:
        return f"{written}: there is no state {rest[0]!r}"
    asked = reading.states[rest[0]].asked
    if not asked:
        return f"{written}: state {rest[0]!r} asks for nothing"
    if reading.states[rest[0]].actions and len(rest) > 1 and rest[1] not in asked:
        return f"{written}: state {rest[0]!r} has no action {rest[1]!r}"
    return ""
