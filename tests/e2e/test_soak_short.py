"""Short rounds of the long fault and load runs (docs/soak.md): the same code, a few faults instead of hundreds."""

import pytest

from soak import crash, live, shortage
from soak.stage import Stage

AGAIN = "publish 503 unavailable, Retry-After 1"


@pytest.fixture(scope="module")
def alone():
    """A server on SQLite."""
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def pair():
    """Two servers on a durable PostgreSQL, with a Redis between them."""
    with Stage("postgresql", ("daphne", "uvicorn")) as stage:
        yield stage


def test_a_server_that_is_killed_loses_nothing_that_it_acknowledged(alone):
    found = crash.break_all(alone, kills=2, ledger_kills=1)
    assert found.faults == {}
    assert found.completed + found.lost_in_hand_over == found.tasks > 0


def test_nor_do_two_whose_database_and_redis_are_killed_as_well(pair):
    found = crash.break_all(pair, kills=1, database_kills=1, redis_kills=1, ledger_kills=1)
    assert found.faults == {}
    assert found.completed + found.lost_in_hand_over == found.tasks > 0


def test_sockets_miss_nothing_on_a_bad_network_while_all_else_is_restarted(pair):
    told = live.run(pair, live.Extent(8, plans=4, sockets=12, rate=60, hole_seconds=2, rest=0.5, away_seconds=1))
    assert told.faults == {}
    assert told.shown == told.to_show > 0


def test_a_full_disk_is_told_and_all_goes_on_once_there_is_room(alone):
    seen = shortage.no_longer_files(alone)
    assert seen.answers == {AGAIN: 1, "/v1/tracker/plans 200": 1, "/health 200": 1}
    assert seen.ready == {"database": "not writable: OperationalError"}
    assert (seen.recorded, seen.duplicates) == (seen.acknowledged, 0)


def test_a_database_that_is_away_is_told_and_all_goes_on_once_it_is_back(pair):
    seen = shortage.database_away(pair)
    assert {what for what in seen.answers if "50" in what} == {
        AGAIN,
        "/v1/tracker/plans 503 unavailable, Retry-After 1",
    }
    assert seen.ready == {"database": "unreachable: OperationalError"}
    assert (seen.recorded, seen.duplicates) == (seen.acknowledged, 0)


def test_without_redis_events_are_taken_and_ready_says_what_is_away(pair):
    seen = shortage.redis_away(pair)
    assert seen.answers == {"/v1/tracker/plans 200": 1, "/health 200": 1}
    assert seen.ready == {"redis": "unreachable: ConnectionError"}
    assert (seen.recorded, seen.duplicates) == (seen.acknowledged, 0)
