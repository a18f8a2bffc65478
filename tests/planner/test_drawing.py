"""The picture of a machine: nothing lies on anything else, lines go down or back, and it is always the same one."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from planner import drawing
from planner.definition import read
from planner.drawing import HEIGHT, WIDTH
from planner.machine import Run
from tests.planner.declared import END, ask, line, on


@st.composite
def machines(draw):
    """Any states with any ways between them, sound or not."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 14)))]
    anywhere = st.sampled_from(names)
    return {
        name: {
            "default_next": draw(st.none() | anywhere),
            "on_failure": draw(st.none() | anywhere),
            "transitions": [on("x", draw(anywhere)) for _ in range(draw(st.integers(0, 3)))],
        }
        for name in names
    }


@settings(max_examples=150, deadline=None)
@given(machines())
def test_states_do_not_touch_and_lines_stay_inside(states):
    known = read({"goal": "g", "initial_state": "s0", "states": states}).states
    picture = drawing.draw(known, "s0")
    assert {node.name for node in picture.nodes} == set(states)
    for one, other in combinations(picture.nodes, 2):
        assert abs(one.x - other.x) >= WIDTH + 10 or abs(one.y - other.y) >= HEIGHT + 10
    for node in picture.nodes:
        assert 0 <= node.x <= picture.width - WIDTH
        assert 0 <= node.y <= picture.height - HEIGHT
    at = {node.name: node for node in picture.nodes}
    wanted = {(name, way) for name, state in known.items() for way in targets(state)}
    assert {(one.source, one.target) for one in picture.lines} == wanted
    for one in picture.lines:
        down = at[one.source].y < at[one.target].y
        assert down or "H" in one.path  # back, by a lane at the side
    assert drawing.draw(known, "s0") == picture


def targets(state):
    return [way.to_state for way in state.transitions] + [n for n in (state.default_next, state.on_failure) if n]


def test_it_shows_where_a_run_stands():
    plan = read(line("check", "ship")).plan
    run = Run(
        phase="working",
        state="ship",
        visited={"start": 1, "check": 3, "ship": 1},
        taken=[("start", "check"), ("check", "ship")],
    )
    picture = drawing.draw(plan.states, "start", run)
    assert {node.name: node.state for node in picture.nodes} == {
        "start": "visited", "check": "visited", "ship": "current", "done": "",
    }  # fmt: skip
    assert [(one.source, one.target) for one in picture.lines if one.taken] == [("start", "check"), ("check", "ship")]
    run.phase, run.state = "failed", "ship"
    assert next(n for n in drawing.draw(plan.states, "start", run).nodes if n.name == "ship").state == "failed"


def test_long_names_go_on_two_lines_and_are_whole_in_the_title():
    name = "a-state-with-a-rather-long-name-that-does-not-fit-anywhere"
    plan = read({"goal": "g", "initial_state": name, "states": {name: END}}).plan
    node = drawing.draw(plan.states, name).nodes[0]
    assert node.lines[0] == "a-state-with-a-"
    assert len(node.lines) == 2
    assert all(len(text) <= drawing.NAME_CHARS for text in node.lines)
    assert name in node.full


def test_two_hundred_states_are_drawn():
    states = {
        f"s{n}": {"action": ask("a"), "default_next": f"s{n + 1}", "on_failure": f"s{n // 2}"} for n in range(199)
    }
    states["s199"] = END
    picture = drawing.draw(read({"goal": "g", "initial_state": "s0", "states": states}).states, "s0")
    assert len(picture.nodes) == 200
