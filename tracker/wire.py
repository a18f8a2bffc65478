"""A recorded message as agents get it: the envelope rebuilt from its log row, the same whether it is new or was kept."""

import orjson

from tracker.sql import RowRecord


def frame(row: RowRecord) -> str:
    """The envelope as JSON text: snake_case, nulls omitted, times with a zone, the payload as it came."""
    out = {
        "id": row.event_id,
        "source": row.source,
        "type": row.type,
        "topic": row.topic,
        "time": row.occurred_at.isoformat(),
        "correlation_id": row.correlation_id,
        "tenant_id": row.tenant_id,
        "user_id": row.user_id,
        **orjson.loads(row.envelope),
        "data": orjson.Fragment(row.data),
    }
    for name in ("trace_id", "parent_event_id"):
        if value := getattr(row, name):
            out[name] = value
    return orjson.dumps(out).decode()
