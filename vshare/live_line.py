"""The line at the bottom of the terminal while a share runs: who is there, what goes through it."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from tunnel.bottom_line import LOOK_EVERY
from tunnel.console import Console
from tunnel.identity import Role
from vshare.audit_words import size
from vshare.dashboard.figures import Totals
from vshare.durations import describe_duration
from vshare.expiry import Expiry
from vshare.group import Group
from vshare.guests import Guests
from vshare.live_share import LiveShare
from vshare.streams import Streams

RATES_OVER = 2.0  # seconds: long enough to be read, short enough to be now
BETWEEN = " | "
BETWEEN_SHARES = " || "
TAKES_OVER = 1.0  # seconds


async def live_line(group: Group, console: Console) -> None:
    """Run until cancelled, with the line on the screen, one for all shares of the group; return at
    once where it has no place."""
    lines: dict[str, LiveLine] = {}

    def text() -> str:
        shares = group.shares
        for share in shares:
            lines.setdefault(share.name, line_of(share))
        if len(shares) == 1:
            return lines[shares[0].name].text()
        return BETWEEN_SHARES.join(
            f"{share.machine}: {lines[share.name].text()}" for share in shares
        )

    while True:
        with console.live(text) as is_shown:
            if is_shown:
                await asyncio.Event().wait()
        if len(group.shares) <= 1:
            return
        await asyncio.sleep(TAKES_OVER)  # whoever shows it now may end before us


def line_of(share: LiveShare) -> LiveLine:
    """A line for one who looks; each has its own, since rates are told from look to look."""
    return LiveLine(
        share.server.guests,
        share.streams,
        share.expiry,
        with_url=bool(share.url),
        browsers=lambda: [each.is_here for each in share.visitors],
    )


class LiveLine:
    """`text` is asked for twice a second: rates are told over the last looks."""

    def __init__(
        self,
        guests: Guests,
        streams: Streams,
        expiry: Expiry,
        *,
        with_url: bool,
        browsers: Callable[[], list[bool]] = list,
        clock: Callable[[], float] = time.time,
        since: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guests = guests
        self._streams = streams
        self._expiry = expiry
        self._with_url = with_url
        self._browsers = browsers
        self._clock = clock
        self._since = since
        self._looks: deque[tuple[float, Totals]] = deque(maxlen=round(RATES_OVER / LOOK_EVERY))

    def text(self) -> str:
        """What is most wanted first: narrow terminals cut the rest."""
        now, totals = self._since(), self._streams.totals()
        before, earlier = self._looks[0] if self._looks else (now, totals)
        self._looks.append((now, totals))
        seconds = max(now - before, LOOK_EVERY / 2)
        left = self._expiry.at - self._clock()
        parts = [self._people(), f"{describe_duration(left)} left"]
        if self._with_url:
            parts.append(_requests(totals.requests, totals.requests - earlier.requests, seconds))
        parts.append(
            _throughput(
                totals.bytes_in - earlier.bytes_in, totals.bytes_out - earlier.bytes_out, seconds
            )
        )
        return BETWEEN.join(parts)

    def _people(self) -> str:
        """Those who are connected now, and those who left, or whose network did."""
        guests = [guest.connections > 0 for guest in self._guests.of_role(Role.GUEST)]
        guests += self._browsers()  # which are guests, too: whether each is there
        here = sum(guests)
        away = f", {len(guests) - here} away" if here < len(guests) else ""
        return f"{here} guest{'' if here == 1 else 's'}{away}"


def _requests(count: int, more: int, seconds: float) -> str:
    rate = f", {math.ceil(more / seconds)}/s" if more else ""
    return f"{count} request{'' if count == 1 else 's'}{rate}"


def _throughput(bytes_in: int, bytes_out: int, seconds: float) -> str:
    """`in` is from guests and visitors, as in `vshare guests`."""
    if not bytes_in and not bytes_out:
        return "idle"
    return f"{size(round(bytes_in / seconds))}/s in, {size(round(bytes_out / seconds))}/s out"
