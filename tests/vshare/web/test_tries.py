from __future__ import annotations

import pytest

from tests.vshare.web.requests import Clock
from tunnel.attempts import BUCKET, RESERVED, SOURCE_BUCKET
from vshare.web.tries import FORGIVEN_AFTER, KNOWN_MAY_ERR, MAX_KNOWN, TooManyTriesError, Tries


def tried(tries: Tries, source: str, *, right: bool = False) -> int:
    """How many tries a source has at once."""
    for count in range(10_000):
        try:
            tries.count(source, right=right)
        except TooManyTriesError:
            return count
    return 10_000


def test_a_source_has_a_few_tries() -> None:
    tries = Tries(Clock())
    assert tried(tries, "203.0.113.7") == min(SOURCE_BUCKET, BUCKET - RESERVED + 1)


def test_all_sources_together_have_a_few_more() -> None:
    tries = Tries(Clock())
    assert sum(tried(tries, f"203.0.113.{i}") for i in range(100)) <= BUCKET


def test_when_none_is_left_the_right_one_is_refused_as_well() -> None:
    tries = Tries(Clock())
    tried(tries, "203.0.113.7")
    with pytest.raises(TooManyTriesError):
        tries.count("203.0.113.7", right=True)


def test_who_is_right_is_never_refused_and_forgives_nobody() -> None:
    tries = Tries(Clock())
    assert tried(tries, "198.51.100.1", right=True) == 10_000
    assert tried(tries, "203.0.113.7") <= SOURCE_BUCKET


def test_who_was_right_does_not_feel_the_strangers() -> None:
    tries = Tries(Clock())
    tries.count("198.51.100.1", right=True)
    for i in range(100):
        tried(tries, f"203.0.113.{i}")
    assert tries.count("198.51.100.1", right=True)
    with pytest.raises(TooManyTriesError):
        tries.count("198.51.100.2", right=True)


def test_who_was_right_cannot_guess_for_ever() -> None:
    """Whoever sits behind one address with a visitor could."""
    clock = Clock()
    tries = Tries(clock)
    wrong = 0
    tries.count("198.51.100.1", right=True)
    for _ in range(1000):
        try:
            wrong += not tries.count("198.51.100.1", right=False)
            tries.count("198.51.100.1", right=True)
        except TooManyTriesError:
            break
    assert KNOWN_MAY_ERR < wrong <= KNOWN_MAY_ERR + BUCKET
    clock.now += FORGIVEN_AFTER
    assert tries.count("198.51.100.1", right=True)
    assert tries.count("198.51.100.1", right=False) is False


def test_memory_is_bounded() -> None:
    tries = Tries(Clock())
    for i in range(MAX_KNOWN + 10):
        tries.count(f"198.51.{i // 256}.{i % 256}", right=True)
    assert len(tries._known) == MAX_KNOWN
