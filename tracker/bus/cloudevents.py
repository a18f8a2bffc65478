"""CloudEvents 1.0 as envelopes: its attributes are ours, and the rest of our envelope comes as extension attributes."""

import re
from typing import Any

from tracker.envelope import Envelope

EVENT, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
REQUIRED = ("id", "source", "specversion", "type")
# Extension attributes have lower-case letters and digits only.
NAMES = {name.replace("_", ""): name for name in Envelope.model_fields}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class NoEnvelope(ValueError):
    """A CloudEvent that cannot be an envelope"""

    def __init__(self, attribute: str, detail: str) -> None:
        """`attribute` is the one that is missing or wrong."""
        super().__init__(detail)
        self.attribute = attribute


def envelope_of(event: Any) -> Any:
    """The envelope that a CloudEvent stands for, not validated yet; what is no object stays as it is.

    Raises NoEnvelope.
    """
    if not isinstance(event, dict):
        return event
    for name in REQUIRED:
        if name not in event:
            raise NoEnvelope(name, f"a CloudEvent needs {name}")
    if event["specversion"] != "1.0":
        raise NoEnvelope("specversion", "only CloudEvents 1.0 are taken")
    if "data_base64" in event:
        raise NoEnvelope("data_base64", "binary data is not taken: send a JSON object as data")
    envelope = {ours: event[name] for name, ours in NAMES.items() if name in event}
    envelope |= {name: event[name] for name in Envelope.model_fields if name in event}
    if envelope.get("data", {}) is None:
        del envelope["data"]
    if not envelope.get("trace_id") and (trace := _TRACEPARENT.fullmatch(str(event.get("traceparent")))):
        envelope["trace_id"] = trace[1]
    return envelope


def attribute_of(event: Any, name: str) -> str:
    """What this CloudEvent calls a field of the envelope."""
    return name if name in event else name.replace("_", "")
