"""The sharer is told of who guesses, once of each."""

from __future__ import annotations

import pytest

from tests.vshare.web.requests import Clock
from vshare.news import News, Newsroom
from vshare.web import guessing
from vshare.web.guessing import MANY, MAX_SOURCES, MAX_TOLD, TOLD_AFTER, Guessing
from vshare.web.tries import TooManyTriesError, Tries


@pytest.fixture
def told() -> list[News]:
    return []


@pytest.fixture
def guesses(told: list[News]) -> Guessing:
    newsroom = Newsroom()
    newsroom.subscribe(told.append)
    return Guessing(newsroom)


def test_who_goes_on_is_told_of_once(guesses: Guessing, told: list[News]) -> None:
    for _ in range(TOLD_AFTER - 1):
        guesses.wrong("203.0.113.7")
    assert not told
    for _ in range(50):
        guesses.wrong("203.0.113.7")
    (news,) = told
    assert news.kind == "url-guessing"
    assert news.warning
    assert news.fields == {"address": "203.0.113.7", "failures": TOLD_AFTER}
    assert "203.0.113.7 (the relay's word)" in news.text
    assert "--deny" in news.text


def test_who_gets_it_right_in_the_end_has_mistyped(guesses: Guessing, told: list[News]) -> None:
    for _ in range(20):
        for _ in range(TOLD_AFTER - 1):
            guesses.wrong("203.0.113.7")
        guesses.right("203.0.113.7")
        guesses.right("203.0.113.8")
    assert not told


def test_a_crowd_is_told_of_once(guesses: Guessing, told: list[News]) -> None:
    for number in range(3 * MANY):
        guesses.wrong(f"2001:db8:{number:x}::/64")
    (news,) = told
    assert news.fields == {"address": "", "failures": MANY}
    assert "many addresses" in news.text


def test_a_crowd_of_who_goes_on_fills_no_screen(guesses: Guessing, told: list[News]) -> None:
    for number in range(2 * MAX_TOLD):
        for _ in range(TOLD_AFTER):
            guesses.wrong(f"2001:db8:{number:x}::/64")
    assert len(told) == MAX_TOLD + 1
    assert len(guesses._told) == MAX_TOLD


def test_memory_is_bounded(guesses: Guessing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guessing, "MAX_SOURCES", 10)
    assert MAX_SOURCES > 10
    for number in range(50):
        guesses.wrong(f"2001:db8:{number:x}::/64")
    assert len(guesses._wrong) == 10


def test_only_what_was_compared_is_a_try(guesses: Guessing, told: list[News]) -> None:
    """What is turned away unread says nothing about its sender."""
    clock = Clock()
    tries = Tries(clock, guesses)
    compared = 0
    for _ in range(100):
        try:
            tries.count("203.0.113.7", right=False)
            compared += 1
        except TooManyTriesError:
            pass
    assert TOLD_AFTER <= compared < 100
    assert len(told) == 1
    assert guesses._scattered == TOLD_AFTER - 1
