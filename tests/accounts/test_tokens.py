import re

import pytest

from accounts import tokens
from accounts.tokens import Memory


class Clock:
    """A clock that goes when it is told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(clock):
    return Memory(size=3, ttl=5.0, clock=clock)


def test_keys_are_long_random_and_say_whose_they_are():
    made = [tokens.new_key() for _ in range(100)]
    assert len(set(made)) == 100
    assert [key for key in made if not re.fullmatch(r"soorma_[\w-]{43}", key)] == []


def test_a_digest_tells_nothing_but_is_always_the_same():
    assert tokens.digest("soorma_x") == tokens.digest("soorma_x")
    assert re.fullmatch(r"[0-9a-f]{64}", tokens.digest("soorma_x"))


def test_what_is_put_is_remembered(memory):
    memory.put("a", 1, memory.generation)
    assert (memory.get("a"), memory.get("b")) == (1, None)


def test_an_entry_lives_for_the_ttl(memory, clock):
    memory.put("a", 1, memory.generation)
    clock.now += 4.99
    assert memory.get("a") == 1
    clock.now += 0.01
    assert memory.get("a") is None


def test_an_entry_ends_early_when_its_value_does(memory, clock):
    memory.put("a", 1, memory.generation, until=clock.now + 2)
    clock.now += 2
    assert memory.get("a") is None


def test_a_value_that_has_ended_is_never_given(memory, clock):
    memory.put("a", 1, memory.generation, until=clock.now - 1)
    assert memory.get("a") is None


def test_a_clock_that_is_set_back_keeps_nothing_alive(memory, clock):
    memory.put("a", 1, memory.generation)
    clock.now -= 3600
    assert memory.get("a") is None


def test_the_least_recently_used_goes_first(memory):
    for key in "abc":
        memory.put(key, key, memory.generation)
    memory.get("a")
    memory.put("d", "d", memory.generation)
    assert [memory.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    assert len(memory) == 3


def test_clear_forgets_also_what_is_just_being_read(memory):
    read_before = memory.generation
    memory.put("a", 1, read_before)
    memory.clear()
    memory.put("b", 2, read_before)
    assert (memory.get("a"), memory.get("b")) == (None, None)
