"""Table rows as the ledger holds them, column by column.

Times inside are the database's own values (see `tracker.sql.native`), so that a row that was read can be written back
untouched.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

Native = Any  # a time as the database's driver takes and gives it
Line = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class PlanRecord:
    """A row of the plans' table."""

    id: int
    workspace_id: int
    tenant_id: str
    plan_id: str
    created_at: Native
    updated_at: Native
    user_id: str = ""
    state: str = ""
    version: int = 0
    seq: int = 0
    goal_event: str = ""
    goal_data: str = "{}"
    response_event: str = ""
    correlation_id: str = ""
    session_id: str = ""
    parent_plan_id: str = ""
    trace_id: str = ""
    planner: str = ""
    current_state: str = ""
    governed: bool = False
    closed_by: str = ""
    held: bool = False
    waiting_for: str = ""
    told_at: Native = None
    total_actions: int | None = None
    error: str = ""
    task_count: int = 0
    completed_tasks: int = 0
    failed_tasks: int = 0
    cancelled_tasks: int = 0
    unmatched: int = 0
    goal_task_id: int | None = None
    started_at: Native = None
    completed_at: Native = None
    as_read: Line = ()

    @property
    def open_tasks(self) -> int:
        """Tasks that have not ended."""
        return self.task_count - self.completed_tasks - self.failed_tasks - self.cancelled_tasks


@dataclass(slots=True, eq=False)
class TaskRecord:
    """A row of the tasks' table."""

    id: int
    plan_id: int
    workspace_id: int
    tenant_id: str
    task_id: str
    name: str
    label: str
    ordinal: int
    event_type: str
    position: int
    created_at: Native
    updated_at: Native
    state: str = ""
    version: int = 0
    attempt: int = 1
    given_up: int = 0
    agent: str = ""
    agent_id: str = ""
    parent_id: int | None = None
    correlation_id: str = ""
    response_event: str = ""
    request_event_id: str = ""
    digest: str = ""
    aliased: bool = False
    progress: float | None = None
    message: str = ""
    stalled: bool = False
    stalled_reason: str = ""
    stalled_at: Native = None
    timeout: float | None = None
    error: str = ""
    started_at: Native = None
    ended_at: Native = None
    as_read: Line = ()


@dataclass(slots=True, eq=False)
class RowRecord:
    """A row of the log's table. Its first two times, one behind the other, are datetimes."""

    id: int
    workspace_id: int
    tenant_id: str
    kind: str
    type: str
    by: str
    occurred_at: datetime
    recorded_at: datetime
    user_id: str = ""
    plan_id: int | None = None
    seq: int | None = None
    event_id: str = ""
    task_id: int | None = None
    from_state: str | None = None
    to_state: str | None = None
    version: int | None = None
    reason: str = ""
    inferred: bool = False
    refused: bool = False
    topic: str = ""
    source: str = ""
    correlation_id: str = ""
    parent_event_id: str = ""
    trace_id: str = ""
    data: str = "{}"
    envelope: str = "{}"
    task_ref: str = ""
    unmatched: bool = False
    handed_to: str = ""
    handed_id: str = ""
    handed_at: Native = None
    attempt: int = 1
    as_read: Line = ()


@dataclass(slots=True, eq=False)
class LinkRecord:
    """A row of the links' table."""

    id: int
    workspace_id: int
    tenant_id: str
    kind: str
    key: str
    created_at: Native
    plan_id: int | None = None
    task_id: int | None = None
    context_key: str = ""
    group_id: str = ""
    done: bool = False
    as_read: Line = ()


Record = PlanRecord | TaskRecord | RowRecord | LinkRecord
R = TypeVar("R", PlanRecord, TaskRecord, RowRecord, LinkRecord)
