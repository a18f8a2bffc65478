"""Batches that were recorded side by side are told in the order of the log, each once, and soon."""

from hypothesis import given
from hypothesis import strategies as st

from tracker.changes import Batch
from tracker.in_order import InOrder

LANES = 3


def batch(head):
    return Batch([], [], [], head=head)


def test_one_alone_is_told_at_once():
    told = []
    order = InOrder(told.append)
    one = order.begin()
    order.end(one, first := batch(1))
    order.begin()  # the next one goes before this one is told
    order.tell_ready()
    assert told == [first]


def test_one_that_came_first_waits_for_one_that_may_have_been_committed_before():
    told = []
    order = InOrder(told.append)
    slow, quick = order.begin(), order.begin()
    order.end(quick, later := batch(2))
    order.tell_ready()
    assert told == []
    order.end(slow, earlier := batch(1))
    order.tell_ready()
    assert told == [earlier, later]


def test_one_that_fails_holds_nobody_back():
    told = []
    order = InOrder(told.append)
    failing, other = order.begin(), order.begin()
    order.end(other, batch(1))
    order.end(failing)
    order.tell_ready()
    assert [one.head for one in told] == [1]


@given(st.lists(st.tuples(st.integers(0, LANES - 1), st.sampled_from(["go on", "go on", "fail"])), max_size=80))
def test_any_course_of_lanes(steps):
    """A lane begins, commits and hears of it, in turn; the keys are those of the commits."""
    told, heads, lanes = [], iter(range(1, 1000)), [None] * LANES
    order, committed = InOrder(told.append), []

    def step(lane, how):
        if lanes[lane] is None:
            lanes[lane] = (order.begin(), None)
            return
        under_way, head = lanes[lane]
        if head is None and how != "fail":
            lanes[lane] = under_way, next(heads)
            committed.append(lanes[lane][1])
            return
        order.end(under_way, batch(head) if head else None)
        lanes[lane] = None
        order.tell_ready()

    for lane, how in steps:
        step(lane, how)
        assert [one.head for one in told] == committed[: len(told)]
    while any(lanes):
        for lane in range(LANES):
            if lanes[lane]:
                step(lane, "go on")
    assert [one.head for one in told] == committed
