"""A plan's story as Markdown, for pasting where people talk about it."""

import json
from collections.abc import Iterator
from typing import Any

import orjson

from tracker.explain import clock, short

LONGEST_ERROR = 2000


def markdown(story: dict[str, Any]) -> str:
    """The story of `tracker.explain` as Markdown; nothing in it is markup but what is written here."""
    parts = [
        f"## {_plain(story['goal_event'] or story['plan_id'])}: {story['state'].replace('_', ' ')}",
        _plain(story["verdict"]),
        *_root(story["root"]),
        *_section("Because of it", map(_consequence, story["consequences"]["items"])),
        *_section("Went wrong by itself", map(_other, story["others"]["items"]), story["others"]["count"]),
        *_section("Waits now", map(_wait, story["waits"]["items"])),
        *_section("Tried again", map(_mended, story["mended"]["items"]), story["mended"]["count"]),
        *_section("Refused messages", map(_refused, story["refused"]["items"]), story["refused"]["count"]),
        *_twin(story["last_success"]),
        *_section("What can be done", map(_option, story["options"])),
        f"Plan {_code(story['plan_id'])} at row {story['seq']} of its log.",
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Any, count: int = 0) -> list[str]:
    found = list(lines)
    if not found:
        return []
    more = [f"- and {count - len(found)} more"] if count > len(found) else []
    return [f"### {title}", "\n".join([*found, *more])]


def _root(root: dict[str, Any] | None) -> Iterator[str]:
    if root is None:
        return
    yield "### First"
    facts = {
        "Plan": _code(root["plan_id"]),
        "Task": f"{_plain(root['task'])} ({_code(root['task_id'])})" if root["task"] else "",
        "Agent": _plain(root["agent"] or ""),
        "Attempt": str(root["attempt"] or ""),
        "When": f"{clock(root['recorded_at'])}" + (f", row {root['seq']}" if root["seq"] else ""),
        "By": _plain(root["by"] or ""),
        "Reason": _plain(root["reason"] or ""),
    }
    yield "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)
    if root["error"]:
        yield _fence(root["error"][:LONGEST_ERROR])
    if payload := root["payload"]:
        yield f"Last payload ({_code(payload['type'])}, row {payload['seq']}, {payload['size']:,} characters):"
        yield _fence(_pretty(payload), "json")


def _pretty(payload: dict[str, Any]) -> str:
    if payload["data"] is None:
        return str(payload["beginning"]) + "\n..."
    return json.dumps(json.loads(orjson.dumps(payload["data"])), indent=2, ensure_ascii=False)


def _consequence(one: dict[str, Any]) -> str:
    said = {"left_open": "left open", "waits": "waiting"}.get(one["what"], one["what"])
    return f"- {one['count']} {said}: {_plain(one['name'])}"


def _other(one: dict[str, Any]) -> str:
    return f"- {_plain(one['task'] or 'the plan')}: {_plain(short(one['error'] or one['kind']))}"


def _wait(one: dict[str, Any]) -> str:
    who = f"{one['count']} {_plain(one['name'])}" if one["name"] else "The plan"
    return f"- {who}: {_plain(one['on'])}" + (f", since {clock(one['since'])}" if one["since"] else "")


def _mended(one: dict[str, Any]) -> str:
    times = len(one["attempts"])
    return f"- {_plain(one['task'] or '')}: went wrong {times} time{'s' if times != 1 else ''}, now {one['state']}"


def _refused(one: dict[str, Any]) -> str:
    return f"- row {one['seq']}, {_code(one['type'])} by {_plain(one['by'])}: {_plain(short(one['reason']))}"


def _twin(twin: dict[str, Any] | None) -> Iterator[str]:
    if twin is None:
        return
    yield "### Beside the last plan of this goal that completed"
    apart = twin["divergence"]
    where = f"they part at task {apart['place']}" if apart else "no difference in its tasks"
    yield f"{_code(twin['plan_id'])}, completed {clock(twin['completed_at'])}: {twin['same']} tasks alike, {where}."
    if apart:
        lines = [f"| {p['place']} | {_cell(p['ours'])} | {_cell(p['theirs'])} |" for p in twin["pairs"]]
        yield "\n".join(["| | this plan | that plan |", "|---|---|---|", *lines])


def _cell(step: dict[str, Any] | None) -> str:
    return _plain(f"{step['task']} {step['state']}").replace("|", "\\|") if step else ""


def _option(one: dict[str, Any]) -> str:
    what = " ".join(filter(None, (one["do"], one["subject"], _plain(one["name"]))))
    return f"- {'' if one['legal'] else 'not now: '}{what}: {_plain(one['why'])}" + (
        f" ({_code(one['call'])})" if one["call"] else ""
    )


def _plain(text: str) -> str:
    """Text of others, which must not become markup: in one line, with what starts markup escaped."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|" else char for char in " ".join(text.split()))


def _code(text: str) -> str:
    """Text of others as code."""
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{' '.join(text.split())}{pad}{ticks}"


def _fence(text: str, language: str = "") -> str:
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest
