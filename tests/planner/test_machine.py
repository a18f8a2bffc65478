"""The machine by itself: whatever happens in whatever order, nothing is asked for twice, and it goes on or ends."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from planner import machine
from planner.definition import read
from planner.machine import Event, Run
from planner.orders import Ask, End, Enter
from tests.planner.declared import END, ask, line, on

FACTS = ("done", "failed", "lost", "left", "late", "cancelled", "rested", "state", "event", "restarted")


@st.composite
def definitions(draw):
    """Sound definitions of up to six states with actions, and an end."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    states = {"done": END}
    for i, name in enumerate(names):
        following = names[i + 1] if i + 1 < len(names) else "done"
        state = {"default_next": following}
        actions = [
            ask(f"{name}-{n}", name=f"a{n}", retries=draw(st.integers(0, 2)), backoff=draw(st.sampled_from([0, 5])))
            for n in range(draw(st.integers(0, 3)))
        ]
        if len(actions) == 1:
            state["action"] = actions[0]
        elif actions:
            state |= {"actions": actions, "join": draw(st.sampled_from(["all", "any"]))}
        if actions:
            back = draw(st.sampled_from([*names, "done"]))
            state["transitions"] = [
                {"on_event": a["response_event"], "to_state": back, "condition": "result.again"} for a in actions
            ]
            if draw(st.booleans()):
                state["on_failure"] = draw(st.sampled_from([*names, "done"]))
        states[name] = state
    return {"goal": "some.goal", "initial_state": names[0], "states": states}


facts = st.lists(st.tuples(st.sampled_from(FACTS), st.integers(0, 2), st.booleans()), max_size=60)


def happen(plan, run, fact, step, flag):
    """Let one thing happen to the step of that number; gives the orders."""
    names = list(run.steps)
    name = names[step % len(names)] if names else "none"
    answer = Event(type="s.completed", data={"result": {"again": flag}})
    if names and run.phase == "working":
        answer.type = plan.states[run.state].asked[name].response_event
    if fact == "restarted":
        if names and run.phase == "working":
            machine.restarted(run, name, run.steps[name].attempt + 1)
        return []
    facts = {
        "done": lambda: machine.answered(plan, run, name, answer, None),
        "failed": lambda: machine.answered(plan, run, name, answer, "broken"),
        "lost": lambda: machine.lost(plan, run, name, "gone"),
        "left": lambda: machine.lost(plan, run, name, "gone", surely=False),
        "late": lambda: machine.out_of_time(plan, run, name, taken=flag),
        "cancelled": lambda: machine.cancelled(plan, run, name, "not wanted"),
        "rested": lambda: machine.rested(plan, run, name),
        "state": lambda: machine.state_out_of_time(plan, run),
        "event": lambda: machine.came(plan, run, answer),
    }
    return facts[fact]()


def kept(run):
    """The run as it comes back from the database."""
    return Run.model_validate(json.loads(json.dumps(run.model_dump())))


@settings(max_examples=300, deadline=None)
@given(definitions(), facts)
def test_whatever_happens_each_attempt_is_asked_for_once(definition, happenings):
    reading = read(definition)
    plan = reading.plan
    if plan is None:  # hypothesis may close a circle; the reader says so
        assert any("terminal" in problem["detail"] or "no way" in problem["detail"] for problem in reading.problems)
        return
    run = Run()
    orders = machine.begin(plan, run)
    for fact, step, flag in happenings:
        before, twin = run.over, kept(run)
        new = happen(plan, run, fact, step, flag)
        assert happen(plan, twin, fact, step, flag) == new
        assert kept(run) == run == twin
        assert not (before and new)
        orders += new
        # Something is always left to come: an open step, an event, or nothing because it is over.
        assert run.over or run.phase == "waiting" or any(not step.final for step in run.steps.values())
    asked = [(o.visit, o.step, o.attempt) for o in orders if isinstance(o, Ask)]
    assert len(asked) == len(set(asked))
    entered = [o.visit for o in orders if isinstance(o, Enter)]
    assert entered == list(range(1, run.visit + 1))
    assert sum(isinstance(o, End) for o in orders) == run.over
    assert sum(run.visited.values()) == run.visit <= machine.MOST_VISITS


def plan_of(definition):
    reading = read(definition)
    assert reading.problems == []
    return reading.plan


def test_a_loop_with_an_exit_that_is_never_taken_ends():
    states = {
        "start": {"action": ask("a"), "transitions": [on("a", "done", "result.enough")], "default_next": "start"},
        "done": END,
    }
    plan, run = plan_of({"goal": "g", "states": states}), Run()
    machine.begin(plan, run)
    visits = 0
    while not run.over:
        visits += 1
        machine.answered(plan, run, "a", Event(type="a.completed", data={"enough": False}), None)
    assert (run.phase, visits) == ("failed", machine.MOST_VISITS)
    assert "1000 states" in run.error


def test_results_are_bounded():
    plan, run = plan_of(line("a", "b")), Run()
    machine.begin(plan, run)
    machine.answered(plan, run, "a", Event(type="a.completed", data={"result": "x" * machine.MOST_KEPT}), None)
    assert run.phase == "failed"
    assert "are the most" in run.error


def test_a_request_that_cannot_be_made_fails_its_step_and_not_the_server():
    definition = line("a", "b")
    definition["states"]["b"]["action"]["data"] = {"n": "{{results.a.n.deep}}"}
    plan, run = plan_of(definition), Run()
    machine.begin(plan, run)
    machine.answered(plan, run, "a", Event(type="a.completed", data={"result": {"n": 1}}), None)
    assert run.phase == "failed"
    assert run.error == "its request cannot be made: there is nothing at {{results.a.n.deep}}"
