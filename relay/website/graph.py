"""A share's traffic as bars, for an SVG and for the table beside it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from relay.history.reader import TrafficPoint

BARS = 60  # at most
WIDTH, HEIGHT = 600, 120  # of the picture's own units
_STEPS = (60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400)  # seconds


@dataclass(frozen=True, slots=True)
class Bar:
    """Both ways in one step of time: that to visitors stands on that from them."""

    x: float
    width: float
    received_y: float
    received: float
    sent_y: float
    sent: float


@dataclass(frozen=True, slots=True)
class Graph:
    """Times are seconds since the epoch. `most`: bytes in the tallest bar, both ways together."""

    since: float
    until: float
    step: int
    most: int
    bars: Sequence[Bar]
    points: Sequence[TrafficPoint]

    @property
    def received(self) -> int:
        """Bytes to visitors in all."""
        return sum(each.received for each in self.points)

    @property
    def sent(self) -> int:
        """Bytes from them."""
        return sum(each.sent for each in self.points)


def step_for(since: float, until: float) -> int:
    """The seconds that each bar stands for."""
    return next((each for each in _STEPS if (until - since) / each < BARS - 1), _STEPS[-1])


def graph_of(points: Sequence[TrafficPoint], since: float, until: float, step: int) -> Graph:
    """The bars for what was in steps of `step` seconds; what is before `since` is left out."""
    first = since // step * step
    count = min(BARS, int((until - first) // step) + 1)
    first = max(first, until // step * step - (count - 1) * step)
    kept = [each for each in points if each.at >= first]
    most = max((each.received + each.sent for each in kept), default=0)
    width = WIDTH / count
    bars = []
    for each in kept if most else ():
        received, sent = (amount / most * HEIGHT for amount in (each.received, each.sent))
        x = (each.at - first) / step * width
        bars.append(
            Bar(
                round(x + width * 0.1, 2),
                round(width * 0.8, 2),
                round(HEIGHT - sent - received, 2),
                round(received, 2),
                round(HEIGHT - sent, 2),
                round(sent, 2),
            )
        )
    return Graph(first, until, step, most, bars, kept)
