"""The state table against one written here, by hand; and what the database makes of states outside it."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.db import IntegrityError, transaction

from tests.accounts.factories import make_workspace
from tests.tracker.factories import plan_of, task_of
from tests.tracker.runs import Run
from tracker.models import Plan, Task
from tracker.states import PLAN, TASK, wire_state

TASK_STATES = [
    "pending", "running", "delegated", "waiting", "in_review", "awaiting_approval", "completed", "failed", "cancelled",
]  # fmt: skip
PLAN_STATES = ["pending", "in_progress", "paused", "completed", "failed", "cancelled"]
# Rows: from; columns: to, in the order above. A letter names the verb; "r!" only when stalled.
TASK_TABLE = """
    pending             .  S  .  .  .  a  .  .  X
    running             r! .  d  w  v  a  C  F  X
    delegated           .  R  .  .  .  .  C  F  X
    waiting             .  R  .  .  .  .  C  F  X
    in_review           .  R  .  .  .  .  C  F  X
    awaiting_approval   .  R  .  .  .  .  C  F  X
    completed           .  .  .  .  .  .  .  .  .
    failed              r  .  .  .  .  .  .  .  .
    cancelled           .  .  .  .  .  .  .  .  .
"""
PLAN_TABLE = """
    pending      .  S  .  C  F  X
    in_progress  .  .  p  C  F  X
    paused       .  R  .  C  F  X
    completed    .  o  .  .  .  .
    failed       .  o  .  .  .  .
    cancelled    .  o  .  .  .  .
"""
VERBS = {
    "S": "start", "d": "delegate", "w": "wait", "v": "review", "a": "ask", "R": "resume", "C": "complete", "F": "fail",
    "X": "cancel", "r": "retry", "p": "pause", "o": "reopen",
}  # fmt: skip


def cells(table, columns):
    """[(from, to, verb or None, only when stalled)] of a table."""
    lines = [line.split() for line in table.strip().splitlines()]
    return [
        (source, target, VERBS.get(cell[0]), cell.endswith("!"))
        for source, *row in lines
        for target, cell in zip(columns, row, strict=True)
    ]


TASK_CELLS, PLAN_CELLS = cells(TASK_TABLE, TASK_STATES), cells(PLAN_TABLE, PLAN_STATES)


@pytest.mark.parametrize(("machine", "known"), [(TASK, TASK_STATES), (PLAN, PLAN_STATES)])
def test_states(machine, known):
    assert list(machine.states) == known
    assert machine.ended == {"completed", "failed", "cancelled"}
    assert machine.open_states == set(known) - machine.ended


@pytest.mark.parametrize(("machine", "table"), [(TASK, TASK_CELLS), (PLAN, PLAN_CELLS)])
def test_every_state_and_every_target(machine, table):
    for stalled in (False, True):
        found = [
            (source, target, move.verb if (move := machine.move(source, target, stalled=stalled)) else None)
            for source, target, _, _ in table
        ]
        assert found == [(a, b, verb if stalled or not only else None) for a, b, verb, only in table]


@pytest.mark.parametrize(("machine", "table"), [(TASK, TASK_CELLS), (PLAN, PLAN_CELLS)])
def test_targets(machine, table):
    for stalled in (False, True):
        for state in machine.states:
            wanted = {b for a, b, verb, only in table if a == state and verb and (stalled or not only)}
            found = machine.targets(state, stalled=stalled)
            assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(("machine", "table"), [(TASK, TASK_CELLS), (PLAN, PLAN_CELLS)])
def test_no_move_is_there_twice(machine, table):
    assert len(machine.moves) == len({(move.source, move.target) for move in machine.moves})
    assert len(machine.moves) == sum(1 for _, _, verb, _ in table if verb)


@pytest.mark.parametrize(
    ("source", "target", "way"),
    [
        ("pending", "pending", []),
        ("pending", "running", ["running"]),
        ("pending", "completed", ["running", "completed"]),
        ("pending", "failed", ["running", "failed"]),
        ("pending", "delegated", ["running", "delegated"]),
        ("pending", "in_review", ["running", "in_review"]),
        ("pending", "awaiting_approval", ["awaiting_approval"]),
        ("pending", "cancelled", ["cancelled"]),
        ("running", "completed", ["completed"]),
        ("delegated", "completed", ["completed"]),
        ("delegated", "waiting", ["running", "waiting"]),
        ("waiting", "in_review", ["running", "in_review"]),
        ("awaiting_approval", "running", ["running"]),
        ("failed", "pending", ["pending"]),
        ("failed", "running", None),
        ("failed", "completed", None),
        ("completed", "failed", None),
        ("completed", "running", None),
        ("cancelled", "completed", None),
        ("running", "pending", None),
        ("waiting", "pending", None),
    ],
)
def test_paths_of_a_task(source, target, way):
    assert TASK.path(source, target) == way


@pytest.mark.parametrize(
    ("source", "target", "way"),
    [
        ("pending", "paused", ["in_progress", "paused"]),
        ("pending", "completed", ["completed"]),
        ("in_progress", "paused", ["paused"]),
        ("paused", "in_progress", ["in_progress"]),
        ("completed", "in_progress", ["in_progress"]),
        ("completed", "paused", None),
        ("completed", "failed", None),
        ("cancelled", "completed", None),
    ],
)
def test_paths_of_a_plan(source, target, way):
    assert PLAN.path(source, target) == way


@pytest.mark.parametrize("machine", [TASK, PLAN])
def test_paths_are_legal_and_never_go_back(machine):
    backward = {("failed", "pending"), *((end, "in_progress") for end in machine.ended)}
    for source in machine.states:
        for target in machine.states:
            way = machine.path(source, target)
            if way is None:
                continue
            steps = list(pairwise([source, *way]))
            assert all(machine.move(*step) for step in steps)
            assert len(steps) == 1 or not backward & set(steps)
            assert len(steps) == 1 or "cancelled" not in way


def test_the_sdk_knows_seven_states():
    known = {"pending", "running", "delegated", "waiting", "completed", "failed", "cancelled"}
    assert {wire_state(state) for state in TASK_STATES} == known
    assert [wire_state("in_review"), wire_state("awaiting_approval")] == ["waiting", "waiting"]


@pytest.mark.parametrize("state", ["", "done", "RUNNING", "in_progress", "pending "])
def test_the_database_refuses_unknown_states_of_tasks(run, state):
    _, [task_id] = run.plan()
    with pytest.raises(IntegrityError), transaction.atomic():
        Task.objects.filter(pk=task_of(run, task_id).pk).update(state=state)


@pytest.mark.parametrize("state", ["", "done", "running", "waiting", "Completed"])
def test_the_database_refuses_unknown_states_of_plans(run, state):
    plan_id, _ = run.plan()
    with pytest.raises(IntegrityError), transaction.atomic():
        Plan.objects.filter(pk=plan_of(run, plan_id).pk).update(state=state)


def test_the_database_takes_every_known_state(db):
    run = Run(make_workspace())
    plan_id, [task_id] = run.plan()
    for state in TASK_STATES:
        Task.objects.filter(pk=task_of(run, task_id).pk).update(state=state)
    for state in PLAN_STATES:
        Plan.objects.filter(pk=plan_of(run, plan_id).pk).update(state=state, updated_at=datetime.now(UTC))


@pytest.mark.parametrize(("source", "target", "verb", "only_stalled"), TASK_CELLS)
def test_a_move_that_somebody_asks_for(run, source, target, verb, only_stalled):
    plan_id, [task_id] = run.plan()
    for step in TASK.path("pending", source):
        assert run.move(task_id, step).result == "recorded"
    before = task_of(run, task_id)
    outcome = run.move(task_id, target)
    legal = verb is not None and not only_stalled
    assert outcome.result == ("recorded" if legal else "refused")
    after = task_of(run, task_id)
    assert (after.state, after.version) == ((target, before.version + 1) if legal else (source, before.version))
    if not legal:
        assert outcome.detail == "invalid-transition"
        assert outcome.value["state"] == source
        assert sorted(outcome.value["allowed_transitions"]) == sorted(
            b for a, b, way, only in TASK_CELLS if a == source and way and not only
        )
        assert plan_of(run, plan_id).seq == before.plan.seq
