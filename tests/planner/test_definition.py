"""What is wrong with a definition is named, all of it at once, each at its place."""

import pytest

from planner import expressions
from planner.definition import read
from planner.expressions import Unresolved
from tests.planner.declared import END, ask, line, on


def problems(definition):
    return {problem["pointer"]: problem["detail"] for problem in read(definition).problems}


def test_a_sound_definition_has_none():
    assert problems(line("check", "ship")) == {}


def test_the_sdks_own_dump_is_a_definition():
    from soorma_common.state import StateAction, StateConfig, StateTransition

    states = {
        "start": StateConfig(state_name="start", description="Begin", default_next="check"),
        "check": StateConfig(
            state_name="check",
            description="Check parts",
            action=StateAction(event_type="a.requested", response_event="a.completed", data={"v": "{{goal_data.v}}"}),
            transitions=[StateTransition(on_event="a.completed", to_state="done", condition=None)],
        ),
        "done": StateConfig(state_name="done", description="", is_terminal=True),
    }
    dumped = {name: state.model_dump() for name, state in states.items()}
    assert problems({"goal": "g", "goal_data": {"v": 1}, "states": dumped}) == {}


def test_every_problem_is_named_at_once():
    definition = {
        "goal": "g",
        "goal_data": {"known": 1},
        "colour": "red",
        "states": {
            "start": {
                "action": ask("a", data={"x": ["{{goal_data.gone}}"], "y": "{{what.ever}}", "task_id": "mine"}),
                "transitions": [on("a", "nowhere"), on("a", "end", "reslt.ok"), on("a", "end", "1 +")],
            },
            "island": {"default_next": "end"},
            "stuck": {},
            "round": {"default_next": "round"},
            "end": END | {"default_next": "start"},
            "typo": {"acton": ask("a"), "default_next": "end"},
            "late": {"action": ask("b", retries=-1), "default_next": "end"},
        },
    }
    found = problems(definition)
    assert found == {
        "/colour": "is not known here",
        "/states/start/action/data/task_id": "is said by the server",
        "/states/start/action/data/x/0": "{{goal_data.gone}}: the goal data has no such member",
        "/states/start/action/data/y": "{{what.ever}} is not known: a placeholder begins with goal_data or "
        "results.STATE, or is plan_id or goal",
        "/states/start/transitions/0/to_state": "there is no state 'nowhere'",
        "/states/start/transitions/1/condition": "'reslt' is not known: there are event, goal_data, result, results",
        "/states/start/transitions/2/condition": found["/states/start/transitions/2/condition"],
        "/states/stuck": "nothing follows it, and it is not terminal",
        "/states/end": "a terminal state goes nowhere: it can have no transitions and no default_next",
        "/states/typo/acton": "is not known here",
        "/states/late/action/retries": "must be greater than or equal to 0",
    }
    assert found["/states/start/transitions/2/condition"].startswith("is no CEL expression: mismatched input")


def test_ways_are_followed_once_all_states_can_be_read():
    definition = {
        "goal": "g",
        "states": {
            "start": {"action": ask("a"), "transitions": [on("a", "round"), on("a", "end")]},
            "round": {"default_next": "again"},
            "again": {"default_next": "round"},
            "island": {"action": ask("b"), "default_next": "end"},
            "end": END,
        },
    }
    assert problems(definition) == {
        "/states/round": "no way leads from it to a terminal state",
        "/states/again": "no way leads from it to a terminal state",
        "/states/island": "no way leads from 'start' to it",
    }


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"initial_state": "first"}, "/initial_state", "there is no state 'first'"),
        ({"states": {}}, "/states", "Dictionary should have at least 1 item after validation, not 0"),
        (
            {"states": {"start": {"default_next": "start"}}},
            "/states",
            "none of them is terminal: the plan could never end",
        ),
        ({"goal": ""}, "/goal", "String should have at least 1 character"),
        ({"goal_data": []}, "/goal_data", "must be a valid dictionary"),
        ({"states": {"start": 7}}, "/states/start", "must be a valid dictionary or instance of StateConfig"),
        ({"states": {"a/b~c": {"is_terminal": 5}}}, "/states/a~1b~0c/is_terminal", "must be a valid boolean"),
    ],
)
def test_single_faults(change, pointer, detail):
    found = problems(line("check") | change)
    assert found[pointer].startswith(detail)


def test_results_must_come_before():
    definition = line("a", "b")
    definition["states"]["a"]["action"]["data"] = {
        "x": "{{results.b.n}}",
        "y": "{{results.zzz}}",
        "z": "{{results.start}}",
    }
    assert problems(definition) == {
        "/states/a/action/data/x": "state 'b' never comes before this one",
        "/states/a/action/data/y": "{{results.zzz}}: there is no state 'zzz'",
        "/states/a/action/data/z": "{{results.start}}: state 'start' asks for nothing",
    }


def test_sizes_are_bounded():
    states = {f"s{n}": {"default_next": f"s{n + 1}"} for n in range(201)} | {"s201": END}
    assert "at most 200 items" in problems({"goal": "g", "initial_state": "s0", "states": states})["/states"]
    wide = line("a")
    wide["states"]["a"] = {"actions": [ask(f"x{n}") for n in range(21)], "default_next": "done"}
    assert "at most 20 items" in problems(wide)["/states/a/actions"]
    long = line("a")
    long["states"]["a"]["transitions"][0]["condition"] = "true" + " && true" * 200
    assert "at most 1000 characters" in problems(long)["/states/a/transitions/0/condition"]


@pytest.mark.parametrize("document", [None, [], "text", 7])
def test_what_is_no_object_is_no_definition(document):
    assert problems(document) == {"": "must be an object"}


# --- conditions -------------------------------------------------------------------------------------------------------

SEEN = {
    "result": {"n": 3, "ok": True, "l": [1, 2], "s": "a", "big": 2**70},
    "event": {},
    "goal_data": {"n": 2.5},
    "results": {},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("result.ok", True),
        ("result.n > goal_data.n", True),
        ("result.big > 1", True),
        ("has(result.gone) && result.gone", False),
        ("result.l.exists(x, x == 2) && result.l.all(y, y > 1)", False),
        ("'s' in result && result.s.matches('^(a+)+$')", True),
        ('result["n"] == 3 ? true : false', True),
    ],
)
def test_conditions(text, value):
    assert expressions.faults(text) == []
    assert expressions.holds(text, SEEN) is value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("result.gone == 1", "there is no member gone"),
        ("result.n", "it gives neither true nor false"),
        ("result.n / 0 == 1", "division by zero in CEL expression"),
        ("result.s > 1", None),
    ],
)
def test_conditions_that_cannot_be_computed(text, why):
    assert expressions.faults(text) == []
    with pytest.raises(Unresolved) as refused:
        expressions.holds(text, SEEN)
    assert why is None or str(refused.value) == why


@pytest.mark.parametrize(
    "text",
    [
        "nope",
        "exec('x')",
        "result.l.all(x, result.l.all(y, x > y))",
        "result.l.map(x, result.l.filter(y, y > x)) == []",
        "result.l.all(x, // \nresult.l.all(y, true))",
        "__import__('os')",
        "result.",
        "(" * 300,
    ],
)
def test_conditions_that_are_refused(text):
    assert expressions.faults(text) != []


def test_what_a_condition_looks_at_is_bounded():
    much = SEEN | {"result": {"l": list(range(20_000))}}
    with pytest.raises(Unresolved, match="are the most"):
        expressions.holds("result.l.all(x, x in result.l)", much)
    assert expressions.holds("size(result.l) == 20000", much)
