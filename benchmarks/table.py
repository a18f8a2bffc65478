"""What was measured, beside its limit and the floor that the ratio must not fall below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass
class Line:
    """One measurement: `ours` and `limit` of each run, both in `unit`.

    `floor`: below which the median ratio must not fall; `most`: above which it must not rise; None: no bound was set.
    """

    what: str
    against: str = ""
    floor: float | None = None
    most: float | None = None
    unit: str = "/s"
    ours: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Median of the runs' ratios: what disturbed a run disturbed both of its sides."""
        return median(a / b for a, b in zip(self.ours, self.limit, strict=True)) if self.limit else None

    @property
    def verdict(self) -> str:
        """Whether the bound holds."""
        value = self.ratio if self.limit else median(self.ours)
        if value is None or (self.floor is None and self.most is None):
            return ""
        held = (self.floor is None or value >= self.floor) and (self.most is None or value <= self.most)
        return "holds" if held else "MISSED"

    def cells(self) -> list[str]:
        """As printed: what, ours, limit, ratio, bound, verdict, note."""
        bound = f">= {self.floor:g}" if self.floor is not None else f"<= {self.most:g}" if self.most is not None else ""
        limit = f"{_figure(median(self.limit))}{self.unit} {self.against}" if self.limit else self.against
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else ""
        return [self.what, f"{_figure(median(self.ours))}{self.unit}", limit, ratio, bound, self.verdict, self.note]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


HEADS = ["what", "ours", "limit", "ratio", "bound", "", ""]


class Table:
    """Lines that are printed as soon as they are complete, under one title."""

    def __init__(self, title: str):
        self.lines: list[Line] = []
        print(f"\n{title}\n{_row(HEADS)}", flush=True)

    def measure(self, line: Line, runs: int, limit: Callable[[], float] | None, ours: Callable[[], Any]) -> Line:
        """Limit and ours by turns; `ours` gives a rate, or a rate and a note about it."""
        for _ in range(runs):
            if limit:
                line.limit.append(limit())
            got = ours()
            if isinstance(got, tuple):
                got, line.note = got
            line.ours.append(got)
        return self.add(line)

    def add(self, line: Line) -> Line:
        """Print a complete line."""
        self.lines.append(line)
        print(_row(line.cells()), flush=True)
        return line


def _row(cells: Sequence[str]) -> str:
    widths = (44, 14, 34, 7, 9, 7, 0)
    return "".join(f"{cell:<{width}} " for cell, width in zip(cells, widths, strict=True)).rstrip()


def summary(lines: Sequence[Line]) -> str:
    """How many bounds hold, and the lines whose bounds do not."""
    bound = [line for line in lines if line.verdict]
    missed = [line for line in bound if line.verdict == "MISSED"]
    told = [f"\n{len(bound) - len(missed)} of {len(bound)} bounds hold"]
    return "\n".join(told + [_row(line.cells()) for line in missed])
