"""What goes into the ledger and what comes out of it. Pure data; `tracker.ledger.record` gives it its meaning.

A change may bring a `write`: it runs inside the same transaction, first of all, and must not fail for reasons of its
input (an upsert, a delete). What it returns comes back in the outcome's `value`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from tracker.envelope import Envelope

if TYPE_CHECKING:
    from tracker.linking import Heard

Write = Callable[[], Any]


@dataclass(slots=True, kw_only=True)
class Change:
    """Common to all: whose world it changes, who did it, and a write of its own.

    `at_home`: its meaning needs the memory of the server process that it came to.
    """

    at_home: ClassVar[bool] = False
    workspace_id: int
    tenant_id: str
    by: str
    write: Write | None = None


@dataclass(slots=True, kw_only=True)
class Message(Change):
    """An event that came over the bus. `workspace`: its name, which goes out as the platform's tenant."""

    envelope: Envelope
    workspace: str = ""
    heard: "Heard | None" = None  # what linking hears in it, once it has listened


@dataclass(slots=True, kw_only=True)
class Handover(Change):
    """Requests given to a connection of the agent `name` (instance `agent_id`).

    Whose registered agent consumes their types.

    `row_ids`: log rows of the requests, in order; `cursor`: how far the group `group_id` has been served with them;
    `again`: its first connection ended before it could be sent any of them. `unsure`: this was said before, and
    nobody heard whether it was recorded; nothing was sent.
    """

    row_ids: list[int]
    name: str
    agent_id: str
    group_id: int
    cursor: int
    again: bool = False
    unsure: bool = False


@dataclass(slots=True, kw_only=True)
class PlanFiled(Change):
    """An agent stored a plan record (`POST /v1/memory/plans`)."""

    plan_id: str
    user_id: str
    goal_event: str
    goal_data: dict[str, Any]
    session_id: str = ""
    parent_plan_id: str = ""


@dataclass(slots=True, kw_only=True)
class ContextStored(Change):
    """An agent stored or updated a plan context: from now on it says what state the plan is in.

    `status` as the SDK writes it (pending, running, paused, completed, failed, ...); None when the update does not say.
    `goal_event` None: an update of a context that exists.
    """

    plan_id: str
    user_id: str
    goal_event: str | None = None
    goal_data: dict[str, Any] | None = None
    response_event: str | None = None
    correlation_id: str | None = None
    session_id: str | None = None
    parent_plan_id: str | None = None
    status: str | None = None
    current_state: str | None = None
    correlation_ids: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class SubTask:
    """A delegated sub-task as the task context that delegates it names it."""

    sub_task_id: str
    group_id: str = ""
    done: bool = False


@dataclass(slots=True, kw_only=True)
class TaskContextStored(Change):
    """A worker stored or updated the context of its task; the only place that names sub-tasks and their group.

    `event_type` None: an update of a context that exists.
    """

    task_id: str
    plan_id: str = ""
    event_type: str | None = None
    data: dict[str, Any] | None = None
    sub_tasks: list[SubTask] = field(default_factory=list)


@dataclass(slots=True)
class Step:
    """One move of a task as somebody reports it. `event_id` makes it known: told again, it is answered, not applied."""

    to: str
    event_id: str = ""
    at: datetime | None = None
    reason: str = ""
    error: str = ""
    result: Any = None


@dataclass(slots=True, kw_only=True)
class TaskMove(Change):
    """Somebody moves a task by one hop: REST, a button, an operator.

    `expected_version` None: whatever its version is.
    """

    task_id: str
    to: str
    expected_version: int | None = None
    event_id: str = ""
    at: datetime | None = None
    reason: str = ""
    error: str = ""
    result: Any = None

    @property
    def step(self) -> Step:
        """The move as a step."""
        return Step(self.to, self.event_id, self.at, self.reason, self.error, self.result)


@dataclass(slots=True, kw_only=True)
class Journal(Change):
    """What an agent did to its task while it was offline, in order. `atomic`: all of it or nothing."""

    task_id: str
    steps: list[Step]
    base_version: int | None = None
    atomic: bool = True


@dataclass(slots=True, kw_only=True)
class Reconcile(Change):
    """What an agent believes of its task; what is missing on the way there is inferred."""

    task_id: str
    state: str
    version: int | None = None


@dataclass(slots=True, kw_only=True)
class Progress(Change):
    """How far a task is. No move, no version: the latest value counts."""

    task_id: str
    progress: float | None = None
    message: str | None = None
    data: dict[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class PlanMove(Change):
    """Somebody moves a plan: REST, a button, an operator."""

    plan_id: str
    to: str
    reason: str = ""


@dataclass(slots=True, kw_only=True)
class Due(Change):
    """A deadline has come. `kind` and `subject` name it; see `tracker.deadlines`."""

    at_home: ClassVar[bool] = True  # a parcel that is due leaves from there
    kind: str
    subject: int


@dataclass(slots=True, kw_only=True)
class Connected(Change):
    """An instance of a registered agent has opened an event stream.

    For changes of this kind and those below, `tenant_id` is that of its key; empty: the whole workspace.

    `connection`: id of the stream; `process`: of the server process that serves it.
    """

    agent_id: str
    name: str
    connection: str
    process: int


@dataclass(slots=True, kw_only=True)
class Disconnected(Change):
    """A stream of an agent has ended. `heir`: another one that the same instance has here, empty when it has none."""

    agent_id: str
    connection: str
    heir: str = ""


@dataclass(slots=True, kw_only=True)
class Registered(Change):
    """An agent has registered: a new life, unless it was there all the time."""

    agent_id: str
    name: str


@dataclass(slots=True, kw_only=True)
class Heartbeat(Change):
    """An agent says that it is alive; only recorded when that is news."""

    agent_id: str


@dataclass(slots=True, kw_only=True)
class PoliciesSet(Change):
    """A workspace's policies are written anew, by its `write`."""


@dataclass(slots=True, kw_only=True)
class ServerBegins(Change):
    """A server process has started. `alone`: there is no other one, so whoever was connected is not any more."""

    process: int
    alone: bool


@dataclass(slots=True, kw_only=True)
class ServerLives(Change):
    """A server process, one of several, is still there.

    `value`: whether the others have taken it for dead meanwhile; then it says again who is connected to it.
    """

    process: int


@dataclass(slots=True)
class Outcome:
    """What came of one change.

    `result`: recorded | duplicate | refused | unknown (no such plan or task). `seq`: of its first row in the plan's
    log, None while it has no plan. `detail` says why something was refused.
    """

    result: str
    event_id: str = ""
    plan_id: str = ""
    task_id: str = ""
    seq: int | None = None
    detail: str = ""
    value: Any = None


@dataclass(slots=True)
class Recorded:
    """A committed log row as readers see it (`row`, the log's public shape) with where it belongs.

    `plan_key`: primary key of the plan, None for a message that waits for its plan; `row_id`: primary key of the log
    row; `made`: the row, or how it is made, since most rows of a busy server are watched by nobody.
    """

    row_id: int
    workspace_id: int
    tenant_id: str
    plan_key: int | None
    plan_id: str
    made: dict[str, Any] | Callable[[], dict[str, Any]]

    @property
    def row(self) -> dict[str, Any]:
        """The row in its public shape."""
        if callable(self.made):
            self.made = self.made()
        return self.made


@dataclass
class Batch:
    """What one commit brought: the outcome of each change in order, all rows in log order, and the messages.

    `made_rows`, `made_messages`: these, or how they are made. `row_count`, `plan_count`: how many rows it wrote, of how
    many plans. `due_at`: the nearest of the deadlines that it set. `committed_at`: by the clock of this process
    (`perf_counter`), 0 for a commit of another one. `complete`: rows and messages are not left out because nobody
    listened when it was made.
    """

    outcomes: list[Outcome]
    made_rows: list[Recorded] | Callable[[], list[Recorded]]
    made_messages: "list[Delivery] | Callable[[], list[Delivery]]"
    row_count: int = 0
    plan_count: int = 0
    head: int = 0
    due_at: datetime | None = None
    committed_at: float = 0.0
    complete: bool = True

    @cached_property
    def rows(self) -> list[Recorded]:
        """All rows in log order."""
        return self.made_rows() if callable(self.made_rows) else self.made_rows

    @cached_property
    def messages(self) -> "list[Delivery]":
        """The messages for the bus in the order in which they were recorded."""
        return self.made_messages() if callable(self.made_messages) else self.made_messages


@dataclass(slots=True)
class Delivery:
    """A recorded message as the bus carries it on. `frame` is the envelope as JSON text, nulls omitted.

    `made`: the frame, or how it is made, since not every message has a reader.
    `row_id`: its key in the log, negative for the tracker's own word on that row, which is not kept as a message.
    `again`: a request that was handed over before, for another attempt. `own`: an answer of the server's own; that it
    was sent is recorded. `avoid`: the agent id that had it, and should get it again only if there is no other.
    """

    row_id: int
    workspace_id: int
    tenant_id: str
    topic: str
    type: str
    made: str | Callable[[], str]
    again: bool = False
    own: bool = False
    avoid: str = ""

    @property
    def frame(self) -> str:
        """The envelope as JSON text."""
        if callable(self.made):
            self.made = self.made()
        return self.made
