"""Percentiles of many sorted lists, without sorting them together, are those of all values sorted."""

import random
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from tracker import tallies
from tracker.tallies import pack, percentiles, unpack

QUANTILES = (0.0, 0.01, 0.5, 0.95, 0.99, 1.0)


def plainly(lists, quantiles=QUANTILES):
    values = sorted(value for some in lists for value in some)
    return [values[max(0, ceil(q * len(values)) - 1)] if values else None for q in quantiles]


@given(st.lists(st.lists(st.integers(0, 50) | st.integers(0, 2**40)).map(sorted), max_size=20))
def test_few_values(lists):
    assert percentiles(lists, QUANTILES) == plainly(lists)


def test_many_values_of_any_shape(monkeypatch):
    monkeypatch.setattr(tallies, "SMALL", 0)
    luck = random.Random(4711)
    shapes = (
        lambda: luck.randrange(3),  # hardly any different ones
        lambda: luck.randrange(10**6),
        lambda: int(luck.lognormvariate(8, 2)),
        lambda: 0 if luck.random() < 0.97 else 10**9,
    )
    for shape in shapes:
        for count, length in ((1, 5000), (40, 300), (700, 9), (2, 1)):
            lists = [sorted(shape() for _ in range(luck.randrange(length + 1))) for _ in range(count)]
            assert percentiles(lists, QUANTILES) == plainly(lists)
    drifting = [sorted(luck.randrange(n * 100, n * 100 + 50) for _ in range(200)) for n in range(100)]
    assert percentiles(drifting, QUANTILES) == plainly(drifting)


@given(st.lists(st.integers(0, 2**63)))
def test_what_is_packed_is_unpacked(values):
    assert list(unpack(pack(values), len(values))) == sorted(values)
