"""The shares that are connected to this relay, and the tickets given to them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from relay.accounting import Accounting, How
from relay.accounts.bans import Ban
from relay.accounts.holders import Holders
from relay.accounts.quotas import Quotas
from relay.carried import Carried
from relay.expected import Expected
from relay.lot import CALM_AFTER, Lot
from relay.names import NameBook
from tunnel.control import Ended, FromRelay, Notice, Publish, Tickets
from tunnel.names import ShareName
from tunnel.parking import TICKET, TICKET_LASTS

MAX_SHARES = 10_000  # per relay: each costs a control channel and 4 parked connections
HOUSEKEEPING_EVERY = 5.0  # seconds
RECOVER_EVERY = 30.0  # seconds between tries to write a name book that could not be written
CUT_AFTER = 10.0  # seconds in which a share whose token is void may say goodbye to its guests
FORGET_NAMES_EVERY = 3600.0  # seconds; names are held for days
# What a session that is ended with a code (docs/protocol.md 4) is accounted for as.
_HOW = {
    "closed": How.FAULT,
    "evicted": How.MOVED,
    "expired": How.EXPIRED,
    "operator": How.KICKED,
    "page": How.PAGE,
    "token": How.REVOKED,
}


class Deliverer(Protocol):
    """What brings a share its messages."""

    def deliver(self, message: FromRelay) -> None:
        """Send it; a share that does not read is ended."""

    def hang_up(self) -> None:
        """The session is over, for both."""


class Share:
    """One registered share: its session, its parked connections, what it publishes.

    `route` is where its guests find it. `ask(share, count)` is called when that many more parked
    connections are wanted. `passthrough`: browsers' TLS ends at the share. `token`: the ID of the
    one that it showed; empty: none; `holders`: whose limits it counts for. `address`: where it
    comes from. `notices`: it takes them.
    """

    __slots__ = (
        "_line", "_over", "address", "before", "browsers", "ends_at", "holders", "how", "http",
        "is_over", "key_hash", "lot", "name", "notices", "passthrough", "published", "route",
        "token", "visitors",
    )  # fmt: skip

    def __init__(
        self,
        name: ShareName,
        key_hash: bytes,
        http: bool,
        ends_at: float,
        ask: Callable[[Share, int], None],
        route: str,
        line: Deliverer,
        *,
        passthrough: bool = False,
        token: str = "",
        holders: Holders = (),
        address: str = "",
        notices: bool = False,
    ) -> None:
        self.holders, self.address, self.notices = holders, address, notices
        self.name, self.key_hash, self.http = name, key_hash, http
        self.route = route
        self.ends_at = ends_at  # seconds since the epoch
        self._line = line
        self.published: Publish | None = None
        self.passthrough, self.token = passthrough, token
        self.before: Share | None = None  # this share's session under the name that it gives up
        self.visitors = 0
        self.browsers = 0  # whose TLS is passed through; they are not among the visitors
        self.lot = Lot(lambda count: ask(self, count))
        self.is_over = False
        self.how = How.LOST  # it ended, once it has
        self._over: asyncio.Event | None = None

    @property
    def over(self) -> asyncio.Event:
        """Set when the session is over; made when somebody wants to wait for it."""
        if self._over is None:
            self._over = asyncio.Event()
            if self.is_over:
                self._over.set()
        return self._over

    def send(self, message: FromRelay) -> None:
        """Tell the share something, while its session lasts."""
        if not self.is_over:
            self._line.deliver(message)

    def notify(self, code: str, text: str) -> None:
        """Tell the sharer something that changes nothing for the share."""
        if self.notices:
            self.send(Notice(code, text))

    def end(self, code: str, text: str) -> None:
        """Say why and end the session."""
        self.send(Ended(code, text))
        self.finish(_HOW.get(code, How.KICKED))

    def finish(self, how: How = How.LOST) -> None:
        """End the session."""
        if not self.is_over:
            self.is_over, self.how = True, how
            if self._over is not None:
                self._over.set()
            self._line.hang_up()

    def close(self) -> None:
        """Free what it holds; streams that are paired already go on."""
        self.lot.close()


class LocalRegistry:
    """The registry of a single relay."""

    def __init__(
        self,
        names: NameBook,
        max_shares: int = MAX_SHARES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._names, self.max_shares = names, max_shares
        self.accounting = Accounting()
        self.quotas = Quotas()
        self._clock = clock  # seconds since the epoch: a lease ends while its owner sleeps, too
        self._shares: dict[ShareName, Share] = {}
        self.on_change: Callable[[ShareName], None] = lambda name: None  # a share came or went
        self._by_route: dict[str, Share] = {}
        self.is_handed_over = False
        self.expected = Expected()  # by their names, with what they publish, and by their routes
        self._by_token: dict[str, set[Share]] = {}  # by its ID; no empty sets
        self._carried_by_token = Carried()  # by its ID, too
        self._carried_by_name = Carried()
        self._void: dict[str, float] = {}  # tokens, and since when they are seen to be
        # ticket -> whose it is, and the monotonic time of its end; in the order of those times
        self._tickets: dict[bytes, tuple[Share, float]] = {}

    def __len__(self) -> int:
        return len(self._shares)

    def get(self, name: ShareName) -> Share | None:
        """The connected share of that name, while its lease lasts."""
        return self._unless_over(self._shares.get(name))

    def get_by_route(self, route: str) -> Share | None:
        """The connected share with that route, while its lease lasts."""
        return self._unless_over(self._by_route.get(route))

    def _unless_over(self, share: Share | None) -> Share | None:
        return share if share is not None and share.ends_at > self._clock() else None

    def sole(self) -> Share | None:
        """The share of a relay that takes but one."""
        return next(iter(self._shares.values()), None)

    def is_away(self, name: ShareName) -> bool:
        """Whether a share of that name is not connected, but may come back: its lease lasts."""
        return name not in self._shares and self._names.is_leased(name, self._clock())

    def is_site_away(self, name: ShareName) -> bool:
        """Whether `is_away`, of a share that has a public URL."""
        return self.is_away(name) and self._names.has_http(name)

    def is_site(self, name: ShareName) -> bool:
        """Whether there is a share of that name with a public URL, connected or away."""
        share = self.get(name)
        return share.http if share is not None else self.is_site_away(name)

    def is_site_gone(self, name: ShareName) -> bool:
        """Whether a public URL was there until lately. That is known of it: it was public."""
        return self._names.is_gone(name, self._clock())

    def passes_through(self, name: ShareName) -> bool:
        """Whether that is a site, and browsers' TLS is not to end here: also while it is away."""
        share = self.get(name)
        if share is not None:
            return share.http and share.passthrough
        return self.is_site_away(name) and self._names.has_passthrough(name)

    def is_route_away(self, route: str) -> bool:
        """Whether the share with that route is not connected, but may come back."""
        return route not in self._by_route and self._names.is_route_leased(route, self._clock())

    def add(self, share: Share, *, moved: bool = False) -> bool:
        """Register `share`; the same key's earlier session is evicted. False: full.

        `moved`: what carries its visitors so far is dead, and they are to be told.

        One that has the route of another is that one with another name, and takes its place.
        """
        earlier = self._shares.get(share.name)
        before = self._by_route.get(share.route)
        is_renamed = before is not None and before.name != share.name
        if earlier is None and len(self._shares) - is_renamed >= self.max_shares:
            return False
        if is_renamed:
            share.before = before
        if earlier is not None:
            is_same = earlier.key_hash == share.key_hash  # else its name is taken from it by right
            text = (
                "the same share connected again" if is_same else "its name is somebody else's now"
            )
            earlier.end("evicted", text)
            self.remove(earlier)
        self._shares[share.name] = share
        self.expected.comes(share.name)
        self.on_change(share.name)
        if share.route:
            self._by_route[share.route] = share
            self.expected.came(share.route)
        if share.token:
            self._by_token.setdefault(share.token, set()).add(share)
        if moved:
            self._carried_by_name.cut(share.name)
        self.quotas.share_began(share)
        self.accounting.share_began(share)
        return True

    def hand_over(self) -> None:
        """Another process registers shares from now on."""
        self.is_handed_over = True
        self._names.hand_over()

    def remove(self, share: Share) -> None:
        """`share`'s session is over."""
        if self._shares.get(share.name) is share:
            after = self._by_route.get(share.route)
            is_renamed = after is not None and after.before is share
            self.accounting.share_ended(share, How.RENAMED if is_renamed else share.how)
            self.quotas.share_ended(share)
            del self._shares[share.name]
            self.on_change(share.name)
            self._forget_token(share)
        if self._by_route.get(share.route) is share:
            del self._by_route[share.route]
            before = share.before
            if before is not None and self._shares.get(before.name) is before:  # as it was
                self._by_route[share.route] = before
        share.before = None
        share.close()

    def _forget_token(self, share: Share) -> None:
        shares = self._by_token.get(share.token, set())
        shares.discard(share)
        if not shares:
            self._by_token.pop(share.token, None)

    def shares_of(self, token: str) -> frozenset[Share]:
        """Those that are connected with the token of that ID."""
        return frozenset(self._by_token.get(token, ()))

    def end_without(self, is_good: Callable[[str], bool]) -> None:
        """End the shares whose token (its ID) is not good any more, and CUT_AFTER also the streams
        that they have not ended. To be called again and again."""
        now = time.monotonic()
        known = self._by_token.keys() | self._carried_by_token.keys()
        self._void = {t: self._void.get(t, now) for t in known if not is_good(t)}
        for token, since in self._void.items():
            for share in self.shares_of(token):
                share.end("token", "its token was revoked, or the token's time is over")
            if now - since >= CUT_AFTER:
                self._carried_by_token.cut(token)

    def end_banned(self, ban_of: Callable[[Share], Ban | None]) -> None:
        """End the shares that `ban_of` knows a ban of, their leases, and what they carry."""
        for share in self.shares():
            ban = ban_of(share)
            if ban is not None:
                share.end("banned", ban.sentence)
                self._names.end_lease(share.name, self._clock())
                self._carried_by_name.cut(share.name)

    @contextlib.contextmanager
    def carrying(self, share: Share, parked: socket.socket) -> Iterator[None]:
        """While the block runs, `parked` carries a visitor; cut when the share's token is void, and
        when the share has moved."""
        with (
            self._carried_by_token.carrying(share.token, parked),
            self._carried_by_name.carrying(share.name, parked),
        ):
            yield

    def extend(self, share: Share, ends_at: float) -> None:
        """Let `share`'s lease end at `ends_at`, sooner or later than before."""
        share.ends_at = ends_at
        self._names.extend(share.name, share.key_hash, ends_at)

    def expire(self) -> None:
        """End the sessions of shares whose time is over."""
        for share in self.shares():
            if share.ends_at <= self._clock():
                share.end("expired", "the share's time is over")

    def give_tickets(self, share: Share, count: int) -> None:
        """Send `share` fresh tickets, for as many parked connections."""
        until = time.monotonic() + TICKET_LASTS
        fresh = [secrets.token_bytes(TICKET) for _ in range(count)]
        self._tickets.update(dict.fromkeys(fresh, (share, until)))
        share.send(Tickets(fresh))

    def park(self, ticket: bytes) -> Share | None:
        """The share that `ticket` was given to, while it is connected; a ticket is good once."""
        share, until = self._tickets.pop(ticket, (None, 0.0))
        if share is None or self._shares.get(share.name) is not share:
            return None
        if until < time.monotonic():
            share.lot.missed()
            return None
        return share

    def drop_old_tickets(self, now: float) -> None:
        """Forget tickets that are over: what was to come with them will not."""
        while self._tickets:
            ticket, (share, until) = next(iter(self._tickets.items()))
            if until >= now:
                return
            del self._tickets[ticket]
            share.lot.missed()

    def shares(self) -> list[Share]:
        """All of them."""
        return list(self._shares.values())

    def round_trips(self) -> dict[ShareName, list[float]]:
        """The last round trips to each connected share, in seconds."""
        trips = {name: list(share.lot.round_trips) for name, share in self._shares.items()}
        return {name: each for name, each in trips.items() if each}

    async def keep_house(self) -> None:
        """Run until cancelled: expire names, shares, tickets, let quiet shares park fewer."""
        rounds = 0
        while True:
            if rounds % int(FORGET_NAMES_EVERY / HOUSEKEEPING_EVERY) == 0:
                self._names.forget_old(self._clock())
            await asyncio.sleep(HOUSEKEEPING_EVERY)
            rounds += 1
            if rounds % int(RECOVER_EVERY / HOUSEKEEPING_EVERY) == 0:
                self._names.recover()
            self.drop_old_tickets(time.monotonic())
            for share in self.shares():
                share.lot.fill()
                if rounds % int(CALM_AFTER / HOUSEKEEPING_EVERY) == 0:
                    share.lot.calm()
            self.expire()
