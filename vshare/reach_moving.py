"""Reach a machine at its address, and find it where it is after that has changed.

A connect that has no answer for PATIENCE, or is told that nobody is there, has the machine looked
for (find_again.py). An address at which something answers, be it with a refusal, is the machine's
from then on, and what was open at the old one ends with an error. Where it does not run, that is
said at once: this host's ARP table may think for half a minute that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from tunnel.codes import Code
from tunnel.ends import End
from tunnel.errors import RefusedError
from tunnel.flows import CountingFlow, FlowReceiver
from vshare import own_addresses
from vshare.exposed import Exposed, IsOwn
from vshare.find_again import Whereabouts
from vshare.reach import OPEN_TIMEOUT_SECONDS
from vshare.reach_direct import DirectReach

PATIENCE = 1.0  # seconds; a machine of this host's own answers in milliseconds
ANSWER_WITHIN = 2.0  # seconds for an address that the machine may have now
MAX_PLACES = 4  # addresses that are tried
_ABSENT = frozenset((Code.HOST_UNREACHABLE, Code.TIMED_OUT))

Outcome = End | RefusedError


class MovingReach:
    """`address` is where the machine is; `on_moved(address)` is called when that has changed."""

    def __init__(
        self,
        address: str,
        exposed: Exposed | None,
        whereabouts: Whereabouts,
        on_moved: Callable[[str], None],
        *,
        is_own: IsOwn = own_addresses.is_own,
    ) -> None:
        self._direct = DirectReach(address, exposed, is_own)
        self._is_own = is_own
        self._exposed = exposed
        self._whereabouts = whereabouts
        self._on_moved = on_moved
        self._ends: set[End] = set()  # of the machine's own
        self._looking = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def address(self) -> str:
        """Where the machine is, as far as is known."""
        return self._direct.address

    @property
    def is_this_host(self) -> bool:
        """See DirectReach.is_this_host."""
        return self._direct.is_this_host

    async def __aenter__(self) -> Self:
        """Remember where else the machine is."""
        await self._stack.enter_async_context(self._direct)
        await self._whereabouts.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close what the ways to all its addresses held."""
        await self._stack.aclose()

    async def open_tcp(self, host: str, port: int) -> End:
        """See Reach.open_tcp."""
        if host or not self._whereabouts.can_ask:
            return await self._direct.open_tcp(host, port)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_SECONDS):
                outcome = await self._open_own(port)
        except TimeoutError:
            outcome = RefusedError(Code.TIMED_OUT, f"no answer from {self.address} port {port}")
        if isinstance(outcome, RefusedError):
            raise outcome
        self._ends.add(outcome)
        outcome.finished.add_done_callback(lambda _: self._ends.discard(outcome))
        return outcome

    async def open_udp(self, host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
        """See Reach.open_udp. Datagrams alone do not find out that the machine has moved."""
        return await self._direct.open_udp(host, port, receiver)

    async def _open_own(self, port: int) -> Outcome:
        async with asyncio.TaskGroup() as group:
            asked = self._direct
            opening = group.create_task(_attempt(asked, port), name="to the machine")
            found: Outcome | None = None
            try:
                while found is None:
                    await asyncio.wait([opening], timeout=PATIENCE)
                    if opening.done() and not _is_absent(opening.result()):
                        found = opening.result()
                    else:
                        found = await self._open_elsewhere(asked, port)
                        if found is None and opening.done():
                            found = opening.result()
            finally:
                _let_go(opening, found)
        return found

    async def _open_elsewhere(self, asked: DirectReach, port: int) -> Outcome | None:
        """At another address than that of `asked`; None if the machine is at no other. That it does
        not run is an answer, and saves waiting for one from where it was."""
        async with self._looking:
            if self._direct is not asked:  # found by somebody else meanwhile
                return await _attempt(self._direct, port)
            seen = await self._whereabouts.ask()
            if seen.is_off:
                return RefusedError(Code.HOST_UNREACHABLE, "the machine is not running")
            places = [each for each in seen.addresses if each != asked.address]
            for address in places[:MAX_PLACES]:
                other = DirectReach(address, self._exposed, self._is_own)
                if other.is_this_host:
                    continue  # never dialled unless the sharer named it
                outcome = await _attempt(other, port, ANSWER_WITHIN)
                if not _is_absent(outcome):
                    await self._move(other)
                    return outcome
        return None

    async def _move(self, other: DirectReach) -> None:
        await self._stack.enter_async_context(other)
        old, self._direct = self._direct, other
        await old.__aexit__(None, None, None)  # ends its flows; guests open them again
        for end in list(self._ends):
            end.peer.reset(Code.LOST)
            end.reset(Code.LOST)
        self._on_moved(other.address)


async def _attempt(way: DirectReach, port: int, within: float | None = None) -> Outcome:
    try:
        async with asyncio.timeout(within):
            return await way.open_tcp("", port)
    except RefusedError as error:
        return error
    except TimeoutError:
        return RefusedError(Code.TIMED_OUT, f"no answer from {way.address} port {port}")


def _is_absent(outcome: Outcome) -> bool:
    return isinstance(outcome, RefusedError) and outcome.code in _ABSENT


def _let_go(opening: asyncio.Task[Outcome], kept: Outcome | None) -> None:
    """Close what `opening` made, unless that is what is kept."""
    if not opening.done():
        opening.cancel()  # closes its socket
    elif not opening.cancelled() and opening.result() is not kept:
        outcome = opening.result()
        if isinstance(outcome, End):
            outcome.reset(Code.CLOSED)
