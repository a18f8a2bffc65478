"""What templates need to show states, icons and counts in the one way that the whole product shows them."""

import posixpath
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import orjson
from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

# Our names -> lucide's. States are here under their names on the wire, so that data-state and icon cannot differ.
ICONS: Mapping[str, str] = {
    "pending": "circle-dashed",
    "running": "circle-play",
    "in_progress": "circle-play",
    "delegated": "split",
    "waiting": "hourglass",
    "in_review": "eye",
    "awaiting_approval": "hand",
    "completed": "circle-check",
    "failed": "circle-x",
    "cancelled": "ban",
    "paused": "circle-pause",
    "held": "user-lock",
    "pause": "pause",
    "resume": "play",
    "retry": "rotate-ccw",
    "stalled": "triangle-alert",
    "plans": "chart-gantt",
    "agents": "bot",
    "metrics": "chart-line",
    "download": "download",
    "explain": "stethoscope",
    "failures": "bug",
    "approvals": "inbox",
    "risk-low": "shield-check",
    "risk-medium": "shield",
    "risk-high": "shield-alert",
    "deadline": "timer",
    "edit": "pencil",
    "respond": "reply",
    "undo": "undo-2",
    "back": "arrow-left",
    "members": "users",
    "settings": "settings",
    "key": "key-round",
    "search": "search",
    "copy": "copy",
    "check": "check",
    "x": "x",
    "plus": "plus",
    "minus": "minus",
    "fit": "maximize",
    "chevron": "chevron-right",
    "updown": "chevrons-up-down",
    "arrow": "arrow-right",
    "tail": "arrow-down-to-line",
    "request": "arrow-up-right",
    "result": "arrow-down-left",
    "message": "message-square",
    "note": "activity",
    "refused": "octagon-x",
    "inferred": "route",
    "live": "wifi",
    "catching-up": "refresh-cw",
    "offline": "wifi-off",
    "keyboard": "keyboard",
    "sign-out": "log-out",
    "connect": "cable",
    "terminal": "terminal",
    "theme-auto": "monitor",
    "theme-light": "sun",
    "theme-dark": "moon",
}


@register.simple_tag
@cache
def sprite() -> SafeString:
    """All icons once, hidden; `icon` and the scripts point at them."""
    # The package's own tag opens its archive of all icons for each one, which would make the first page wait.
    with (files("lucide") / "lucide.zip").open("rb") as archive, ZipFile(archive) as packed:
        icons = "".join(_symbol(ours, packed.read(f"{name}.svg").decode()) for ours, name in ICONS.items())
    return mark_safe(f'<svg hidden aria-hidden="true">{icons}</svg>')  # noqa: S308 - our own names


def _symbol(name: str, svg: str) -> str:
    return " ".join(svg.split()).replace("<svg", f'<svg id="i-{name}"', 1)


@register.simple_tag
def icon(name: str, classes: str = "icon") -> SafeString:
    """One icon of the sprite; KeyError for a name that is not in it."""
    if name not in ICONS:
        raise KeyError(name)
    return format_html(
        '<svg class="{}" viewBox="0 0 24 24" aria-hidden="true"><use href="#i-{}"></use></svg>', classes, name
    )


IMPORT = re.compile(r'^(?:import|export) (?:[^"]*? from )?"(\.[^"]+)";|^@import url\("([^"]+)"\)', re.MULTILINE)


@register.simple_tag
@cache
def script(path: str) -> SafeString:
    """A module script; all that it imports is announced, so that the browser asks at once and not level by level."""
    links = format_html_join("", '<link rel="modulepreload" href="{}">', ((static(each),) for each in _imports(path)))
    return format_html('{}<script type="module" src="{}"></script>', links, static(path))


@register.simple_tag
@cache
def style(path: str) -> SafeString:
    """A style sheet, with all that it imports announced."""
    links = format_html_join(
        "", '<link rel="preload" as="style" href="{}">', ((static(each),) for each in _imports(path))
    )
    return format_html('{}<link rel="stylesheet" href="{}">', links, static(path))


def _imports(path: str) -> list[str]:
    """Static paths of what a module or a style sheet needs, however deep, each once."""
    found: dict[str, None] = {}
    waiting = [path]
    while waiting:
        module = waiting.pop()
        text = Path(str(finders.find(module))).read_text()
        said = ["".join(names) for names in IMPORT.findall(text)]
        names = [posixpath.normpath(posixpath.join(posixpath.dirname(module), name)) for name in said]
        fresh = [name for name in names if name not in found]
        found.update(dict.fromkeys(fresh))
        waiting += fresh
    return list(found)


@register.filter
def words(state: str) -> str:
    """`awaiting_approval` -> `Awaiting approval`."""
    return state.replace("_", " ").capitalize()


@register.filter
def percent(rate: float) -> str:
    """`0.975` -> `97.5 %`; only all of them is 100 %."""
    shown = f"{100 * rate:.1f}"
    return f"{'99.9' if shown == '100.0' and rate < 1 else shown.removesuffix('.0')} %"


@register.filter
def took(seconds: float | None) -> str:
    """A duration as the scripts write it: `870 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`; a dash for none."""
    if seconds is None:
        return "—"
    if seconds < 1:
        return f"{round(1000 * seconds)} ms"
    if seconds < 60:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


@register.inclusion_tag("tracker/_progress.html")
def progress(item: Mapping[str, Any]) -> dict[str, Any]:
    """The bar of a plan's tasks, drawn from the counters of a plan item or snapshot."""
    total = item.get("task_count", 0)
    counts = {state: item.get(f"{state}_tasks", 0) for state in ("completed", "failed", "cancelled")}
    parts, start = [], 0.0
    for state, count in counts.items():
        width = 100 * count / total if total else 0.0
        parts.append({"state": state, "x": f"{start:.3f}", "width": f"{width:.3f}"})
        start += width
    return {"parts": parts, "total": total, **counts}


@register.filter
def json_data(value: Any, element_id: str) -> SafeString:
    """Django's json_script for values that hold ready-made JSON (orjson.Fragment); safe inside a page."""
    text = orjson.dumps(value).decode()
    escaped = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    script = '<script id="{}" type="application/json">{}</script>'
    return format_html(script, element_id, mark_safe(escaped))  # noqa: S308 - escaped just above
