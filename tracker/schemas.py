"""What the queries take and answer, as the OpenAPI document tells it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Query, Schema
from pydantic import BeforeValidator, Field, JsonValue

from tracker.api.paging import LARGEST
from tracker.envelope import Moment, Text

PlanState = Literal["pending", "in_progress", "paused", "completed", "failed", "cancelled"]
TaskState = Literal[
    "pending", "running", "delegated", "waiting", "in_review", "awaiting_approval", "completed", "failed", "cancelled"
]
WireState = Literal["pending", "running", "delegated", "waiting", "completed", "failed", "cancelled"]
JsonObject = dict[str, JsonValue]


def _without_blanks(value: Any) -> Any:
    return [one for one in value if one != ""] if isinstance(value, list) else value


def _none_if_blank(value: Any) -> Any:
    return None if value == "" else value


Seq = Annotated[int, Field(ge=0, le=LARGEST)]
ONLY_TENANT = "only of this tenant; for keys that see their whole workspace"
Tenant = Annotated[Text | None, Query(description=ONLY_TENANT)]


class Page(Schema):
    """Which page of a list."""

    cursor: Text | None = Field(None, description="`next_cursor` of the page before")
    limit: int = Field(50, ge=1, le=200)
    tenant: Text | None = Field(None, description=ONLY_TENANT)


class PlanFilter(Page):
    """Which plans; conditions that are not given let all pass."""

    state: Annotated[list[PlanState], BeforeValidator(_without_blanks)] = Field([], description="repeat it for several")
    goal: Text = Field("", description="the goal's event type")
    session: Text = Field("", description="the session's id")
    agent: Text = Field("", description="name of an agent that plans it or holds one of its tasks")
    q: Text = Field("", description="text somewhere in its id, goal, goal data, session or error")
    since: Annotated[Moment | None, BeforeValidator(_none_if_blank)] = Field(None, description="created then or later")
    until: Annotated[Moment | None, BeforeValidator(_none_if_blank)] = Field(None, description="created before then")
    stalled: Annotated[bool | None, BeforeValidator(_none_if_blank)] = Field(None, description="a task is stalled")
    awaiting: Annotated[bool | None, BeforeValidator(_none_if_blank)] = Field(
        None, description="a task waits for a person's decision"
    )


class TaskFilter(Page):
    """Which tasks; conditions that are not given let all pass."""

    plan: Text = Field("", description="id of the plan")
    state: Annotated[list[TaskState], BeforeValidator(_without_blanks)] = Field([], description="repeat it for several")
    agent: Text = Field("", description="name or instance id of the agent that holds it")
    stalled: Annotated[bool | None, BeforeValidator(_none_if_blank)] = Field(None, description="nobody works on it")


class LogAfter(Schema):
    """Which part of a log."""

    after: Seq = 0
    limit: int = Field(200, ge=1, le=1000)
    tenant: Text | None = Field(None, description=ONLY_TENANT)


class PastMoment(Schema):
    """Which moment of a plan; neither: now."""

    seq: int | None = Field(None, ge=1, le=LARGEST, description="right after this row of its log")
    at: Moment | None = Field(None, description="after the last row that was recorded by then")
    tenant: Text | None = Field(None, description=ONLY_TENANT)


class PlanProgress(Schema):
    """How far a plan is."""

    plan_id: str
    status: PlanState
    started_at: datetime
    completed_at: datetime | None
    task_count: int
    completed_tasks: int
    failed_tasks: int
    current_state: str | None = Field(description="of the agent's own state machine")


class TaskBrief(Schema):
    """A task of a plan, found by its name."""

    task_id: str
    state: TaskState
    status: TaskState = Field(description="the same as state")
    agent: str | None
    progress: float | None
    stalled: bool
    attempt: int


class PlanDetail(PlanProgress):
    """A plan with the state of all its tasks."""

    state: PlanState = Field(description="the same as status")
    seq: int = Field(description="head of its log")
    version: int = Field(description="count of its own transitions")
    cancelled_tasks: int
    open_tasks: int
    approvals_pending: int
    stalled_tasks: int
    goal_event: str = Field(description="empty until it is known")
    goal_data: JsonObject
    session_id: str | None
    parent_plan_id: str | None
    trace_id: str
    planner: str | None = Field(description="name of the agent that owns it")
    tenant_id: str
    user_id: str | None
    error: str | None
    created_at: datetime
    updated_at: datetime
    tasks: dict[str, TaskBrief] = Field(description="by name, in order of arrival")


class PlanItem(Schema):
    """A plan as a line of a list."""

    plan_id: str
    goal_event: str
    state: PlanState
    held: bool = Field(description="by an operator: its requests wait until one resumes it")
    current_state: str | None
    session_id: str | None
    parent_plan_id: str | None
    seq: int
    task_count: int
    completed_tasks: int
    failed_tasks: int
    cancelled_tasks: int
    open_tasks: int
    stalled_tasks: int
    approvals_pending: int
    agents: list[str]
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime
    tenant_id: str


class PlanPage(Schema):
    """Plans, newest first."""

    items: list[PlanItem]
    next_cursor: str | None


class TaskItem(Schema):
    """A task. `version` counts its transitions, `attempt` begins at 1, `position` is its place among the arrivals."""

    task_id: str
    plan_id: str
    parent_task_id: str | None
    name: str
    event_type: str
    state: TaskState
    version: int
    attempt: int
    agent: str | None
    agent_id: str | None
    progress: float | None
    message: str | None
    stalled: bool
    stalled_reason: str | None = Field(description="disconnected, restarted, silent, no-progress")
    stalled_at: datetime | None = Field(description="since when it has stalled")
    timeout: float | None = Field(description="seconds that it may go without progress")
    error: str | None
    position: int
    allowed_transitions: list[TaskState]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    correlation_id: str | None
    response_event: str | None
    request_event_id: str | None
    tenant_id: str


class TaskPage(Schema):
    """Tasks: those of a plan in order of arrival, else newest first."""

    items: list[TaskItem]
    next_cursor: str | None


class Action(Schema):
    """A task as the SDK reads it; one that has not started says when it was created."""

    task_id: str
    event_type: str
    state: WireState
    started_at: datetime
    completed_at: datetime | None
    duration_seconds: float | None
    progress: float | None


class TimelineEvent(Schema):
    """A message of the plan; `timestamp` is its sender's."""

    event_id: str
    event_type: str
    timestamp: datetime
    parent_event_id: str | None
    seq: int
    topic: str
    source: str
    task_id: str | None


class Timeline(Schema):
    """The messages of a plan in order of arrival."""

    trace_id: str
    events: list[TimelineEvent]


class PlanExecution(Schema):
    """A plan among its siblings."""

    plan_id: str
    parent_plan_id: str | None
    session_id: str | None
    goal_event: str
    status: PlanState
    current_state: str | None
    trace_id: str
    started_at: datetime
    completed_at: datetime | None


class LogEntry(Schema):
    """A row of a plan's log; `seq` is 1, 2, 3 ... without a gap."""

    seq: int
    kind: Literal["message", "transition", "note"]
    type: str
    event_id: str | None
    task_id: str | None
    from_state: str | None
    to_state: str | None
    version: int | None
    by: str
    reason: str | None
    inferred: bool
    refused: bool
    topic: str | None
    source: str | None
    correlation_id: str | None
    parent_event_id: str | None
    occurred_at: datetime = Field(description="by the sender's clock")
    recorded_at: datetime = Field(description="by the server's clock")
    data: JsonValue
    envelope: JsonObject


class LogPage(Schema):
    """Rows of a log; `next_after` is the seq of the last one, null when there was none."""

    items: list[LogEntry]
    next_after: int | None


class TaskNode(Schema):
    """A task with its sub-tasks."""

    task_id: str
    name: str
    event_type: str
    state: TaskState
    agent: str | None
    progress: float | None
    stalled: bool
    attempt: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    tasks: list["TaskNode"]


class PlanNode(Schema):
    """A plan with its tasks and sub-plans; `parent_task_id` is the task of the parent plan that asked for it."""

    plan_id: str
    goal_event: str
    state: PlanState
    current_state: str | None
    parent_plan_id: str | None
    parent_task_id: str | None
    task_count: int
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    tasks: list[TaskNode]
    sub_plans: list["PlanNode"]


class Hierarchy(Schema):
    """The tree that a plan stands in, from its root. `truncated`: there is more than was looked at."""

    plan_id: str
    root: PlanNode
    truncated: bool


class PastState(Schema):
    """A plan and its tasks at a moment of the past, rebuilt from its log; fields by the names of the log's `data`."""

    plan_id: str
    seq: int
    plan: JsonObject
    tasks: dict[str, JsonObject]


class DelegationGroup(Schema):
    """Sub-tasks that were delegated together."""

    group_id: str
    parent_task_id: str
    plan_id: str | None
    total_tasks: int
    completed_tasks: int
    created_at: datetime
