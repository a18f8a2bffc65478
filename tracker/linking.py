"""From an event to its plan and task: pure functions over what is already known.

The rules come from what the published SDK really sends: requests without a plan id, results with task ids that their
worker made up, correlation ids that are shared or change on the way (docs/events.md tells them in plain words).
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from tracker.envelope import TRACKER, dumps
from tracker.records import PlanRecord, TaskRecord
from tracker.states import TASK

PLAN_STATES = {"running": "in_progress"}  # the SDK's word for it; all others are the table's own
PLAN_FACTS = frozenset(
    {"plan.started", "plan.state_changed", "plan.completed", "plan.failed", "plan.cancelled", "plan.waiting_for_input"}
)
TASK_FACTS = frozenset({"task.state_changed", "task.progress"})
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # what PostgreSQL has no text for, and halves of pairs


@dataclass(slots=True)
class Heard:
    """What linking looks at in a message, be it new or kept from earlier."""

    topic: str
    type: str
    event_id: str
    source: str
    correlation_id: str
    data: dict[str, Any]
    occurred_at: datetime
    plan_id: str = ""
    response_event: str = ""
    session_id: str = ""
    trace_id: str = ""
    user_id: str = ""
    tasks: tuple[str, ...] | None = None  # what `named_tasks` found
    attempt: int | None = None  # of its task, as a result tells by its `action_id`; None: it does not

    @property
    def by(self) -> str:
        """Who sent it, as the log names it."""
        return "system" if self.source == TRACKER else f"agent:{self.source}"

    @property
    def is_request(self) -> bool:
        """Somebody wants something done."""
        return self.topic == "action-requests"

    @property
    def is_result(self) -> bool:
        """Somebody says what came of it."""
        return self.topic == "action-results"

    @property
    def is_plan_fact(self) -> bool:
        """A fact about a plan, told on the topic for facts."""
        return self.topic == "system-events" and self.type in PLAN_FACTS

    @property
    def is_task_fact(self) -> bool:
        """A fact about a task, told on the topic for facts."""
        return self.topic == "system-events" and self.type in TASK_FACTS

    @property
    def awaits_task(self) -> bool:
        """Whether the message means nothing until its task is known."""
        return self.is_result or self.is_task_fact


def word(data: dict[str, Any], key: str, longest: int = 255) -> str:
    """A text member of a payload; empty when it is missing, no text, too long for an id, or not storable."""
    value = data.get(key)
    if not isinstance(value, str) or len(value) > longest:
        return ""
    # Plain text is the rule, and soon looked through.
    fits = "\x00" not in value if value.isascii() else not _UNSTORABLE.search(value)
    return value if fits else ""


def named_plan(heard: Heard) -> str:
    """The plan id that the message itself says: it creates the plan when it is unknown."""
    return heard.plan_id or word(heard.data, "plan_id")


def named_tasks(heard: Heard) -> tuple[str, ...]:
    """Every id under which the message may know a task, the surest first."""
    if heard.tasks is None:
        ids = (word(heard.data, "action_id"), word(heard.data, "task_id"), heard.correlation_id)
        heard.tasks = tuple(dict.fromkeys(i for i in ids if i))
    return heard.tasks


def is_goal(heard: Heard, plan: PlanRecord) -> bool:
    """Whether a request is the plan's goal and not one of its tasks."""
    return (
        heard.is_request
        and bool(plan.goal_event)
        and heard.type == plan.goal_event
        and (heard.correlation_id in {plan.plan_id, plan.correlation_id} or heard.event_id == plan.plan_id)
        and not word(heard.data, "action_id")
    )


def is_final_answer(heard: Heard, plan: PlanRecord) -> bool:
    """Whether a result is the plan's own answer to whoever set the goal."""
    return (
        heard.is_result
        and bool(plan.response_event)
        and heard.type == plan.response_event
        and heard.correlation_id in {plan.plan_id, plan.correlation_id}
    )


def label_of(heard: Heard) -> str:
    """A task's name before it is numbered: what the request calls it, else its event type as a slug."""
    given = word(heard.data, "task_name").strip() or word(heard.data, "action_name").strip()
    if given:
        return given
    slug = heard.type.replace(".", "-").replace("_", "-")
    return slug.removesuffix("-requested") or slug


def task_key(heard: Heard, taken: Callable[[str], bool]) -> str:
    """The id of a new task: what the request says, unless it is taken; never its correlation alone.

    Event ids are their senders' own: even one of them may be some other task's id, and then the task gets one made
    here.
    """
    for key in (word(heard.data, "action_id"), word(heard.data, "task_id"), heard.event_id):
        if key and not taken(key):
            return key
    return str(uuid4())


def digest_of(event_type: str, data: dict[str, Any]) -> str:
    """Of a request's type and data: how a stored task context is recognised when it names no id that we know."""
    return hashlib.sha256(dumps([event_type, data], sort=True).encode()).hexdigest()


def is_open(task: TaskRecord) -> bool:
    """Whether the task can still end."""
    return task.state in TASK.open_states


def answers(heard: Heard, task: TaskRecord) -> bool:
    """Whether a result's type is the one that the task's request asked for."""
    return task.response_event == heard.type


def by_id(heard: Heard, task: TaskRecord | None, *, sure: bool) -> bool:
    """Whether a task found by an id in the payload is the result's.

    `sure`: the id is an action id or a stored context's, which belong to one task. A task id may be shared by several
    requests (a choreography gives all of its tasks the same, their correlation), so it counts while its task is open
    and expects this answer, or when the correlation says so too.
    """
    if task is None:
        return False
    fits = is_open(task) and (answers(heard, task) or not task.response_event)
    return sure or fits or task.correlation_id == heard.correlation_id != task.task_id


def of_older_attempt(correlation_id: str, plan: PlanRecord, task: TaskRecord) -> bool:
    """Whether an answer is to an attempt that was given up on.

    Only the server's own requests tell: their correlation is the task's id, a dot and the attempt.
    """
    ours = plan.planner == TRACKER and correlation_id != task.correlation_id
    return ours and correlation_id.startswith(f"{task.task_id}.")


def oldest(heard: Heard, candidates: Iterable[TaskRecord]) -> TaskRecord | None:
    """The oldest open task whose request has the result's correlation and asked for its type."""
    fitting = [t for t in candidates if is_open(t) and t.correlation_id == heard.correlation_id and answers(heard, t)]
    return min(fitting, key=lambda t: t.position, default=None)


def only_one(heard: Heard, candidates: Iterable[TaskRecord], *, shared: bool) -> TaskRecord | None:
    """The open task of this correlation, when there is just one that can be meant.

    `shared`: the correlation is the plan's own, so a result of another type may belong to a request that is still to
    come. Then only what is akin to the result counts.
    """
    fitting = [t for t in candidates if is_open(t) and t.correlation_id == heard.correlation_id]
    if shared:
        fitting = [t for t in fitting if _akin(heard, t)]
    return fitting[0] if len(fitting) == 1 else None


def _akin(heard: Heard, task: TaskRecord) -> bool:
    """Its request said no answer's type, or is `a.b.requested` where the result is `a.b.failed`.

    Or the sender holds it.
    """
    stem = heard.type.rpartition(".")[0]
    stems = {type.rpartition(".")[0] for type in (task.event_type, task.response_event)}
    return not task.response_event or (bool(stem) and stem in stems) or task.agent == heard.source


def verdict(event_type: str, data: dict[str, Any]) -> tuple[str, str]:
    """How a result says that its task ended: (`completed` or `failed`, the error's text).

    `success` decides when it is there; else `status` "failed", an `error`, or a type that ends in failed or error.
    """
    error = _error_text(data)
    status = data.get("status")
    if data.get("success") is not None:
        failed = not data["success"]
    elif status in ("failed", "error"):
        failed = True
    elif status == "completed":
        failed = False
    else:
        failed = bool(data.get("error")) or event_type.rsplit(".", 1)[-1] in {"failed", "error"}
    return ("failed", error) if failed else ("completed", "")


def _error_text(data: dict[str, Any]) -> str:
    error = data.get("error")
    if not error and isinstance(result := data.get("result"), dict):
        error = result.get("error")
    if isinstance(error, dict):
        error = error.get("message") or dumps(error)
    return storable(str(error)) if error else ""


def storable(text: str, longest: int = 10_000) -> str:
    """Free text as a text column can hold it."""
    return _UNSTORABLE.sub("\ufffd", text[:longest])
