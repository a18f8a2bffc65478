"""What waits for an agent name in the log: read by cursors, never copied. Blocking; called from reader threads."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from tracker import sql
from tracker.bus.topics import matched
from tracker.changes import Delivery
from tracker.models import Agent, LogRow, QueueGroup
from tracker.records import RowRecord
from tracker.wire import delivery

REQUESTS, RESULTS = "action-requests", "action-results"
PAGE = 500  # rows read at once


@dataclass(slots=True)
class Registered:
    """What the registry knows of an agent name: its queue group's key and cursors, and what each instance consumes."""

    group_id: int
    requests_cursor: int
    results_cursor: int
    topics: list[str]
    consumed: dict[str, frozenset[str]] = field(default_factory=dict)  # by agent id
    consumed_by_name: frozenset[str] = frozenset()

    def consumed_by(self, agent_id: str) -> frozenset[str]:
        """Event types that this instance consumes; one that never registered itself consumes what its name does."""
        return self.consumed.get(agent_id, self.consumed_by_name)


def base_name(workspace_id: int, name: str) -> str:
    """The agent name that a stream's name means: without `:version` when the registry knows it so, else as it is."""
    known = Agent.objects.filter(workspace_id=workspace_id, base_name__in=(name, name.rpartition(":")[0]))
    return max(known.values_list("base_name", flat=True), key=len, default=name)


def registered(workspace_id: int, tenant_id: str, name: str) -> Registered | None:
    """The agent name as the registry knows it, also when all of its instances signed off; None if it was never seen."""
    agents = list(
        Agent.objects.filter(workspace_id=workspace_id, base_name=name)
        .filter(Q(tenant_id="") | Q(tenant_id=tenant_id) if tenant_id else Q())
        .order_by("registered_at")
        .values_list("agent_id", "consumed_events", "signed_off_at")
    )
    if not agents:
        return None
    consumed = {agent_id: frozenset(json.loads(types)) for agent_id, types, _ in agents}
    live = [types for agent_id, types, signed_off in agents if signed_off is None] or [agents[-1][1]]
    group, _ = QueueGroup.objects.get_or_create(
        workspace_id=workspace_id, name=name, tenant_id=tenant_id,
        defaults={"requests_cursor": head(), "results_cursor": head(), "seen_at": datetime.now(UTC)},
    )  # fmt: skip
    return Registered(
        group.pk, group.requests_cursor, group.results_cursor, json.loads(group.topics), consumed,
        frozenset(t for types in live for t in json.loads(types)),
    )  # fmt: skip


def head() -> int:
    """The newest log row's key."""
    return LogRow.objects.order_by("-id").values_list("id", flat=True).first() or 0


def connected(name: Registered, patterns: list[str]) -> None:
    """Remember what the name listens to: that is what will wait for it when it is away.

    What it did not listen to before has not waited for it: the name is as far as the log is.
    """
    new: dict[str, Any] = {"topics": json.dumps(patterns), "seen_at": datetime.now(UTC)}
    begun = matched(patterns) - matched(name.topics)
    if REQUESTS in begun:
        name.requests_cursor = new["requests_cursor"] = head()
    if RESULTS in begun:
        name.results_cursor = new["results_cursor"] = head()
    name.topics = patterns
    QueueGroup.objects.filter(pk=name.group_id).update(**new)


def save_results_cursor(group_id: int, cursor: int) -> None:
    """Results up to here were sent."""
    QueueGroup.objects.filter(pk=group_id, results_cursor__lt=cursor).update(results_cursor=cursor)


@dataclass(slots=True)
class Want:
    """What to read: of which workspace and tenant (empty: all), on which topics, requests of which types.

    From where on.
    """

    workspace_id: int
    tenant_id: str
    topics: frozenset[str]
    types: frozenset[str]
    requests_after: int
    results_after: int


def waiting(want: Want) -> list[Delivery]:
    """The next messages that wait, in the order they were recorded; at most `PAGE` of each topic.

    Bounded in age and number by settings: older ones, and those beyond the newest so many, no longer wait.
    """
    rows: list[RowRecord] = []
    types = sorted(want.types)
    if REQUESTS in want.topics and types:
        rows += _after(want, REQUESTS, want.requests_after, f"AND type IN ({sql.marks(types)})", types)
    if RESULTS in want.topics:
        rows += _after(want, RESULTS, want.results_after, "", [])
    return [delivery(row) for row in sorted(rows, key=lambda r: r.id)]


def never_handed(want: Want) -> list[Delivery]:
    """Requests of these types that lie behind the cursor and that no agent has been given yet."""
    types = sorted(want.types)
    if REQUESTS not in want.topics or not types:
        return []
    where, values = _base(want, REQUESTS)
    where += f" AND handed_to = '' AND id <= %s AND type IN ({sql.marks(types)})"
    tail = f"ORDER BY id DESC LIMIT {settings.WAITING_MESSAGES}"
    rows = sql.select(RowRecord, where, [*values, want.requests_after, *types], tail=tail)
    return [delivery(row) for row in reversed(rows)]


def _base(want: Want, topic: str) -> tuple[str, list[object]]:
    oldest = sql.native(datetime.now(UTC) - timedelta(seconds=settings.WAITING_SECONDS))
    # The topic is part of the text: SQLite takes an index of its rows alone only for what it can read.
    where = f"kind = 'message' AND topic = '{topic}' AND workspace_id = %s AND recorded_at > %s"
    values: list[object] = [want.workspace_id, oldest]
    if want.tenant_id:
        where, values = f"{where} AND tenant_id = %s", [*values, want.tenant_id]
    return where, values


def _after(want: Want, topic: str, cursor: int, more: str, more_values: list[str]) -> list[RowRecord]:
    where, values = _base(want, topic)
    where, values = f"{where} AND id > %s {more}", [*values, cursor, *more_values]
    # Only the newest so many wait: start where they begin.
    skip = f"SELECT id FROM tracker_logrow WHERE {where} ORDER BY id DESC LIMIT 1 OFFSET {settings.WAITING_MESSAGES}"
    first = sql.rows(skip, values)
    values[2 if not want.tenant_id else 3] = first[0][0] if first else cursor
    return sql.select(RowRecord, where, values, tail=f"ORDER BY id LIMIT {PAGE}")
