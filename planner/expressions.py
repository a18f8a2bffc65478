"""What a declared plan computes: conditions in CEL, and placeholders in the data of its requests.

Both look at the same things: `goal_data`, the `results` of earlier states, and a condition also at the `result` and the
`event` that has just come. CEL has no loops but its macros; those may not stand inside each other, and what they look
at is bounded, so that no condition can hold up the server.
"""

import re
from functools import lru_cache
from typing import Any

from cel import cel

from tracker.envelope import dumps

LONGEST = 1_000  # characters of a condition
MOST_LOOKED_AT = 1_000_000  # characters of JSON that a condition sees
MOST_WALKED = 16_000  # the same with a macro in it
ROOTS = ("goal_data", "results", "plan_id", "goal")
NAMES = frozenset({"goal_data", "results", "result", "event"})
FUNCTIONS = frozenset({
    "_in_", "size", "contains", "startsWith", "endsWith", "matches", "int", "uint", "double", "string", "bytes", "bool",
    "type", "min", "max", "timestamp", "duration", "getFullYear", "getMonth", "getDate", "getDayOfMonth",
    "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes", "getSeconds", "getMilliseconds",
})  # fmt: skip
PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_WHOLE = re.compile(r"\s*\{\{([^{}]+)\}\}\s*")
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(\s*(\w+)\s*,")
_TEXTS = re.compile(r"""(?s)[rRbB]*(\"{3}.*?\"{3}|\'{3}.*?\'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")


class Unresolved(Exception):
    """A placeholder or a condition that cannot be computed; its text says why."""


class _No:
    """The type of NO."""


NO = _No()  # there is no such thing: None is a value


# --- placeholders -----------------------------------------------------------------------------------------------------


def parts(name: str) -> list[str]:
    """The parts of a placeholder's name."""
    return [part.strip() for part in name.split(".")]


def looked_up(value: Any, path: list[str]) -> Any:
    """What stands at this path, NO if nothing does; the members of a list go by their number."""
    for part in path:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) < 10 and int(part) < len(value):
            value = value[int(part)]
        else:
            return NO
    return value


def filled(template: Any, known: dict[str, Any]) -> Any:
    """A template with its placeholders replaced.

    One that is a whole text becomes the value itself; inside a longer text it is written out. Raises Unresolved.
    """
    if isinstance(template, dict):
        return {key: filled(value, known) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, known) for value in template]
    if not isinstance(template, str):
        return template
    if whole := _WHOLE.fullmatch(template):
        return _value(whole[1], known)
    return PLACEHOLDER.sub(lambda found: _written(_value(found[1], known)), template)


def _value(name: str, known: dict[str, Any]) -> Any:
    value = looked_up(known, parts(name))
    if value is NO:
        raise Unresolved(f"there is nothing at {{{{{name.strip()}}}}}")
    return value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)


# --- conditions -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2048)
def _compiled(text: str) -> Any:
    return cel.compile(text)


def faults(text: str) -> list[str]:
    """What is wrong with a condition: its syntax, and names and functions that nobody knows."""
    try:
        program = _compiled(text)
    except Exception as error:
        return [f"is no CEL expression: {_syntax(error)}"]
    bound = set(_MACRO.findall(_TEXTS.sub("''", text)))
    unknown = [name for name in program.variables() if name not in NAMES | bound and not name.startswith("@")]
    strange = [name for name in program.functions() if re.fullmatch(r"\w+", name) and name not in FUNCTIONS]
    found = [f"{name!r} is not known: there are {', '.join(sorted(NAMES))}" for name in unknown]
    found += [f"there is no function {name!r}" for name in strange]
    if "//" in _TEXTS.sub("''", text):
        found.append("a comment has no place here")
    if _nested(text):
        found.append("a macro (all, exists, exists_one, map, filter) cannot stand inside another")
    return found


def _nested(text: str) -> bool:
    """Whether a macro stands inside of another one's brackets."""
    text = _TEXTS.sub("''", text)
    opened = {found.end() - len(found[0]) + found[0].index("(") for found in _MACRO.finditer(text)}
    depth: list[bool] = []
    for place, sign in enumerate(text):
        if sign == "(":
            if place in opened and any(depth):
                return True
            depth.append(place in opened)
        elif sign == ")" and depth:
            depth.pop()
    return False


def looks_at_the_answer(text: str) -> bool:
    """Whether a condition asks what came back, and not only what was known before."""
    return bool({"result", "event"} & set(_compiled(text).variables()))


def holds(text: str, known: dict[str, Any]) -> bool:
    """Whether a condition holds. Raises Unresolved, with the reason, when it cannot be said."""
    program = _compiled(text)
    seen = {name: known[name] for name in NAMES & set(program.variables())}
    size = sum(len(dumps(value)) for value in seen.values())
    most = MOST_WALKED if _MACRO.search(text) else MOST_LOOKED_AT
    if size > most:
        raise Unresolved(f"it looks at {size} characters, and {most} are the most")
    try:
        value = program.execute(seen)
    except KeyError as error:
        raise Unresolved(f"there is no member {error.args[0]}") from error
    except Exception as error:
        raise Unresolved(_first_line(error)) from error
    if not isinstance(value, bool):
        raise Unresolved("it gives neither true nor false")
    return value


def _syntax(error: Exception) -> str:
    """What a parser says, in short."""
    found = re.search(r"<input>:\d+:(\d+): (?:Syntax error: )?(.+)", str(error))
    return f"{found[2].partition(' expecting ')[0]:.200} at character {found[1]}" if found else _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
