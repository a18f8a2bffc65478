"""Names of a plan's tasks: `parts-check`, then `parts-check-2`, `parts-check-3`, in order of arrival.

No name is given twice.
"""

import re
from dataclasses import dataclass, field

from tracker import sql

_NUMBERED = re.compile(r"(.+)-([2-9]|[1-9]\d{1,8})", re.DOTALL)


@dataclass(slots=True)
class _Numbers:
    """The numbers of one label: whether 1 is taken, the highest, and those taken by this batch."""

    first: bool
    highest: int
    here: set[int] = field(default_factory=set)


class Names:
    """Gives names within one transaction; each label is read from the database once."""

    def __init__(self) -> None:
        self._labels: dict[tuple[int, str], _Numbers] = {}

    def next(self, plan: int, label: str) -> tuple[str, str, int]:
        """Name, label and number of the next task of this plan (its primary key).

        A label that ends in a number of its own (`step-2`) is that number of its stem: one spelling has one place.
        """
        numbered = _NUMBERED.fullmatch(label)
        if numbered and self._take(plan, numbered[1], int(numbered[2])):
            return label, numbered[1], int(numbered[2])
        used = self._numbers(plan, label)
        ordinal = 1 if not (numbered or used.first) else max(used.highest, 1) + 1
        self._take(plan, label, ordinal)
        return (label if ordinal == 1 else f"{label}-{ordinal}"), label, ordinal

    def _take(self, plan: int, label: str, number: int) -> bool:
        """Take a number of a label, if it is free."""
        used = self._numbers(plan, label)
        if number in used.here or (number == 1 and used.first):
            return False
        if 1 < number <= used.highest and self._stored(plan, label, number):
            return False
        used.here.add(number)
        used.first |= number == 1
        used.highest = max(used.highest, number)
        return True

    def _numbers(self, plan: int, label: str) -> _Numbers:
        key = (plan, label)
        if key not in self._labels:
            query = "SELECT min(ordinal), max(ordinal) FROM tracker_task WHERE plan_id = %s AND label = %s"
            lowest, highest = sql.rows(query, [plan, label])[0]
            self._labels[key] = _Numbers(lowest == 1, highest or 0)
        return self._labels[key]

    @staticmethod
    def _stored(plan: int, label: str, number: int) -> bool:
        query = "SELECT 1 FROM tracker_task WHERE plan_id = %s AND label = %s AND ordinal = %s"
        return bool(sql.rows(query, [plan, label, number]))
