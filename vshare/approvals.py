"""Newcomers who wait for the sharer's word (`vshare up --approve`)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError

MAX_WAITING = 32  # newcomers at a time; each knows the code
APPROVE_WITHIN = 290.0  # seconds; the newcomer waits 300 (tunnel/join.py)


@dataclass(slots=True)
class Waiting:
    """One newcomer. `address` is the relay's word, `since` seconds since the epoch."""

    guest: str
    address: str
    since: float
    answer: asyncio.Future[bool] = field(repr=False)


class Approvals:
    """Who waits, by the name they will have."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self.changed = asyncio.Event()  # set when somebody begins to wait; a follower clears it

    def all(self) -> list[Waiting]:
        """Those who wait, the longest first."""
        return list(self._waiting.values())

    def is_waiting(self, waiting: Waiting) -> bool:
        """Whether nobody has answered yet and the newcomer is still there."""
        return self._waiting.get(waiting.guest) is waiting and not waiting.answer.done()

    def require_room(self) -> None:
        """Raise RefusedError when nobody else can wait."""
        if len(self._waiting) >= MAX_WAITING:
            raise RefusedError(Code.BUSY, "too many wait for the sharer already; try again later")

    async def ask(self, guest: str, address: str) -> None:
        """Wait for the sharer. Raises RefusedError when the answer is no, or none comes."""
        self.require_room()
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[guest] = Waiting(guest, address, time.time(), answer)
        self.changed.set()
        try:
            async with asyncio.timeout(APPROVE_WITHIN):
                welcome = await answer
        except TimeoutError:
            raise RefusedError(Code.TIMED_OUT, "the sharer did not answer in time") from None
        finally:
            del self._waiting[guest]
        if not welcome:
            raise RefusedError(Code.NOT_ALLOWED, "the sharer did not let you in")

    def refuse_all(self) -> None:
        """Nobody who waits comes in."""
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_result(False)

    def answer(self, guest: str, *, welcome: bool) -> str:
        """Let a newcomer in, or not; gives the name. Raises UsageError that names who waits."""
        found = self._waiting.get(guest)
        if found is None or found.answer.done():
            names = ", ".join(each for each in self._waiting) or "nobody"
            raise UsageError(f"no newcomer {guest!r} waits", f"waiting: {names}")
        found.answer.set_result(welcome)
        return found.guest
