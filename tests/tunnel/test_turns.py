from __future__ import annotations

from types import SimpleNamespace

import pytest

from tunnel import turns
from tunnel.turns import BULK, BULK_FOR, LITTLE, SHORT_FOR, Pace, are_short


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    monkeypatch.setattr(turns, "_turns", SimpleNamespace(short_until=0.0, asked_by=None))
    return clock


def test_turns_are_short_for_a_moment_after_somebody_had_a_little_to_say(clock: Clock) -> None:
    pace = Pace()
    assert not are_short()
    assert not pace.received(LITTLE)
    assert are_short()
    clock.now += SHORT_FOR * 0.9
    assert are_short()
    clock.now += SHORT_FOR * 0.2
    assert not are_short()


def test_bulk_does_not_shorten_its_own_turns(clock: Clock) -> None:
    download, upload = Pace(), Pace()
    assert download.received(BULK)
    upload.sent(BULK)
    for pace in (download, upload):
        assert not pace.received(1)  # asks for more, acknowledges
    assert not are_short()
    Pace().received(1)
    assert are_short()


def test_the_beginning_of_bulk_does_not_shorten_its_turns(clock: Clock) -> None:
    pace, other = Pace(), Pace()
    pace.received(1)
    assert are_short()
    pace.sent(BULK)
    assert not are_short()
    other.received(1)
    pace.received(BULK)
    assert are_short()


def test_who_was_bulk_once_is_not_so_for_ever(clock: Clock) -> None:
    pace = Pace()
    pace.received(BULK)
    clock.now += BULK_FOR
    pace.received(1)
    assert are_short()


def test_what_lies_between_is_neither(clock: Clock) -> None:
    pace = Pace()
    assert not pace.received(LITTLE + 1)
    assert not pace.received(BULK - 1)
    pace.sent(1)
    assert not are_short()
