"""Who is there, for guests to see: where the sharer shows them to each other (--show-guests)."""

from __future__ import annotations

from tunnel.follow import Person
from tunnel.identity import Role
from vshare.guests import Guests
from vshare.news import News
from vshare.together.board import Board

_CHANGES = frozenset({"joined", "left", "back", "kicked", "invite-revoked", "invite-over"})
_VISITORS = frozenset({"visitor-joined", "visitor-left"})  # of the guest page


class Presence:
    """Keeps the board's `guests`; `news` is a listener of the newsroom's."""

    def __init__(self, board: Board, guests: Guests) -> None:
        self._board, self._guests = board, guests
        self._away: set[str] = set()  # names of those who may come back
        self._visitors: dict[str, None] = {}  # names of those in browsers, in their order
        self._tell()

    def news(self, news: News) -> None:
        """Somebody came or went."""
        if news.kind in _VISITORS:
            self._visitors.pop(visitor := str(news.fields.get("visitor")), None)
            if news.kind == "visitor-joined":
                self._visitors[visitor] = None
            self._tell()
        if news.kind not in _CHANGES:
            return
        guest = str(news.fields.get("guest"))
        self._visitors.pop(guest, None)  # who was kicked
        if news.kind == "left":
            self._away.add(guest)
        else:
            self._away.discard(guest)
        self._tell()

    def _tell(self) -> None:
        there = [each.name for each in self._guests.of_role(Role.GUEST)]
        self._away.intersection_update(there)
        names = [name for name in there if name not in self._away]
        self._board.set("guests", [Person(name) for name in (*names, *self._visitors)])
