"""Settings from the environment: every variable the server reads is declared here or in settings.py through `read`.

`declared` lists them with their defaults and meaning; docs/configuration.md is tested against it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Variable:
    """One environment variable: its name, its default as a reader would type it, and what it does."""

    name: str
    default: str
    help: str


declared: list[Variable] = []


class BadSetting(Exception):
    """An environment variable has a value that cannot be read."""


def read(name: str, default: str, help: str, parse: Callable[[str], T]) -> T:
    """Declare a variable and give its parsed value; an empty value means the default."""
    declared.append(Variable(name, default, help))
    raw = os.environ.get(name, "").strip() or default
    try:
        return parse(raw)
    except ValueError as error:
        raise BadSetting(f"{name}={raw!r} cannot be read: {error}") from error


def flag(raw: str) -> bool:
    """`1`, `true`, `yes`, `on` and their opposites, in any case."""
    word = raw.lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"", "0", "false", "no", "off"}:
        return False
    raise ValueError("use 1 or 0")


def names(raw: str) -> list[str]:
    """A comma separated list without blanks."""
    return [part.strip() for part in raw.split(",") if part.strip()]


def seconds(raw: str) -> list[float]:
    """A comma separated list of seconds."""
    found = [float(part) for part in names(raw)]
    if not all(0 <= one < 10**9 for one in found):
        raise ValueError("use seconds, comma separated")
    return found


def backend(raw: str) -> str:
    """One of Django's mail backends by its short name, or the path of another; empty: none."""
    if "." in raw or not raw:
        return raw
    short = {"smtp": "smtp", "console": "console", "file": "filebased"}
    if raw not in short:
        raise ValueError(f"use {', '.join(short)} or the path of a class")
    return f"django.core.mail.backends.{short[raw]}.EmailBackend"


def ledger_processes(raw: str, *, sqlite: bool) -> int:
    """A number, or `auto`. SQLite takes one writer at a time, so more than one process would only wait."""
    most = 1 if sqlite else 16
    if raw != "auto":
        number = int(raw)
        if not 0 <= number <= most:
            raise ValueError(f"use auto or 0 to {most}")
        return number
    return 0 if len(os.sched_getaffinity(0)) == 1 else min(2, most)
