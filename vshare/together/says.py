"""Short messages of the sharer's to all guests: `vshare say`."""

from __future__ import annotations

from collections import deque

from tunnel.follow import Say
from vshare.news import Newsroom
from vshare.together.board import Board

KEPT = 16  # messages: what a guest whose connection was lost is told when it is back


class Says:
    """What was said last."""

    def __init__(self, board: Board, newsroom: Newsroom) -> None:
        self._board, self._newsroom = board, newsroom
        self._count = 0
        self._says: deque[Say] = deque(maxlen=KEPT)
        board.set("says", [])

    def say(self, text: str) -> None:
        """Tell all guests."""
        self._count += 1
        self._says.append(Say(self._count, text))
        self._board.set("says", list(self._says))
        self._newsroom.tell("said", f"told all guests: {text}", words=text)
