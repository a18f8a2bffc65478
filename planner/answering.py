"""Answers of people against the JSON Schema that came with the question.

A schema is a stranger's: it fetches nothing, runs against the clock, and is bounded in size.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from time import monotonic
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
TRIAL_SECONDS = 0.2  # for a trial of a new schema
CHECK_SECONDS = 2.0  # for an answer
Keyword = Callable[[Any, Any, Any, Any], Iterable[ValidationError] | None]
_ALONE: SchemaRegistry = Registry()  # without a way to fetch what is not there


class CannotTell(ValueError):
    """The schema cannot be evaluated; the text says why."""


def schema_faults(schema: dict[str, Any]) -> str:
    """Why a schema cannot be used, empty when it can."""
    if len(dumps(schema)) > LARGEST:
        return f"may have {LARGEST} characters"
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
        faults_of(schema, {}, TRIAL_SECONDS)  # what it refers to must be in it, and not in a circle
    except SchemaError as error:
        return f"is no JSON Schema: {_at(error)}: {error.message:.300}"
    except CannotTell as error:
        return str(error)
    except Exception as error:  # what a stranger's schema does to the library is not foreseen, and no fault of ours
        return _told(error)
    return _foreign(schema)


def faults_of(schema: dict[str, Any], payload: Any, seconds: float = CHECK_SECONDS) -> list[dict[str, str]]:
    """What of a payload does not fit: a pointer and a detail each, at most 20. Raises CannotTell."""
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        checking = _bounded(kind, monotonic() + seconds)(schema, registry=_ALONE)
        found = islice(checking.iter_errors(payload), MOST_FAULTS)
        return [{"pointer": _at(error), "detail": f"{error.message:.500}"} for error in found]
    except Exception as error:
        raise CannotTell(_told(error)) from None


def _told(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "goes round in circles, or is nested too deeply"
    if isinstance(error, TimeoutError):
        return "takes too long to be evaluated"
    if isinstance(error, Unresolvable):
        return f"refers to what is not there: {error}"
    return f"cannot be evaluated: {type(error).__name__}: {error!s:.200}"


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


def _bounded(kind: type[Validator], until: float) -> Any:
    """A validator of that draft that gives up when its time is over, also inside of a pattern."""
    own: dict[str, Keyword] = {"pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique}
    keywords = {**kind.VALIDATORS, **{name: one for name, one in own.items() if name in kind.VALIDATORS}}
    return extend(kind, {name: _watched(keyword, until) for name, keyword in keywords.items()})


def _watched(keyword: Keyword, until: float) -> Keyword:
    def watched(checking: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if monotonic() > until:
            raise TimeoutError
        yield from keyword(checking, value, instance, schema) or ()

    return watched


def _found(pattern: str, text: str) -> bool:
    return regex.search(pattern, text, timeout=PATTERN_SECONDS) is not None


def _pattern(checking: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if checking.is_type(value, "string") and not _found(pattern, value):
        yield ValidationError(f"{value!r:.200} does not match {pattern!r}")


def _pattern_properties(checking: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not checking.is_type(value, "object"):
        return
    for pattern, inner in patterns.items():
        for name in filter(partial(_found, pattern), value):
            yield from checking.descend(value[name], inner, path=name, schema_path=pattern)


def _unique(checking: Any, wanted: bool, value: Any, schema: Any) -> Iterator[ValidationError]:
    """By their texts: the library compares each with each when they cannot be sorted."""
    if wanted and checking.is_type(value, "array") and len({dumps(item, sort=True) for item in value}) < len(value):
        yield ValidationError("has an item twice")
