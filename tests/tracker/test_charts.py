"""Shapes of charts: what they draw is what the numbers are."""

import pytest

from tracker import charts
from tracker.templatetags.ui import percent, took


@pytest.mark.parametrize(
    ("most", "end"), [(0, 1), (1, 1), (3, 5), (7, 10), (10, 10), (11, 20), (0.03, 0.05), (1e6, 1e6)]
)
def test_an_axis_ends_on_a_round_number(most, end):
    assert charts.ceiling(most) == pytest.approx(end)


def test_bars_stand_on_each_other():
    drawn = charts.stacked([[3, 2], [0, 0], [0, 10]], ("done", "failed"))
    assert drawn["most"] == 10
    told = [(part["name"], float(part["y"]), float(part["height"])) for part in drawn["parts"]]
    assert told == [("done", 112, 48), ("failed", 80, 32), ("failed", 0, 160)]
    assert all(float(part["x"]) + float(part["width"]) <= charts.WIDTH for part in drawn["parts"])


def test_lines_break_where_nothing_is_known():
    drawn = charts.lines([[1.0], [2.0], [None], [4.0]], ("p50",))
    [line] = drawn["lines"]
    assert drawn["most"] == 5
    assert line["runs"] == ["90.0,128.0 270.0,96.0"]
    assert line["dots"] == [{"x": "630.00", "y": "32.00"}]


def test_nothing_at_all():
    assert charts.stacked([], ("done",))["parts"] == []
    assert charts.lines([[None]], ("p50",))["lines"] == [{"name": "p50", "runs": [], "dots": []}]
    assert charts.ticks([]) == []


def test_some_labels_evenly():
    assert [tick["text"] for tick in charts.ticks([str(n) for n in range(24)])] == ["0", "4", "8", "12", "16", "20"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "—"), (0, "0 ms"), (0.87, "870 ms"), (12.34, "12.3 s"), (30, "30 s"),
        (245, "4 min 5 s"), (120, "2 min"), (7380, "2 h 3 min"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds, words):
    assert took(seconds) == words


@pytest.mark.parametrize(("rate", "words"), [(1, "100 %"), (0.975, "97.5 %"), (0.99999, "99.9 %"), (0, "0 %")])
def test_only_all_of_them_is_all(rate, words):
    assert percent(rate) == words
