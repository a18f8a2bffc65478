"""Made-up data for the /design page: a plan in full swing, rows of lists, agents, a document."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tracker.projections.rows import moment
from tracker.states import PLAN, TASK

STATES = (*TASK.states, "in_progress", "paused", "stalled")
SWATCHES = ("canvas", "surface", "sunken", "hover", "selected", "accent", "primary")
DOCUMENT = {
    "vehicle": {"id": "TRK-1042", "odometer_km": 183_204, "electric": False, "last_service": None},
    "parts": [{"sku": f"BRK-{number:03}", "quantity": number % 4 + 1, "price": 19.5 * number} for number in range(240)],
    "notes": "Brake pads are worn.\nCheck the rear axle as well.",
}
# name | event type | agent | place of the parent | states with the seconds after the plan's start
SCRIPT = """
vehicle-inspect | vehicle.inspect | inspection-worker | | pending 0 running 0.6 completed 21
parts-check | parts.check | parts-worker | | pending 21 running 22 delegated 31 running 84 completed 92
warehouse-north | warehouse.lookup | warehouse-worker | 1 | pending 31 running 33 completed 58
warehouse-east | warehouse.lookup | stock-agent | 1 | pending 31 running 34 failed 47 pending 50 running 52 completed 83
supplier-quote | supplier.quote | quote-worker | 1 | pending 31 running 36 waiting 44 running 70 failed 78
bay-schedule | bay.schedule | scheduling-worker | | pending 92 running 93 in_review 118 running 131
cost-approval | approval | fleet-planner | | pending 93 awaiting_approval 93.4
driver-notify | driver.notify | notify-worker | | pending 94 running 95
invoice-draft | invoice.draft | | | pending 132
tow-truck | tow.book | notify-worker | | pending 95 cancelled 110
"""
LATE = {
    "kind": "message",
    "type": "vehicle.inspect.completed",
    "topic": "action-results",
    "source": "inspection-worker",
    "refused": True,
    "reason": "completed -> completed is no legal move",
    "event_id": "evt-late",
}
HEARTBEAT = {"kind": "note", "type": "task.progress", "data": {"progress": 0.62, "message": "Comparing 14 bays"}}
ROW = dict.fromkeys(("event_id", "from_state", "to_state", "version", "reason", "topic", "source", "parent_event_id"))


class Line(NamedTuple):
    """A task of the script; `moves`: state and seconds after the plan's start."""

    name: str
    event_type: str
    agent: str
    parent: str
    moves: list[tuple[str, float]]


def _lines(extra: int) -> Iterator[Line]:
    for text in SCRIPT.strip().splitlines():
        name, kind, agent, parent, moves = (part.strip() for part in text.split("|"))
        words = moves.split()
        timed = [(state, float(at)) for state, at in zip(words[::2], words[1::2], strict=True)]
        yield Line(name, f"{kind}.requested", agent, parent, timed)
    for number in range(extra):
        at = 20 + number * 100 / extra
        moves_ = [("pending", at), ("running", at + 1), ("completed", at + 9)]
        yield Line(f"check-{number}", "parts.check.requested", "parts-worker", "", moves_)


def snapshot(extra: int = 0) -> dict[str, Any]:
    """A plan's snapshot as its page carries it, with `extra` more finished tasks."""
    start = datetime.now(UTC) - timedelta(seconds=150)
    tasks = [_task(place, line, start) for place, line in enumerate(_lines(extra))]
    log = _log(tasks)
    plan = {
        **dict.fromkeys(("parent_plan_id", "completed_at", "error")),
        **dict.fromkeys(("created_at", "started_at", "updated_at"), moment(start)),
        **{f"{end}_tasks": sum(task["state"] == end for task in tasks) for end in TASK.ended},
        "plan_id": "7c0f9a52-5a0e-4d8e-9a3b-2f6d1c0e4b11",
        "goal_event": "vehicle.maintenance.goal",
        "goal_data": DOCUMENT["vehicle"],
        "state": "in_progress",
        "held": False,
        "current_state": "scheduling",
        "session_id": "fleet-morning",
        "seq": len(log),
        "version": 2,
        "tenant_id": "acme",
        "user_id": "alice",
        "planner": "fleet-planner",
        "task_count": len(tasks),
    }
    return {"plan": plan, "tasks": tasks, "log": log}


def _task(place: int, line: Line, start: datetime) -> dict[str, Any]:
    moments = [start + timedelta(seconds=at) for _, at in line.moves]
    states = [state for state, _ in line.moves]
    at_work = line.name == "bay-schedule"
    return {
        "task_id": f"task-{place}",
        "name": line.name,
        "event_type": line.event_type,
        "state": states[-1],
        "version": len(states) - 1,
        "attempt": states.count("pending"),
        "agent": line.agent or None,
        "parent_task_id": f"task-{line.parent}" if line.parent else None,
        "progress": 0.62 if at_work else None,
        "message": "Comparing 14 bays" if at_work else None,
        "stalled": line.name == "driver-notify",
        "stalled_reason": "disconnected" if line.name == "driver-notify" else None,
        "stalled_at": moment(moments[-1] + timedelta(seconds=40)) if line.name == "driver-notify" else None,
        "error": "The supplier answered 503 three times." if states[-1] == "failed" else None,
        "position": place,
        "created_at": moment(moments[0]),
        "started_at": None,
        "ended_at": moment(moments[-1]) if states[-1] in TASK.ended else None,
        "spans": [[state, round(at.timestamp() * 1000)] for state, at in zip(states, moments, strict=True)],
    }


def _log(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    moves = [
        (ms, task, place and task["spans"][place - 1][0], state)
        for task in tasks
        for place, (state, ms) in enumerate(task["spans"])
    ]
    rows: list[dict[str, Any]] = []
    for ms, task, before, state in sorted(moves, key=lambda move: move[0]):
        row = _row(task, ms)
        if state in {"pending", "completed", "failed"}:
            rows.append(row | _message(task, state))
        inferred = state == "running" and task["position"] % 4 == 3
        moved = {"kind": "transition", "type": "task.state_changed", "from_state": before or None, "to_state": state}
        rows.append(row | moved | {"inferred": inferred})
    rows += [_row(tasks[0], ms) | LATE, _row(tasks[5], ms) | HEARTBEAT]
    return [{**row, "seq": seq} for seq, row in enumerate(rows, 1)]


def _row(task: dict[str, Any], ms: int) -> dict[str, Any]:
    at = moment(datetime.fromtimestamp(ms / 1000, UTC))
    by = f"agent:{task['agent'] or 'fleet-planner'}"
    row = {**ROW, "task_id": task["task_id"], "by": by, "inferred": False, "refused": False, "data": {}, "envelope": {}}
    return {**row, "occurred_at": at, "recorded_at": at, "correlation_id": f"corr-{task['position']}"}


def _message(task: dict[str, Any], state: str) -> dict[str, Any]:
    asked = state == "pending"
    return {
        "kind": "message",
        "type": task["event_type"] if asked else task["event_type"].replace("requested", state),
        "event_id": f"evt-{task['position']}-{state}",
        "topic": "action-requests" if asked else "action-results",
        "source": "fleet-planner" if asked else task["agent"],
        "data": DOCUMENT,
        "envelope": {"specversion": "1.0", "tenant_id": "acme", "user_id": "alice"},
    }


def plan_items() -> list[dict[str, Any]]:
    """Rows of the list of plans, one of each state, each older than the one before."""
    goals = ("", "vehicle.maintenance.goal", "research.report.goal", "invoice.reconcile.goal", "route.optimise.goal")
    return [_plan_item(place, state, f"{goals[place % 5]}") for place, state in enumerate(PLAN.states)]


def _plan_item(place: int, state: str, goal: str) -> dict[str, Any]:
    created = datetime.now(UTC) - timedelta(seconds=15 * 7**place)
    ended = moment(created + timedelta(seconds=12 * 3**place)) if state in PLAN.ended else None
    total = 0 if state == "pending" else 24
    return {
        "plan_id": f"7c0f9a52-5a0e-4d8e-9a3b-2f6d1c0e4b{place:02}",
        "goal_event": goal,
        "state": state,
        "held": state == "paused",
        "seq": place,
        "task_count": total,
        "completed_tasks": {"completed": total, "pending": 0}.get(state, 9 + place),
        "failed_tasks": 2 if state == "failed" else 0,
        "cancelled_tasks": 10 if state == "cancelled" else 0,
        "stalled_tasks": int(state == "in_progress"),
        "approvals_pending": int(state == "paused"),
        "agents": ["fleet-planner", "parts-worker"],
        "created_at": moment(created),
        "started_at": moment(created),
        "completed_at": ended,
    }


def agents() -> list[dict[str, Any]]:
    """Lines of the agents page, one of each presence."""
    held = {"plan_id": "p", "task_id": "t", "name": "parts-check", "state": "running"}
    at = moment(datetime.now(UTC) - timedelta(seconds=90))
    waits = {"event_type": "parts.check.requested", "count": 3, "since": at, "why": "full", "detail": "all are busy"}
    instances = [
        {
            "agent_id": f"parts-worker-{place}",
            "version": "0.1.0",
            "presence": presence,
            "connected_since": at if presence == "connected" else None,
            "heartbeat_at": moment(datetime.now(UTC) - timedelta(seconds=30 * place)),
            "tasks": [held][place:],
        }
        for place, presence in enumerate(("connected", "live", "silent", "away"))
    ]
    consumed = ["parts.check.requested"]
    return [{"name": "parts-worker", "instances": instances, "consumed_events": consumed, "waiting": [waits]}]
