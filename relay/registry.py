"""The shares that are connected to this relay, and the tickets given to them."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Protocol

from relay.lot import CALM_AFTER, Lot
from tunnel.control import Ended, FromRelay, Publish, Tickets
from tunnel.names import ShareName
from tunnel.parking import TICKET, TICKET_LASTS

MAX_SHARES = 10_000  # per relay: each costs a control channel and 4 parked connections
MAX_OUTGOING = 64  # messages that wait for a slow control channel; more end it
HOUSEKEEPING_EVERY = 5.0  # seconds


class Share:
    """One registered share: its session, its parked connections, what it publishes."""

    def __init__(self, name: ShareName, key_hash: bytes, http: bool, ends_at: float) -> None:
        self.name, self.key_hash, self.http = name, key_hash, http
        self.ends_at = ends_at  # seconds since the epoch
        self.outgoing: asyncio.Queue[FromRelay] = asyncio.Queue(MAX_OUTGOING)
        self.published: Publish | None = None
        self.visitors = 0
        self.tickets: dict[bytes, float] = {}  # ticket -> monotonic time of its end
        self.lot = Lot(self._send_tickets)
        self.over = asyncio.Event()

    def send(self, message: FromRelay) -> None:
        """Queue a message for the share; a share that does not read is ended."""
        try:
            self.outgoing.put_nowait(message)
        except asyncio.QueueFull:
            self.over.set()

    def _send_tickets(self, count: int) -> None:
        until = time.monotonic() + TICKET_LASTS
        fresh = [secrets.token_bytes(TICKET) for _ in range(count)]
        self.tickets.update(dict.fromkeys(fresh, until))
        self.send(Tickets(fresh))

    def drop_old_tickets(self, now: float) -> None:
        """Forget tickets that are over and ask for others."""
        for ticket in [ticket for ticket, until in self.tickets.items() if until < now]:
            del self.tickets[ticket]
            self.lot.missed()
        self.lot.fill()

    def end(self, code: str, text: str) -> None:
        """Say why and end the session."""
        self.send(Ended(code, text))
        self.over.set()

    def close(self) -> None:
        """Free what it holds; streams that are paired already go on."""
        self.lot.close()
        self.tickets.clear()


class Registry(Protocol):
    """Which share is where. One relay knows its own; several share theirs."""

    def get(self, name: ShareName) -> Share | None:
        """The connected share of that name."""

    def add(self, share: Share) -> bool:
        """Register `share`; the same key's earlier session is evicted. False: full."""

    def remove(self, share: Share) -> None:
        """`share`'s session is over."""


class LocalRegistry:
    """The registry of a single relay."""

    def __init__(self) -> None:
        self._shares: dict[ShareName, Share] = {}

    def __len__(self) -> int:
        return len(self._shares)

    def get(self, name: ShareName) -> Share | None:
        """See Registry."""
        return self._shares.get(name)

    def add(self, share: Share) -> bool:
        """See Registry."""
        earlier = self._shares.get(share.name)
        if earlier is None and len(self._shares) >= MAX_SHARES:
            return False
        if earlier is not None:
            earlier.end("evicted", "the same share connected again")
            earlier.close()
        self._shares[share.name] = share
        return True

    def remove(self, share: Share) -> None:
        """See Registry."""
        if self._shares.get(share.name) is share:
            del self._shares[share.name]
        share.close()

    def park(self, ticket: bytes) -> Share | None:
        """The share that `ticket` was given to; a ticket is good once."""
        for share in self._shares.values():  # constant time does not matter: 256 bits, once
            until = share.tickets.pop(ticket, None)
            if until is not None:
                if until >= time.monotonic():
                    return share
                share.lot.missed()
                return None
        return None

    def shares(self) -> list[Share]:
        """All of them."""
        return list(self._shares.values())

    async def keep_house(self) -> None:
        """Run until cancelled: expire shares and tickets, let quiet shares park fewer."""
        rounds = 0
        while True:
            await asyncio.sleep(HOUSEKEEPING_EVERY)
            rounds += 1
            for share in self.shares():
                share.drop_old_tickets(time.monotonic())
                if rounds % int(CALM_AFTER / HOUSEKEEPING_EVERY) == 0:
                    share.lot.calm()
                if share.ends_at <= time.time():
                    share.end("expired", "the share's time is over")
