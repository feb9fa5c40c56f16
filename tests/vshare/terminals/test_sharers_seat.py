"""What is said to the sharer who sits at a shared terminal."""

from __future__ import annotations

from tunnel.terminal_messages import Person, State
from vshare.terminals.held_line import MAX_LINE
from vshare.terminals.sharers_seat import PIECE, _Words

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
