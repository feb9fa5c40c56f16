"""How much goes through a share: what the page's graph shows."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

_log = logging.getLogger("vshare.dashboard")

SAMPLE_EVERY = 1.0  # seconds
MAX_SAMPLES = 300  # 5 minutes
MAX_STREAMS = 100  # shown at a time; a share can have 2,048


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts since the share began, of all guests and visitors; but for `streams` they never
    fall."""

    bytes_in: int = 0  # from guests and visitors
    bytes_out: int = 0  # to them
    requests: int = 0  # of visitors
    streams: int = 0  # that are open now


class StreamRow(msgspec.Struct, frozen=True):
    """A stream or flow that is open. `guest` is `gateway` for visitors of the URL, `protocol` then
    `http` and `host` a site's label."""

    guest: str
    protocol: str
    host: str
    port: int
    seconds: float
    bytes_in: int
    bytes_out: int


class Figures(Protocol):
    """What the share knows of its traffic. Called once a second: not to cost more than a look at
    each open stream."""

    def totals(self) -> Totals:
        """Up to now."""

    def open_streams(self, limit: int) -> Sequence[StreamRow]:
        """At most `limit` of them, the oldest first."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One second: rates, and the streams that are open at its end."""

    bytes_in: int  # a second
    bytes_out: int
    requests: int
    streams: int


class Throughput:
    """The samples of the last 5 minutes."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)
        self._before = figures.totals()
        self.count = 0  # of all that were taken

    async def run(self) -> None:
        """Take samples until cancelled."""
        loop = asyncio.get_running_loop()
        at = loop.time()
        while True:
            await asyncio.sleep(SAMPLE_EVERY)
            now = loop.time()
            try:
                self.take(now - at)
            except Exception:
                _log.exception("the traffic could not be looked at")  # nor does the share end
            at = now

    def take(self, seconds: float) -> None:
        """One sample, `seconds` after the last one."""
        totals, before = self._figures.totals(), self._before
        self._samples.append(
            Sample(
                _rate(totals.bytes_in - before.bytes_in, seconds),
                _rate(totals.bytes_out - before.bytes_out, seconds),
                _rate(totals.requests - before.requests, seconds),
                totals.streams,
            )
        )
        self._before = totals
        self.count += 1

    def since(self, count: int) -> list[Sample]:
        """What was taken after the first `count` samples."""
        wanted = min(self.count - count, len(self._samples))
        return list(self._samples)[-wanted:] if wanted > 0 else []


def _rate(difference: int, seconds: float) -> int:
    return max(0, round(difference / max(seconds, 0.001)))
