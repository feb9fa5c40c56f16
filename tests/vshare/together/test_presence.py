"""Who is there, browsers of the guest page among them."""

from __future__ import annotations

from tunnel.follow import Person
from tunnel.identity import Role
from vshare.guests import Guests
from vshare.news import Newsroom
from vshare.together.board import Board
from vshare.together.presence import Presence


def test_browsers_are_there_too() -> None:
    board, guests, newsroom = Board(), Guests(), Newsroom()
    newsroom.subscribe(Presence(board, guests).news)
    guests.add(Role.GUEST, "bob", "print", "192.0.2.1")
    newsroom.tell("joined", guest="bob")
    newsroom.tell("visitor-joined", visitor="eve (browser)")
    assert board.items("guests") == (Person("bob"), Person("eve (browser)"))
    newsroom.tell("left", guest="bob")
    assert board.items("guests") == (Person("eve (browser)"),)
    newsroom.tell("visitor-left", visitor="eve (browser)")
    assert board.items("guests") == ()
