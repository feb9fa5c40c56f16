"""The machines that one `vshare up` shares: each is a share of its own, with what they have in
common: one code, so that a guest types it once, and one limit on guessing it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from tunnel.attempts import Attempts
from tunnel.identity import PublicKey, public_der
from tunnel.names import make_code

if TYPE_CHECKING:
    from vshare.live_share import LiveShare

MAX_MACHINES = 16  # each is a share at the relay, with its parked connections
MAX_WELCOME = 4_096  # keys that are remembered; beyond it the sharer is asked once more


class Group:
    """Of `size` shares, one at least. Needs a running loop."""

    def __init__(self, size: int = 1) -> None:
        self.code = make_code(secrets.randbelow)
        self.attempts = Attempts(asyncio.get_running_loop().time())
        self._shares: list[LiveShare] = []
        self._missing = size
        self._silent = size  # of which nobody was told yet
        self._turn = asyncio.Lock()
        self._complete = asyncio.Event()
        self._welcome: set[bytes] = set()

    async def turn(self) -> None:
        """Wait until all that came before could begin: questions come one after another."""
        await self._turn.acquire()

    async def complete(self) -> None:
        """Called by each share when it could begin: return when all could."""
        self._missing -= 1
        if self._turn.locked():
            self._turn.release()
        if self._missing <= 0:
            self._complete.set()
            await asyncio.sleep(0)  # those that waited come first: they are told of in order
        await self._complete.wait()

    @property
    def is_complete(self) -> bool:
        """Whether all could begin."""
        return self._complete.is_set()

    def begun(self) -> bool:
        """Called by each share when it was told of; whether it is the last."""
        self._silent -= 1
        return self._silent <= 0

    @property
    def name(self) -> str:
        """That of its first share."""
        return self._shares[0].name

    @property
    def shares(self) -> list[LiveShare]:
        """Those that run, in the order in which they were named."""
        return list(self._shares)

    def add(self, share: LiveShare) -> None:
        """Until `remove`, guests of the others are told of it."""
        self._shares.append(share)

    def remove(self, share: LiveShare) -> None:
        """It has ended."""
        self._shares.remove(share)

    def others(self, name: str) -> list[dict[str, str]]:
        """Of the share called `name`: the names and machines of the rest."""
        return [
            {"name": share.name, "machine": share.machine}
            for share in self._shares
            if share.name != name
        ]

    def code_changed(self) -> None:
        """Whoever waits at any of them has proven a code that is void."""
        for share in self._shares:
            share.code_changed()

    def welcome(self, key: PublicKey) -> None:
        """The sharer let the owner of `key` in: no other share of the group asks again."""
        if len(self._welcome) < MAX_WELCOME:
            self._welcome.add(public_der(key))

    def is_welcome(self, key: PublicKey) -> bool:
        """Whether the sharer's word was given."""
        return public_der(key) in self._welcome

    def forget_welcomes(self) -> None:
        """Somebody was removed: who comes anew is asked about anew."""
        self._welcome.clear()
