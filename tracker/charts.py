"""Charts as shapes of an SVG, for templates to draw: positions in a box of 720 by 160 units. Pure."""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT = 720.0, 160.0
GAP = 0.25  # of a bar's place


def ceiling(most: float) -> float:
    """The end of an axis: the next of 1, 2, 5, 10, 20 ... that is not below."""
    if most <= 0:
        return 1.0
    power = 10.0 ** floor(log10(most))
    ends: list[float] = [step * power for step in (1, 2, 5, 10)]
    return next(end for end in ends if end >= most * 0.999999)


def stacked(rows: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, Any]:
    """Bars of several parts, one a row: {"most": end of the axis, "parts": [{name, x, y, width, height}]}."""
    most = ceiling(max((sum(row) for row in rows), default=0))
    place = WIDTH / max(1, len(rows))
    parts = []
    for number, row in enumerate(rows):
        top = HEIGHT
        for name, value in zip(names, row, strict=True):
            height = HEIGHT * value / most
            top -= height
            if value:
                x, width = place * (number + GAP / 2), place * (1 - GAP)
                parts.append({"name": name, **_rounded(x=x, y=top, width=width, height=height)})
    return {"most": most, "parts": parts}


def lines(rows: Sequence[Sequence[float | None]], names: Sequence[str]) -> dict[str, Any]:
    """A line for each name through the rows that have a value, broken where they have none.

    {"most": end of the axis, "lines": [{name, runs: [points], dots: [{x, y}] of values without neighbours}]}.
    """
    most = ceiling(max((value for row in rows for value in row if value is not None), default=0))
    place = WIDTH / max(1, len(rows))
    drawn = []
    for column, name in enumerate(names):
        runs: list[list[tuple[float, float]]] = [[]]
        for number, row in enumerate(rows):
            value = row[column]
            if value is None:
                runs.append([])
            else:
                runs[-1].append((place * (number + 0.5), HEIGHT - HEIGHT * value / most))
        points = [" ".join(f"{x:.1f},{y:.1f}" for x, y in run) for run in runs if len(run) > 1]
        dots = [_rounded(x=run[0][0], y=run[0][1]) for run in runs if len(run) == 1]
        drawn.append({"name": name, "runs": points, "dots": dots})
    return {"most": most, "lines": drawn}


def ticks(labels: Sequence[str], most: int = 6) -> list[dict[str, Any]]:
    """Some of the labels under the axis, evenly: {text, x: part of the width in percent}."""
    step = ceil(len(labels) / most) if labels else 1
    return [
        {"text": text, "x": f"{100 * (number + 0.5) / len(labels):.2f}"}
        for number, text in enumerate(labels)
        if number % step == 0
    ]


def _rounded(**numbers: float) -> dict[str, str]:
    return {name: f"{number:.2f}" for name, number in numbers.items()}
