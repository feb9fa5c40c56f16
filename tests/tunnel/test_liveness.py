from __future__ import annotations

from typing import cast

from tunnel.connection import Connection
from tunnel.liveness import (
    PATIENCE,
    PATIENCE_AFTER_CHANGE,
    PING_EVERY,
    SILENCE_ENDS,
    SLEPT,
    TICK,
    Liveness,
)


class Line:
    """A connection as far as it is looked at here."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.is_paused = False
        self.is_lost = False
        self.is_stranded = False
        self.pings = 0

    def ping(self) -> None:
        self.pings += 1

    def abort(self, text: str) -> None:
        self.is_lost = True


class Hour:
    """Time that passes in ticks, and what is seen then."""

    def __init__(self, *lines: Line) -> None:
        self.now = 0.0
        self.lines = lines
        self.liveness = Liveness(0.0)
        self.doubt = False

    def pass_(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            connections = cast(list[Connection], [line for line in self.lines if not line.is_lost])
            self.doubt = self.liveness.look(connections, self.now)

    def jump(self, seconds: float) -> None:
        self.now += seconds
        self.pass_(TICK)


def test_a_quiet_connection_is_pinged_and_fine_when_it_answers() -> None:
    line = Line()
    hour = Hour(line)
    hour.pass_(PING_EVERY - TICK)
    assert line.pings == 0
    hour.pass_(TICK)
    assert line.pings == 1
    line.heard_at = hour.now
    hour.pass_(PATIENCE + TICK)
    assert not hour.doubt
    assert line.pings == 1


def test_silence_is_a_doubt_that_another_connection_settles() -> None:
    dead, living = Line(), Line()
    hour = Hour(dead, living)
    hour.pass_(PING_EVERY)
    living.heard_at = hour.now
    hour.pass_(PATIENCE)
    assert hour.doubt
    assert [dead.is_lost, living.is_lost] == [False, False]
    began = hour.now
    hour.pass_(TICK)
    hour.liveness.came_through(began)
    assert dead.is_lost
    assert not living.is_lost
    hour.pass_(TICK)
    assert not hour.doubt


def test_a_connection_dialled_before_settles_nothing() -> None:
    slow = Line()
    hour = Hour(slow)
    hour.pass_(PING_EVERY + PATIENCE)
    hour.liveness.came_through(hour.now - TICK)
    assert not slow.is_lost


def test_one_that_answers_late_is_not_ended() -> None:
    slow = Line()
    hour = Hour(slow)
    hour.pass_(PING_EVERY + PATIENCE + TICK)
    began = hour.now
    slow.heard_at = hour.now
    hour.liveness.came_through(began)
    assert not slow.is_lost


def test_while_the_way_is_down_nothing_is_ended_for_long() -> None:
    line = Line()
    hour = Hour(line)
    hour.pass_(SILENCE_ENDS)
    assert (hour.doubt, line.is_lost) == (True, False)
    hour.pass_(TICK)
    assert (hour.doubt, line.is_lost) == (False, True)


def test_what_is_paused_is_left_alone() -> None:
    line = Line()
    line.is_paused = True
    hour = Hour(line)
    hour.pass_(100)
    assert line.pings == 0
    assert not hour.doubt


def test_after_a_sleep_all_are_asked_at_once() -> None:
    line = Line()
    hour = Hour(line)
    hour.pass_(2)
    line.heard_at = hour.now
    hour.jump(SLEPT)
    assert line.pings == 1
    hour.pass_(PATIENCE_AFTER_CHANGE)
    assert hour.doubt


def test_what_was_lost_otherwise_is_forgotten() -> None:
    line = Line()
    hour = Hour(line)
    hour.pass_(PING_EVERY)
    line.is_lost = True
    hour.pass_(PATIENCE)
    assert not hour.doubt


def test_what_this_hosts_address_was_lost_of_is_not_asked_first() -> None:
    stranded, other = Line(), Line()
    stranded.is_stranded = True
    hour = Hour(stranded, other)
    hour.liveness.suspect(cast(list[Connection], [stranded, other]), hour.now)
    assert [stranded.is_lost, other.is_lost] == [True, False]
    assert [stranded.pings, other.pings] == [0, 1]
