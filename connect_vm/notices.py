"""What the share tells its guests unasked, on the screen (docs/protocol.md 8.5)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from tunnel.address import RelayAddress
from tunnel.console import Console
from tunnel.errors import UsageError, VshareError
from tunnel.frames import Notice
from tunnel.names import ShareName, parse_name

FARTHEST = 366 * 24 * 3600.0  # seconds; a share that says more is not believed
DAY = 24 * 3600.0
MAX_NAMES = 64  # that a share takes one after another: each goes on meaning the machine


class Notices:
    """The client's `on_notice`. `over` is set when the share is at its end for this guest, and
    `error` then says why. `on_renamed` is told what else the share is called from now on; `relay`
    is the one to be named with it, if it has to be."""

    def __init__(self, console: Console, relay: RelayAddress | None = None) -> None:
        self._console, self._relay = console, relay
        self.on_renamed: Callable[[ShareName], None] = lambda name: None
        self._names: set[ShareName] = set()
        self.over = asyncio.Event()
        self.error: VshareError | None = None

    def __call__(self, notice: Notice) -> None:
        """Show one notice. Kinds of a newer share's are passed over."""
        if notice.kind == "expires":
            left = _seconds(notice.value)
            self._tell(notice, f"The share ends in {in_words(left)} ({at_time(left)})...")
        elif notice.kind == "extended":
            self._tell(notice, f"The share was extended to {at_time(_seconds(notice.value))}.")
        elif notice.kind == "removed":
            self._end(notice, "you were removed by the sharer", "join again if the sharer agrees")
        elif notice.kind == "ended":
            self._end(notice, "the share has ended", "a new share has a new name and a new code")
        elif notice.kind == "renamed":
            self._renamed(notice)
        elif notice.kind == "audit":
            self._console.detail(f"Audit log head: {notice.text}")
            self._event(notice, notice.text)

    def _renamed(self, notice: Notice) -> None:
        """Nothing is lost by it: the way to the share has no name in it."""
        try:
            name = parse_name(notice.text)
        except UsageError:  # nothing that could be typed
            return
        self._names.add(name)
        if len(self._names) > MAX_NAMES:
            self._names.discard(name)
            return
        self.on_renamed(name)
        line = f"{name}@{self._relay}" if self._relay is not None else name
        text = f"The share is called {name} from now on. Nothing is cut off; the next time it is"
        self._console.step(f"{text} `vconnect {line}`.")
        self._event(notice, name)

    def _tell(self, notice: Notice, text: str) -> None:
        self._console.step(text)
        self._event(notice, text)

    def _event(self, notice: Notice, text: str) -> None:
        value = _seconds(notice.value)
        self._console.event(event="notice", kind=notice.kind, text=text, value=value)

    def _end(self, notice: Notice, text: str, hint: str) -> None:
        if self.error is not None:
            return
        self.error = VshareError(f"{text}: {notice.text}" if notice.text else text, hint)
        self.over.set()
        self._tell(notice, text[0].upper() + text[1:] + ".")


def _seconds(value: float) -> float:
    """What came over the wire, as a time that can be shown."""
    return min(max(value, 0.0), FARTHEST) if math.isfinite(value) else 0.0


def in_words(seconds: float) -> str:
    """A time span for people: the largest unit of which there are two, or exactly one."""
    for size, unit in ((3600, "hour"), (60, "minute")):
        count = round(seconds / size)
        if seconds >= 1.5 * size or count * size == seconds > 0:
            return f"{count} {unit}{'' if count == 1 else 's'}"
    count = round(seconds)
    return f"{count} second{'' if count == 1 else 's'}"


def at_time(seconds: float) -> str:
    """When that will be, by this host's clock; with the day if it is not within one."""
    then = time.localtime(time.time() + seconds)
    return time.strftime("%H:%M" if seconds < DAY else "%Y-%m-%d %H:%M", then)
