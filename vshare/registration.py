"""The registration of a share at its relay, under one name at a time: `vshare rename`.

Each name is held by a task of its own, since a link is left by whoever has entered it. For a moment
there are two. They have one key, and so one route (docs/protocol.md 3), which leads to the newer
one from then on: guests who are in stay in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel.control import Ended
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.name_key import name_key
from vshare.relay_link import RelayLink

MakeLink: TypeAlias = Callable[[Ed25519PrivateKey, ShareName | None], RelayLink]


@dataclass(slots=True)
class _Held:
    """A name that is held until `leave` is set."""

    link: RelayLink
    key: Ed25519PrivateKey
    leave: asyncio.Event


@dataclass(slots=True)
class _Hold:
    """One that is to be, and its task's word for whether it is; `left`: it is no more."""

    leave: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Future[_Held] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Registration:
    """Async context manager: registers `name`, or one that the relay draws, with a link as from
    `make_link`. Raises VshareError as RelayLink and name_key do.

    `ended` is done when the relay ended the share for good.
    """

    def __init__(self, make_link: MakeLink, name: ShareName | None) -> None:
        self._make_link, self._name = make_link, name
        self.keeps_name = name is not None  # else nobody has its key when the share has ended
        self._group = asyncio.TaskGroup()
        self._holds: list[_Hold] = []
        self._held: _Held
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    @property
    def link(self) -> RelayLink:
        """That of the present name."""
        return self._held.link

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        try:
            self._is_held(await self._hold(self._name, None))
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def rename(self, name: ShareName) -> None:
        """Hold `name` in place of the present one, whose lease ends then.

        Raises VshareError: then, and where it is cancelled, nothing has changed.
        """
        held = await self._hold(name, self._held.key)
        before = self._held
        self.keeps_name = True
        self._is_held(held)
        before.leave.set()

    async def settled(self) -> None:
        """Wait until nothing is held but the present name: somebody else can have the others."""
        while others := [each.left for each in self._holds if each.leave.is_set()]:
            await others[0].wait()

    def _is_held(self, held: _Held) -> None:
        self._held = held
        held.link.ended.add_done_callback(lambda ended: self._has_ended(held, ended.result()))

    def _has_ended(self, held: _Held, ended: Ended) -> None:
        if held is self._held and not self.ended.done():
            self.ended.set_result(ended)

    async def _hold(self, name: ShareName | None, key: Ed25519PrivateKey | None) -> _Held:
        hold = _Hold()
        self._holds.append(hold)
        task = self._group.create_task(self._keep(hold, name, key), name=f"the name {name}")
        try:
            return await hold.held
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _keep(
        self, hold: _Hold, name: ShareName | None, key: Ed25519PrivateKey | None
    ) -> None:
        """Hold `name` with `key` (None: the one that is kept) until it is to be left."""
        try:
            with name_key(name, key=key) as own_key:
                async with self._make_link(own_key, name) as link:
                    if not hold.held.done():  # else nobody waits any more
                        hold.held.set_result(_Held(link, own_key, hold.leave))
                        await hold.leave.wait()
        except VshareError as error:
            if hold.held.done():
                raise
            hold.held.set_exception(error)
        finally:
            self._holds.remove(hold)
            hold.left.set()

    async def _leave(self) -> None:
        for hold in self._holds:
            hold.leave.set()
        await self._group.__aexit__(None, None, None)
