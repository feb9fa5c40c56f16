"""Picks the one address of a neighbour that is dialled, after it was checked.

A name is looked up once, and what is dialled is the address that was looked at, never the name
again: a second look-up may give another answer (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection

from tunnel.codes import Code
from tunnel.errors import RefusedError
from vshare import own_addresses
from vshare.neighbours import (
    Address,
    Network,
    is_exact,
    is_host_name,
    parse_address,
    why_closed,
)

LOOKUP_TIMEOUT = 5.0  # seconds; half of what opening may take (reach.OPEN_TIMEOUT_SECONDS)
MAX_ADDRESSES = 16  # of one name that are looked at
# Look-ups under way, each in a thread until the resolver answers: with the two of a join, as many
# as the smallest executor has (6, on two processors).
MAX_LOOKUPS = 4

Resolve = Callable[[str], list[str]]  # blocks; gives address literals, none if there are none
IsOwn = Callable[[Address], bool]


def look_up(name: str) -> list[str]:
    """The addresses of `name` as this host's resolver has them. Blocks."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(each[4][0]) for each in found]


class Exposed:
    """The neighbours in `networks`; `is_own` tells this host's own addresses."""

    def __init__(
        self,
        networks: tuple[Network, ...],
        resolve: Resolve = look_up,
        is_own: IsOwn = own_addresses.is_own,
    ) -> None:
        self.networks = networks
        self._resolve = resolve
        self._is_own = is_own
        self._threads = asyncio.Semaphore(MAX_LOOKUPS)

    def is_exact(self, address: Address) -> bool:
        """Whether `address` was exposed by itself: then it may be this host's own."""
        return is_exact(address, self.networks)

    async def pick(self, host: str, also_own: Collection[Address] = ()) -> str:
        """The address to dial for `host`, a name or an address. Raises RefusedError.

        `also_own`: further addresses that lead to this host, seen from where it is dialled. A
        name that is unknown and one that leads elsewhere are refused alike, so that guests do
        not learn which names the sharer's resolver knows.
        """
        literal = parse_address(host)
        if literal is not None:
            closed = self._why_closed(literal, also_own)
            if closed:
                raise _refused(f"{host!r} {closed}")
            return str(literal)
        if not is_host_name(host):
            raise _refused(f"{host[:60]!r} is no neighbour's name or address")
        for text in (await self._look_up(host))[:MAX_ADDRESSES]:
            address = parse_address(text)
            if address is not None and not self._why_closed(address, also_own):
                return str(address)
        raise _refused(f"{host!r} is not known, or leads to no neighbour that is exposed")

    def _why_closed(self, address: Address, also_own: Collection[Address]) -> str:
        closed = why_closed(address, self.networks)
        if closed or self.is_exact(address):
            return closed
        try:
            own = address in also_own or self._is_own(address)
        except OSError as error:
            return f"cannot be told from the sharer's own host: {error}"
        return "is the sharer's own host" if own else ""

    async def _look_up(self, name: str) -> list[str]:
        """A thread cannot be stopped: its place is free again when the resolver has answered."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                await self._threads.acquire()
                loop = asyncio.get_running_loop()
                answer = loop.run_in_executor(None, self._resolve, name)
                answer.add_done_callback(lambda done: self._threads.release())
                return await asyncio.shield(answer)
        except TimeoutError:
            raise RefusedError(
                Code.TIMED_OUT, f"the sharer's resolver does not answer for {name!r}"
            ) from None


def _refused(text: str) -> RefusedError:
    return RefusedError(Code.NOT_ALLOWED, text)
