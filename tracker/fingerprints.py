"""When two failures are of one kind: the same type of error with the same message, but for what differs each time.

Numbers, ids, hexadecimal, quoted values, paths, addresses and times are replaced. Pure.
"""

import hashlib
import json
import re
from typing import Any, NamedTuple

LONGEST = 300  # characters of a normalised message
LOOKED_AT = 1000  # characters of an error that are looked at

# A name that says by itself that it is an error's, or that is written like one, at the beginning of a message.
_WORDS = "Error|Exception|Failure|Fault|Timeout|Warning|Exit|Interrupt"
_TYPE = re.compile(rf"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*(?:{_WORDS})\b|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]*)+(?=:\s)):?\s*")
_TRACEBACK = "Traceback (most recent call last)"
# In this order: what is replaced by an earlier one is not looked at again.
_REPLACED = [
    (re.compile(pattern, re.IGNORECASE), sign)
    for pattern, sign in (
        (r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", "<url>"),
        (r"\b[\w.+-]+@[\w-]+\.[\w.]+", "<address>"),
        (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
        (r"\b\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?(?:z|utc|[+-]\d\d:?\d\d))?)?", "<time>"),
        (r"\b\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?\b", "<time>"),
        (r"\"(?:[^\"\\]|\\.){0,500}\"|`[^`]{0,500}`|(?<![\w])'(?:[^'\\]|\\.){0,500}'(?!\w)", "<value>"),
        (r"(?<![\w.<])(?:[a-z]:)?(?:[\\/][\w.@~+-]+){2,}[\\/]?", "<path>"),
        (r"(?<![\w.<])[.~]{1,2}(?:[\\/][\w.@~+-]+)+", "<path>"),
        (r"\b0x[0-9a-f]+\b", "<hex>"),
        (r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{6,}\b", "<hex>"),
        (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b", "<address>"),
        (r"\b(?=\w*\d)(?=\w*[a-z])\w{12,}\b", "<id>"),
        (r"(?:(?<!\w)[+-])?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", "<n>"),
    )
]


class Kind(NamedTuple):
    """What failures of one kind have in common. `error_type` is empty when the error does not name one."""

    fingerprint: str
    error_type: str
    message: str


def kind_of(task_type: str, error: str) -> Kind:
    """The kind of a failure of a task of this event type, from its error's text."""
    error_type, message = _parts(error[:LOOKED_AT])
    message = normalised(message)
    digest = hashlib.sha256(f"{task_type}\x00{error_type}\x00{message}".encode("utf-8", "replace"))
    return Kind(digest.hexdigest()[:16], error_type, message)


def normalised(message: str) -> str:
    """A message without what differs from one failure to the next."""
    for pattern, sign in _REPLACED:
        message = pattern.sub(sign, message)
    return " ".join(message.split())[:LONGEST]


def _parts(error: str) -> tuple[str, str]:
    """The type and the message of an error: of an object, of a traceback's last line, or of its first line."""
    error = error.strip()
    if error.startswith("{") and (found := _of_object(error)):
        return found
    lines = [line.strip() for line in error.splitlines() if line.strip()] or [""]
    line = lines[-1] if _TRACEBACK in error else lines[0]
    if match := _TYPE.match(line):
        return match[1], line[match.end() :]
    return "", line


def _of_object(error: str) -> tuple[str, str] | None:
    try:
        said: dict[str, Any] = json.loads(error)
    except (ValueError, RecursionError):
        return None
    kind = next((said[name] for name in ("type", "error_type", "code", "name", "class") if said.get(name)), "")
    text = next((said[name] for name in ("message", "detail", "reason", "error", "title") if said.get(name)), "")
    return (str(kind)[:100], str(text)) if kind or text else None
