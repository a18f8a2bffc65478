"""Made-up data for the /design page: a plan in full swing, rows of lists, agents, a document."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tracker.projections.rows import moment
from tracker.states import TASK

STATES = (*TASK.states, "in_progress", "paused", "stalled")
DOCUMENT = {
    "vehicle": {"id": "TRK-1042", "odometer_km": 183_204, "electric": False, "last_service": None},
    "parts": [{"sku": f"BRK-{number:03}", "quantity": number % 4 + 1, "price": 19.5 * number} for number in range(1, 240)],
    "notes": "Brake pads are worn.\nCheck the rear axle as well.",
}
# (name, event type, agent, parent's place, [(state, seconds after the plan's start)])
SCRIPT: list[tuple[str, str, str, int | None, list[tuple[str, float]]]] = [
    ("vehicle-inspect", "vehicle.inspect.requested", "inspection-worker", None, [("pending", 0), ("running", 0.6), ("completed", 21)]),
    ("parts-check", "parts.check.requested", "parts-worker", None, [("pending", 21), ("running", 22), ("delegated", 31), ("running", 84), ("completed", 92)]),
    ("warehouse-north", "warehouse.lookup.requested", "warehouse-worker", 1, [("pending", 31), ("running", 33), ("completed", 58)]),
    ("warehouse-south", "warehouse.lookup.requested", "warehouse-worker", 1, [("pending", 31), ("running", 34), ("failed", 47), ("pending", 50), ("running", 52), ("completed", 83)]),
    ("supplier-quote", "supplier.quote.requested", "quote-worker", 1, [("pending", 31), ("running", 36), ("waiting", 44), ("running", 70), ("failed", 78)]),
    ("bay-schedule", "bay.schedule.requested", "scheduling-worker", None, [("pending", 92), ("running", 93), ("in_review", 118), ("running", 131)]),
    ("cost-approval", "approval.requested", "fleet-planner", None, [("pending", 93), ("awaiting_approval", 93.4)]),
    ("driver-notify", "driver.notify.requested", "notify-worker", None, [("pending", 94), ("running", 95)]),
    ("invoice-draft", "invoice.draft.requested", "", None, [("pending", 132)]),
    ("tow-truck", "tow.book.requested", "notify-worker", None, [("pending", 95), ("cancelled", 110)]),
]  # fmt: skip


def snapshot(extra: int = 0) -> dict[str, Any]:
    """A plan's snapshot as its page carries it, with `extra` more finished tasks."""
    start = datetime.now(UTC) - timedelta(seconds=150)
    tasks = [_task(place, *line, start) for place, line in enumerate(SCRIPT + list(_more(extra)))]
    log = _log(tasks, start)
    plan = {
        "plan_id": "7c0f9a52-5a0e-4d8e-9a3b-2f6d1c0e4b11", "goal_event": "vehicle.maintenance.goal", "goal_data": DOCUMENT["vehicle"],
        "state": "in_progress", "current_state": "scheduling", "session_id": "fleet-morning", "parent_plan_id": None,
        "trace_id": "7c0f9a52", "seq": len(log), "version": 2, "created_at": moment(start), "started_at": moment(start),
        "completed_at": None, "updated_at": moment(start), "error": None, "tenant_id": "acme", "user_id": "alice",
        "planner": "fleet-planner", "task_count": len(tasks), **_counters(tasks),
    }  # fmt: skip
    return {"plan": plan, "tasks": tasks, "log": log}


def _counters(tasks: list[dict[str, Any]]) -> dict[str, int]:
    return {f"{end}_tasks": sum(task["state"] == end for task in tasks) for end in ("completed", "failed", "cancelled")}


def _more(count: int) -> Iterator[tuple[str, str, str, int | None, list[tuple[str, float]]]]:
    for number in range(count):
        at = 20 + number * 100 / count
        yield f"check-{number}", "parts.check.requested", "parts-worker", None, [("pending", at), ("running", at + 1), ("completed", at + 9)]


def _task(
    place: int, name: str, event_type: str, agent: str, parent: int | None, moves: list[tuple[str, float]], start: datetime
) -> dict[str, Any]:
    spans = [[state, round((start + timedelta(seconds=at)).timestamp() * 1000)] for state, at in moves]
    state, ended = moves[-1][0], moves[-1][0] in TASK.ended
    return {
        "task_id": f"task-{place}", "name": name, "event_type": event_type, "state": state, "version": len(moves) - 1,
        "attempt": 1 + sum(move == "pending" for move, _ in moves[1:]), "agent": agent or None,
        "parent_task_id": None if parent is None else f"task-{parent}",
        "progress": 0.62 if name == "bay-schedule" else None, "message": "Comparing 14 bays" if name == "bay-schedule" else None,
        "stalled": name == "driver-notify", "error": "The supplier answered 503 three times." if state == "failed" else None,
        "position": place, "created_at": moment(start + timedelta(seconds=moves[0][1])), "started_at": None,
        "ended_at": moment(start + timedelta(seconds=moves[-1][1])) if ended else None, "spans": spans,
    }  # fmt: skip


def _log(tasks: list[dict[str, Any]], start: datetime) -> list[dict[str, Any]]:
    moves = [(ms, task, before, state) for task in tasks for before, state, ms in _moves(task)]
    rows: list[dict[str, Any]] = []
    for ms, task, before, state in sorted(moves, key=lambda move: move[0]):
        at = moment(datetime.fromtimestamp(ms / 1000, UTC))
        if state == "pending" or state in ("completed", "failed"):
            rows.append(_message(task, state, at))
        rows.append({**_row(task, at), "kind": "transition", "type": "task.state_changed", "from_state": before, "to_state": state, "inferred": state == "running" and task["position"] % 4 == 3})
    rows.append({**_row(tasks[0], at), "kind": "message", "type": "vehicle.inspect.completed", "topic": "action-results", "source": "inspection-worker", "refused": True, "reason": "completed -> completed is no legal move", "event_id": "evt-late"})
    rows.append({**_row(tasks[5], at), "kind": "note", "type": "task.progress", "data": {"progress": 0.62, "message": "Comparing 14 bays"}})
    return [{**row, "seq": seq} for seq, row in enumerate(rows, 1)]


def _moves(task: dict[str, Any]) -> Iterator[tuple[str | None, str, int]]:
    before = None
    for state, ms in task["spans"]:
        yield before, state, ms
        before = state


def _row(task: dict[str, Any], at: str | None) -> dict[str, Any]:
    return {
        "event_id": None, "task_id": task["task_id"], "from_state": None, "to_state": None, "version": None,
        "by": f"agent:{task['agent'] or 'fleet-planner'}", "reason": None, "inferred": False, "refused": False, "topic": None,
        "source": None, "correlation_id": f"corr-{task['position']}", "parent_event_id": None, "occurred_at": at,
        "recorded_at": at, "data": {}, "envelope": {},
    }  # fmt: skip


def _message(task: dict[str, Any], state: str, at: str | None) -> dict[str, Any]:
    asked = state == "pending"
    kind = task["event_type"] if asked else task["event_type"].replace("requested", state)
    return {
        **_row(task, at), "kind": "message", "type": kind, "event_id": f"evt-{task['position']}-{state}",
        "topic": "action-requests" if asked else "action-results", "source": "fleet-planner" if asked else task["agent"],
        "data": DOCUMENT, "envelope": {"specversion": "1.0", "tenant_id": "acme", "user_id": "alice"},
    }  # fmt: skip


def plan_items() -> list[dict[str, Any]]:
    """Rows of the list of plans, one of each state."""
    now = datetime.now(UTC)
    goals = ("vehicle.maintenance.goal", "invoice.reconcile.goal", "route.optimise.goal", "research.report.goal", "driver.onboard.goal", "")
    states = ("in_progress", "completed", "failed", "paused", "cancelled", "pending")
    return [_plan_item(place, state, goal, now) for place, (state, goal) in enumerate(zip(states, goals, strict=True))]


def _plan_item(place: int, state: str, goal: str, now: datetime) -> dict[str, Any]:
    created = now - timedelta(seconds=40 * 7**place / 3)
    ended = moment(created + timedelta(seconds=95 + 60 * place)) if state in ("completed", "failed", "cancelled") else None
    done = {"completed": 24, "pending": 0}.get(state, 9 + place)
    return {
        "plan_id": f"7c0f9a52-5a0e-4d8e-9a3b-2f6d1c0e4b{place:02}", "goal_event": goal, "state": state, "seq": 10 + place,
        "task_count": 0 if state == "pending" else 24, "completed_tasks": done, "failed_tasks": 2 if state == "failed" else 0,
        "cancelled_tasks": 11 if state == "cancelled" else 0, "stalled_tasks": int(place == 0), "approvals_pending": int(place == 3),
        "agents": ["fleet-planner", "parts-worker"][: 2 - place // 5], "created_at": moment(created),
        "started_at": moment(created), "completed_at": ended, "ended_at": ended,
    }  # fmt: skip


AGENTS: list[dict[str, Any]] = [
    {"agent_id": f"parts-worker-{number}", "name": "parts-worker:0.1.0", "presence": presence, "consumed_events": ["parts.check.requested"],
     "heartbeat_at": moment(datetime.now(UTC) - timedelta(seconds=30 * number)), "more": 0,
     "tasks": [{"plan_id": "p", "task_id": "t", "name": "parts-check", "state": "running"}] if number == 1 else []}
    for number, presence in enumerate(("live", "silent", "away"), 1)
]  # fmt: skip
SWATCHES = ("canvas", "surface", "sunken", "hover", "selected", "accent", "primary")
