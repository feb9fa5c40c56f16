"""What one holder has at a relay, and each connection of a visitor's that counts for it."""

from __future__ import annotations

import contextlib
import socket
import struct
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol

from relay.accounts.elsewhere import Numbers
from relay.accounts.holders import Holders, whose
from relay.accounts.limits import Limits
from relay.accounts.pacing import Budget
from tunnel.names import ShareName

SO_MAX_PACING_RATE = 47  # socket(7); the module socket has no name for it
_UNPACED = 2**64 - 1  # tcp(7)'s word for no limit


class Held(Protocol):
    """What is needed of a share: whom it counts for, and how its sharer is told."""

    holders: Holders
    name: ShareName
    key_hash: bytes

    def notify(self, code: str, text: str) -> None:
        """Tell the sharer."""


class Meter:
    """One holder, at this relay."""

    __slots__ = (
        "budget", "flows", "guests", "holder", "limits", "lines", "moved", "shares", "told",
        "told_at", "unsaved",
    )  # fmt: skip

    def __init__(self, holder: str, moved: int) -> None:
        self.holder = holder
        self.limits = Limits()
        self.flows: set[Flow] = set()
        self.shares: set[Held] = set()
        self.lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # the gateway's to them
        self.guests = 0  # of the flows
        self.moved = moved  # bytes, today
        self.unsaved = 0  # of those
        self.budget = Budget()
        self.told = 0.0  # what part of the day's bytes the sharers were told of
        self.told_at = 0.0  # monotonic time of the last word about refusals

    @property
    def whose(self) -> str:
        """For its sharers."""
        return whose(self.holder)

    @property
    def numbers(self) -> Numbers:
        """Those that there are limits for."""
        limits = self.limits
        is_paced = bool(limits.bandwidth and self.flows)
        return Numbers(
            self.moved if limits.bytes_per_day else 0,
            self.guests if limits.guests else 0,
            len(self.flows) if limits.streams else 0,
            self.budget.wanting if is_paced else 0,
            int(self.budget.modest) if is_paced else 0,
        )

    @property
    def fullness(self) -> float:
        """What part of a limit is reached, of that which is reached most."""
        limits, most = self.limits, 0.0
        if limits.bytes_per_day:
            most = self.moved / limits.bytes_per_day
        if not self.flows:
            return most
        if limits.guests:
            most = max(most, self.guests / limits.guests)
        if limits.streams:
            most = max(most, len(self.flows) / limits.streams)
        if limits.bandwidth and any(flow.lately for flow in self.flows):
            most = max(most, 1.0)
        return most

    def tell(self, code: str, text: str) -> None:
        """Tell its sharers."""
        for share in list(self.shares):
            share.notify(code, text)


class Flow:
    """One visitor's connection to a share, while it lasts.

    `measure()` tells its bytes so far, both ways; `cut()` ends it. `socks` are paced.
    """

    __slots__ = ("_cut", "_measure", "_seen", "is_guest", "is_limited", "lately", "meters",
                 "rate", "socks")  # fmt: skip

    def __init__(
        self, meters: tuple[Meter, ...], measure: Callable[[], int], cut: Callable[[], None],
        *, is_guest: bool = False,
    ) -> None:  # fmt: skip
        self.meters, self._measure, self._cut = meters, measure, cut
        self.socks: tuple[socket.socket, ...] = ()
        self.is_guest = is_guest
        self._seen = 0
        self.lately = 0  # bytes since the last look
        self.rate = 0.0  # bytes a second; 0: as it comes
        self.is_limited = self.has_limits()

    def has_limits(self) -> bool:
        """Whether what moves is of interest before it has ended."""
        return any(_is_measured(meter.limits) for meter in self.meters)

    def look(self) -> None:
        """Count what has moved."""
        seen = self._measure()
        self.lately, self._seen = seen - self._seen, seen
        for meter in self.meters:
            meter.moved += self.lately
            meter.unsaved += self.lately

    def pace(self, rate: float) -> None:
        """Send so many bytes a second at most, each way; 0: as it comes."""
        if rate or self.rate:
            self.rate = rate
            pace(self.socks, rate)

    def pace_also(self, *socks: socket.socket) -> None:
        """These carry it, too."""
        self.socks += socks
        if self.rate:
            pace(socks, self.rate)

    def cut(self) -> None:
        """End it, for both sides."""
        self._cut()


def _is_measured(limits: Limits) -> bool:
    return bool(limits.bytes_per_day or limits.bandwidth)


def pace(socks: Iterable[socket.socket], rate: float) -> None:
    """`rate` in bytes a second; 0: as it comes."""
    value = struct.pack("=Q", int(rate) or _UNPACED)
    for sock in socks:
        with contextlib.suppress(OSError, ValueError):  # it has just ended
            sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, value)
