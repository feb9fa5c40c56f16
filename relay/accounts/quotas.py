"""Holds visitors to the limits of the tokens, users or sources whose shares they come to.

Each connection of a visitor's is a Flow, and counts for one or two holders (holders.py), with what
those have at the other relays of a cluster (elsewhere.py). Nothing is done for bytes that pass: the
kernel paces the sockets (SO_MAX_PACING_RATE), and what has moved is looked at twice a second.
"""

from __future__ import annotations

import contextlib
import heapq
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from relay.accounts.elsewhere import NOTHING, Elsewhere, Nowhere, Numbers, part_of
from relay.accounts.holders import SOURCE, TOKEN, USER, Holders, too_many_shares
from relay.accounts.limits import NO_LIMIT, Limits, is_reached, size_text
from relay.accounts.meters import Flow, Held, Meter, pace
from relay.accounts.pacing import MOST_AT_ONCE, Used
from relay.accounts.permits import Permits

DAY = 86_400  # seconds, from midnight UTC
LOOK_AT_ALL_EVERY = 10  # looks; else at those alone that have limits
TELL_AT = 0.8  # of a day's bytes, the sharer is told
TELL_EVERY = 60.0  # seconds between two words to a sharer about connections that were refused
MAX_HOLDERS = 20_000  # remembered without connections; forgetting one forgets what is not saved

Usage = list[tuple[int, str, int]]  # day, holder, bytes


@dataclass(frozen=True, slots=True)
class Over:
    """Why a visitor is not let through. `today`: until midnight, in `seconds`."""

    text: str
    seconds: int
    today: bool


class Quotas:
    """Of one relay. `permits` None: it is open, and sources have the `defaults`. `look` is to be
    called again and again. `elsewhere` are the relays that are one with it."""

    def __init__(
        self,
        permits: Permits | None = None,
        defaults: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._permits, self._clock = permits, clock
        self.defaults = defaults or Limits()
        self.elsewhere: Elsewhere = Nowhere()
        self._meters: dict[str, Meter] = {}
        self._flows: set[Flow] = set()
        self._day = int(clock()) // DAY
        self._late: Usage = []  # of days before, not saved yet
        self._looked_at = time.monotonic()
        self._looks = 0
        self._version = 0  # of the permits whose limits the meters have

    # -- what was counted before

    def load(self, usage: Iterable[tuple[str, int]]) -> None:
        """What was kept of today, by holder."""
        for holder, moved in usage:
            self._meter(holder).moved += moved

    @property
    def day(self) -> int:
        """Today, counted from the epoch."""
        return self._day

    def unsaved(self) -> Usage:
        """What was counted since this was asked last. Of sources nothing is kept."""
        taken, self._late = self._late, []
        for meter in self._meters.values():
            if meter.unsaved and not meter.holder.startswith(SOURCE):
                taken.append((self._day, meter.holder, meter.unsaved))
            meter.unsaved = 0
        return taken

    def give_back(self, usage: Usage) -> None:
        """That could not be saved."""
        for day, holder, moved in usage:
            if day == self._day:
                self._meter(holder).unsaved += moved
            elif len(self._late) < MAX_HOLDERS:
                self._late.append((day, holder, moved))

    def used_today(self, holders: Holders) -> int:
        """The bytes of the first of them."""
        meter = self._meters.get(holders[0]) if holders else None
        return meter.moved if meter else 0

    def present(self, most: int) -> list[tuple[str, Numbers]]:
        """What each holder has here that has limits, and anything; if they are more than `most`,
        of those that are nearest to a limit."""
        active = (meter for meter in self._meters.values() if meter.moved or meter.flows)
        found = [(meter, here) for meter in active if (here := meter.numbers) != NOTHING]
        if len(found) > most:
            found = heapq.nlargest(most, found, key=lambda each: each[0].fullness)
        return [(meter.holder, here) for meter, here in found]

    # -- shares

    def share_refusal(self, holders: Holders, name: str, key_hash: bytes) -> str:
        """Why no share of that name and key can register, in words; empty: it can."""
        for meter in map(self._meter, holders):
            limit = meter.limits.shares
            if not limit:
                continue
            room = limit - len(meter.shares)
            there = self.elsewhere.shares(meter.holder, name, key_hash, room)
            if not is_reached(limit, len(meter.shares) + there):
                continue  # nearly always: no look at thousands
            others = [share for share in meter.shares if share.name != name]
            # One that changes its name is for a moment twice.
            renames = any(share.key_hash == key_hash for share in others)
            if is_reached(limit, len(others) - renames + there):
                return too_many_shares(meter.holder, limit)
        return ""

    def share_limit(self, holders: Holders) -> int | None:
        """How many shares the first of them may have at once; None: any number."""
        return self._limits(holders[0]).shares or None if holders else None

    def share_began(self, share: Held) -> None:
        """It registered."""
        for meter in map(self._meter, share.holders):
            meter.shares.add(share)

    def share_ended(self, share: Held) -> None:
        """Its session is over."""
        for holder in share.holders:
            if holder in self._meters:
                self._meters[holder].shares.discard(share)

    # -- visitors

    def refusal(self, share: Held, *, is_guest: bool = False) -> Over | None:
        """Why a visitor of `share` cannot come now; the sharer is told. None: it can."""
        over = self.spent(share)
        if over is not None:
            return over
        for meter in map(self._meter, share.holders):
            limits, there = meter.limits, self._there(meter)
            for what, limit, count in (
                ("of guests", limits.guests if is_guest else NO_LIMIT, meter.guests + there.guests),
                ("of visitors", limits.streams, len(meter.flows) + there.streams),
            ):
                if is_reached(limit, count):
                    connections = f"{limit} connection{'' if limit == 1 else 's'} {what}"
                    text = f"{meter.whose} is for {connections} at once"
                    self._tell_refused(meter, text)
                    return Over(text, 30, today=False)
        return None

    def spent(self, share: Held) -> Over | None:
        """Whether the day's bytes of `share` are used up."""
        for holder in share.holders:
            meter = self._meters.get(holder)
            if meter is not None and self._is_spent(meter):
                size = size_text(meter.limits.bytes_per_day or 0)
                left = DAY - int(self._clock()) % DAY
                return Over(f"{meter.whose} is for {size} a day, and they are used up", left, True)
        return None

    def begin(
        self, share: Held, measure: Callable[[], int], cut: Callable[[], None],
        *, is_guest: bool = False,
    ) -> Flow:  # fmt: skip
        """A visitor is connected to `share`; `end` is to follow."""
        meters = tuple(map(self._meter, share.holders))
        flow = Flow(meters, measure, cut, is_guest=is_guest)
        for meter in meters:
            meter.flows.add(flow)
            meter.guests += is_guest
            if meter.limits.bandwidth:
                active = sum(bool(each.lately) for each in meter.flows)
                due = part_of(meter.limits.bandwidth, active, 0.0, self._there(meter))
                rate = due / (1 + active + len(meter.flows) / MOST_AT_ONCE)
                flow.pace(min(flow.rate, rate) if flow.rate else rate)
        self._flows.add(flow)
        return flow

    def end(self, flow: Flow) -> None:
        """It has ended. Idempotent."""
        if flow not in self._flows:
            return
        self._flows.discard(flow)
        flow.look()
        flow.pace(0.0)  # a browser's connection may go on with another share
        for meter in flow.meters:
            meter.flows.discard(flow)
            meter.guests -= flow.is_guest

    def pace_line(self, share: Held, sock: socket.socket) -> None:
        """One of the gateway's connections to `share`, which carry one visitor after another."""
        for meter in map(self._meter, share.holders):
            meter.lines.add(sock)
            if meter.limits.bandwidth:
                pace((sock,), part_of(meter.limits.bandwidth, 1, 0.0, self._there(meter)))

    @contextlib.contextmanager
    def carrying(
        self,
        share: Held,
        measure: Callable[[], int],
        socks: tuple[socket.socket, ...],
        *,
        is_guest: bool = False,
    ) -> Iterator[None]:
        """While the block runs `socks` carry a visitor."""
        flow = self.begin(share, measure, lambda: _shut(socks), is_guest=is_guest)
        flow.pace_also(*socks)
        try:
            yield
        finally:
            self.end(flow)

    # -- again and again

    def look(self) -> None:
        """Count, pace, and end what is over."""
        now = time.monotonic()
        seconds, self._looked_at = max(0.001, now - self._looked_at), now
        self._turn_day()
        changed = self._take_limits()
        if changed or self._looks % LOOK_AT_ALL_EVERY == 0:
            for flow in self._flows:
                if not flow.is_limited:
                    flow.look()
                    flow.lately = 0  # of a longer time
                flow.is_limited = flow.is_limited or flow.has_limits()
        self._looks += 1
        looked = [flow for flow in self._flows if flow.is_limited]
        for flow in looked:
            flow.look()
        meters = {meter for flow in looked for meter in flow.meters}
        rates: dict[Flow, float] = {}
        for meter in meters:
            self._divide(meter, seconds, rates)
        for flow in looked:
            flow.is_limited = flow.has_limits()
            flow.pace(rates.get(flow, 0.0))
        for meter in self._meters.values():  # also of what began and ended since
            self._check_day(meter)

    def _take_limits(self) -> bool:
        """As they are now; whether there are others than before."""
        changed = False
        if self._permits is None or self._permits.version == self._version:
            return changed  # nearly always: no look at thousands
        self._version = self._permits.version
        for meter in self._meters.values():
            limits = self._limits(meter.holder)
            changed = changed or limits != meter.limits
            if meter.limits.bandwidth and not limits.bandwidth:
                pace(meter.lines, 0.0)
            meter.limits = limits
        return changed

    def _divide(self, meter: Meter, seconds: float, rates: dict[Flow, float]) -> None:
        if not meter.limits.bandwidth:
            return
        flows = list(meter.flows)
        if not flows:
            return
        used = [Used(flow.lately, flow.rate) for flow in flows]
        there = self._there(meter)
        divided = meter.budget.divide(meter.limits.bandwidth, seconds, used, there)
        for flow, rate in zip(flows, divided, strict=True):
            rates[flow] = min(rates.get(flow, rate), rate)
        if meter.lines:
            pace(meter.lines, max(rates[flow] for flow in flows))

    def _check_day(self, meter: Meter) -> None:
        limit = meter.limits.bytes_per_day
        if not limit:
            return
        moved = meter.moved + self._there(meter).moved
        if moved >= limit:
            for flow in list(meter.flows):
                flow.cut()
        part = 1.0 if moved >= limit else TELL_AT if moved >= limit * TELL_AT else 0.0
        if part > meter.told:
            size = size_text(limit)
            text = (
                f"{meter.whose} is for {size} a day, and they are used up: nobody gets through"
                " until midnight UTC"
                if part == 1.0
                else f"{part:.0%} of today's {size} of {meter.whose} are used"
            )
            meter.tell("quota-day", text)
        meter.told = part

    def _is_spent(self, meter: Meter) -> bool:
        limit = meter.limits.bytes_per_day
        return bool(limit) and is_reached(limit, meter.moved + self._there(meter).moved)

    def _there(self, meter: Meter) -> Numbers:
        return self.elsewhere.numbers(meter.holder)

    def _turn_day(self) -> None:
        day = int(self._clock()) // DAY
        if day == self._day:
            return
        self._late = self.unsaved()[-MAX_HOLDERS:]
        self._day = day
        for holder, meter in list(self._meters.items()):
            meter.moved, meter.told = 0, 0.0
            if not meter.flows and not meter.shares:
                del self._meters[holder]

    def _tell_refused(self, meter: Meter, text: str) -> None:
        now = time.monotonic()
        if now - meter.told_at >= TELL_EVERY or not meter.told_at:
            meter.told_at = now
            meter.tell("quota-streams", f"{text}: more were refused")

    def _meter(self, holder: str) -> Meter:
        meter = self._meters.get(holder)
        if meter is None:
            self._make_room()
            meter = self._meters[holder] = Meter(holder, 0)
            meter.limits = self._limits(holder)
        return meter

    def _make_room(self) -> None:
        if len(self._meters) < MAX_HOLDERS:
            return
        for holder, meter in list(self._meters.items()):
            if not meter.flows and not meter.shares and not meter.moved:
                del self._meters[holder]

    def _limits(self, holder: str) -> Limits:
        if self._permits is None or holder.startswith(SOURCE):
            return self.defaults
        if holder.startswith(TOKEN):
            return self._permits.limits_of(holder.removeprefix(TOKEN)).or_else(self.defaults)
        return self._permits.limits_of_account(int(holder.removeprefix(USER)))


def _shut(socks: Iterable[socket.socket]) -> None:
    for sock in socks:
        with contextlib.suppress(OSError):  # it has just ended
            sock.shutdown(socket.SHUT_RDWR)
