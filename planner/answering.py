"""Answers of people against the JSON Schema that came with the question.

A schema is a stranger's: it fetches nothing, its patterns run against the clock, and it is bounded in size.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import SchemaRegistry

from tracker.envelope import dumps

LARGEST = 32 * 1024  # characters of a schema
MOST_FAULTS = 20  # that an answer is told of
PATTERN_SECONDS = 0.2  # for one pattern on one string
_ALONE: SchemaRegistry = Registry()  # without a way to fetch what is not there


class CannotTell(ValueError):
    """The schema cannot be evaluated; the text says why."""


def schema_faults(schema: dict[str, Any]) -> str:
    """Why a schema cannot be used, empty when it can."""
    if len(dumps(schema)) > LARGEST:
        return f"may have {LARGEST} characters"
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        faults_of(schema, {})  # what it refers to must be in it, and not in a circle
    except SchemaError as error:
        return f"is no JSON Schema: {_at(error)}: {error.message:.300}"
    except CannotTell as error:
        return str(error)
    except RecursionError:
        return "is nested too deeply"
    return _foreign(schema)


def faults_of(schema: dict[str, Any], payload: Any) -> list[dict[str, str]]:
    """What of a payload does not fit: a pointer and a detail each, at most 20. Raises CannotTell."""
    kind = validator_for(schema, default=Draft202012Validator)
    checking = _timed(kind)(schema, registry=_ALONE)
    try:
        found = [{"pointer": _at(error), "detail": f"{error.message:.500}"} for error in checking.iter_errors(payload)]
    except (Unresolvable, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise CannotTell("goes round in circles" if deep else f"refers to what is not there: {error}") from None
    except TimeoutError:
        raise CannotTell("has a pattern that takes too long") from None
    except (regex.error, TypeError, ValueError, ArithmeticError) as error:
        raise CannotTell(f"cannot be evaluated: {error}") from None
    return found[:MOST_FAULTS]


def _foreign(schema: Any) -> str:
    """Every reference must stay inside: of what is never reached by a trial, too."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            target = one.get("$ref")
            if isinstance(target, str) and not target.startswith("#"):
                return f"refers to another document: {target:.200}"
            waiting += one.values()
    return ""


def _at(error: ValidationError | SchemaError) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error.absolute_path)


def _timed(kind: type[Validator]) -> Any:
    """A validator of that draft whose patterns cannot run for ever."""
    return extend(kind, {"pattern": _pattern, "patternProperties": _pattern_properties})


def _found(pattern: str, text: str) -> bool:
    return regex.search(pattern, text, timeout=PATTERN_SECONDS) is not None


def _pattern(checking: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if checking.is_type(value, "string") and not _found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(checking: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not checking.is_type(value, "object"):
        return
    for pattern, inner in patterns.items():
        for name in filter(partial(_found, pattern), value):
            yield from checking.descend(value[name], inner, path=name, schema_path=pattern)
