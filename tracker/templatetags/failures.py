"""How failures and stories are shown."""

import re
from collections.abc import Sequence

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tracker.explain import clock, person, short

register = template.Library()
HOLE = re.compile(r"<([a-z]+)>")
BAR, GAP, HEIGHT = 4, 1, 20  # of a sparkline, in its own units

register.filter(clock)
register.filter(person)
register.filter(short)


@register.filter
def holes(message: str) -> SafeString:
    """A normalised message, with what differs each time marked as such."""
    parts = HOLE.split(message)
    texts, names = parts[::2], [*parts[1::2], None]
    return format_html_join(
        "", "{}{}", ((text, _hole(name) if name else "") for text, name in zip(texts, names, strict=True))
    )


def _hole(name: str) -> SafeString:
    return format_html('<span class="hole">{}</span>', {"n": "number", "hex": "hexadecimal"}.get(name, name))


@register.simple_tag
def bars(counts: Sequence[int], period: str) -> SafeString:
    """A sparkline of counts, the newest at the right."""
    top = max(counts, default=0) or 1
    drawn = ((place, count) for place, count in enumerate(counts) if count)
    rects = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"/>',
        (
            (place * (BAR + GAP), f"{HEIGHT - height:.1f}", BAR, f"{height:.1f}")
            for place, height in ((place, max(2.0, HEIGHT * count / top)) for place, count in drawn)
        ),
    )
    width = len(counts) * (BAR + GAP) - GAP
    ground = format_html('<path d="M0 {}H{}"/>', HEIGHT - 0.5, width)
    label = f"{sum(counts)} in {period}, at most {max(counts, default=0)} in a {len(counts)}th of it"
    return format_html(
        '<svg class="bars" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>',
        width,
        HEIGHT,
        label,
        ground,
        rects,
    )
