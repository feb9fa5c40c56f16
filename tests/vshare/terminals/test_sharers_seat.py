"""What is said to the sharer who sits at a shared terminal."""

from __future__ import annotations

from tests.vshare.web.requests import Clock
from tunnel.terminal_messages import Do, MessageType, Person, State, parse_one, parse_payload
from tunnel.vt.seat import Seat
from vshare.terminals.held_line import MAX_LINE
from vshare.terminals.sharers_seat import PIECE, TAKEN_IN, _Words

ADA, BOB = Person("Ada", write=True), Person("Bob")


def state(*people: Person, locked: bool = False, typing: str = "") -> State:
    return State("shell", 80, 24, write=True, locked=locked, typing=typing, people=[*people])


def test_who_comes_and_goes() -> None:
    words = _Words("shell", made=True)
    assert "vconnect terminal" in words.told(None, state())[0]
    assert words.told(state(), state(ADA, BOB)) == ["Ada looks on.", "Bob looks on."]
    assert words.told(state(ADA, BOB), state(BOB)) == ["Ada looks on no more."]
    assert words.told(state(), state(locked=True)) == ["Guests cannot type."]
    assert words.told(state(ADA), state(ADA, typing="Ada")) == []
    assert len(_Words("shell", made=False).told(None, state())) == 1


def test_the_window_says_who_types() -> None:
    words = _Words("shell", made=True)
    assert words.title(state()) == "shell (shared)"
    assert words.title(state(ADA, locked=True)) == "shell (shared, 1 look on, locked)"
    assert words.title(state(ADA, typing="Ada")) == "shell (shared, 1 look on, Ada types)"
    assert "types" not in words.title(state(ADA, typing="the sharer"))


def test_a_line_that_waits_is_shown_to_its_end() -> None:
    line = "".join(chr(ord("a") + at % 26) for at in range(MAX_LINE))
    shown = _Words("shell", made=True).standing(state(Person("Ada", held=line), BOB))
    assert "Ada" in shown[0]
    pieces = [each.removeprefix("> ") for each in shown[1:-1]]
    assert "".join(pieces) == line
    assert max(map(len, pieces)) == PIECE
    assert "Enter ~ y" in shown[-1]


def test_who_waits_is_shown_one_after_another() -> None:
    words = _Words("shell", made=True)
    asking = words.standing(state(Person("Ada", asks=True), Person("Bob", asks=True)))
    assert asking == ["Ada asks to type: Enter ~ g allows it (1 more wait)"]
    assert words.standing(state(ADA)) == []


class _Seat(Seat):
    """Keeps what is said, to the share and to the person."""

    def __init__(self) -> None:
        super().__init__(lambda state: "")
        self.said: list[Do] = []
        self.told: list[str] = []

    def say(self, message: bytes) -> None:
        parsed = parse_one(message, frozenset(MessageType))
        assert parsed is not None
        self.said.append(parse_payload(Do, parsed[1]))

    def tell(self, *lines: str) -> None:
        self.told += lines


def test_a_key_is_for_the_line_that_is_shown_and_was_looked_at() -> None:
    clock, seat = Clock(), _Seat()
    words = _Words("shell", made=True, clock=clock)
    words.standing(state(Person("Ada", held="ls"), Person("Bob", held="reboot")))
    words.escapes["y"].act(seat)
    words.standing(state(Person("Bob", held="reboot")))
    words.escapes["y"].act(seat)  # it was meant for Ada's
    assert seat.said == [Do("release", "Ada", "ls")]
    assert "Bob" in seat.told[0]
    clock.now += TAKEN_IN
    words.escapes["y"].act(seat)
    words.escapes["n"].act(seat)
    assert seat.said[1:] == [Do("release", "Bob", "reboot"), Do("drop", "Bob", "reboot")]
    words.standing(state())
    words.escapes["y"].act(seat)
    words.escapes["n"].act(seat)
    assert len(seat.said) == 3
    words.standing(state(Person("Bob", held="halt")))  # there was another a moment ago
    words.escapes["y"].act(seat)
    assert len(seat.said) == 3


def test_a_key_grants_who_was_seen_to_ask() -> None:
    clock, seat = Clock(), _Seat()
    words = _Words("shell", made=True, clock=clock)
    words.escapes["g"].act(seat)
    words.standing(state(Person("Ada", asks=True)))
    words.standing(state(Person("Bob", asks=True)))
    words.escapes["g"].act(seat)
    assert seat.said == []
    clock.now += TAKEN_IN
    words.escapes["g"].act(seat)
    assert seat.said == [Do("grant", "Bob")]
    assert len(seat.told) == 2
