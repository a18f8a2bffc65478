"""The event envelope as agents send it: parsed once, validated once, and what is kept of it."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

import orjson
import pydantic_core
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

TOPICS = (
    "business-facts",
    "action-requests",
    "action-results",
    "billing-events",
    "notification-events",
    "system-events",
    "plan-events",
    "task-events",
)
Topic = Literal[
    "business-facts",
    "action-requests",
    "action-results",
    "billing-events",
    "notification-events",
    "system-events",
    "plan-events",
    "task-events",
]
RESULTS = "action-results"
TRACKER = "tracker"  # the source of the tracker's own messages; nobody else's


def dumps(value: Any, *, sort: bool = False) -> str:
    """JSON text of anything that came as JSON, also of integers beyond 64 bits and of halves of surrogate pairs."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"), sort_keys=sort)


def loads(text: bytes | str) -> Any:
    """Anything that is JSON, its integers as large as they came.

    Raises ValueError for NaN and infinities, numbers beyond a double, half a surrogate pair, and more than 200 levels.
    """
    orjson.loads(text)  # the one that refuses 1e999; the other one keeps integers beyond 64 bits
    return pydantic_core.from_json(text, allow_inf_nan=False)


def no_nul(text: str) -> str:
    """The text, unless it holds what PostgreSQL cannot store."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _not_the_tracker(source: str) -> str:
    if source == TRACKER:
        raise ValueError(f"'{TRACKER}' is the source of the server's own messages")
    return source


def _in_utc(moment: datetime) -> datetime:
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("is beyond the calendar") from None


Text = Annotated[str, StringConstraints(max_length=255), AfterValidator(no_nul)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255, strip_whitespace=True), AfterValidator(no_nul)]
Owner = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True), AfterValidator(no_nul)]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


def _now() -> datetime:
    return datetime.now(UTC)


class Envelope(BaseModel):
    """An event on the bus. Fields that the server does not know are dropped; `data` is kept as it came."""

    model_config = ConfigDict(extra="ignore")

    id: Name = Field(default_factory=lambda: str(uuid4()))
    source: Annotated[Name, AfterValidator(_not_the_tracker)]
    specversion: Text = "1.0"
    type: Name
    topic: Topic
    time: Moment = Field(default_factory=_now)
    data: dict[str, Any] = Field(default_factory=dict)
    correlation_id: Text | None = None
    subject: Text | None = None
    response_event: Text | None = None
    response_topic: Text | None = None
    response_schema_name: Text | None = None
    trace_id: Text | None = None
    parent_event_id: Text | None = None
    payload_schema_name: Text | None = None
    tenant_id: Owner
    user_id: Owner
    session_id: Text | None = None
    goal_id: Text | None = None
    plan_id: Text | None = None

    def model_post_init(self, context: Any) -> None:
        """Every message has a correlation; blank optional fields count as absent."""
        self.correlation_id = self.correlation_id or str(uuid4())
