"""Certificates of an authority for own domains, one for each: got, kept, renewed (RFC 8555).

An authority limits orders and failures of an account (Let's Encrypt: 300 orders in 3 hours, 5
failures an hour for one name). So there is one order at a time, of domains alone that are proven,
each fails less and less often, and together they are bounded well below what an authority allows.
Of that each account of the relay's has a share, so that one leaves room for the others.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from relay.accounts.holders import whose
from relay.acme import write_private
from relay.certificate import ServerIdentity, read_identity
from relay.certificate_files import dates, fault_of_dates
from tunnel.errors import VshareError
from tunnel.own_domains import OwnDomain

FIRST_PAUSE = 120.0  # seconds after a failure: its address record was made a moment ago
LONGEST_PAUSE = 12 * 3600.0
GROWS = 4  # each pause is so many times the one before: 4 failures in the first hour
MAX_ORDERS = 40  # in an hour, of all domains: the relay's own needs the account as well
HOUR = 3600.0  # seconds
# Of one account in a day, failures and renewals among them: a token's domains, and a thirtieth of
# what all have together. A renewal can wait: it has a month.
MAX_OF_ONE = 32
DAY = 86_400.0  # seconds
FORGET_AFTER = 30 * DAY  # files of domains that nobody has proven for so long
HOUSE_EVERY = 6 * HOUR  # between looks at those files: their times say when they were of use
LOOK_EVERY = 600.0  # seconds between looks at which are due: clocks are set, hosts sleep
MAX_FAILED = 4_096  # domains whose failures are remembered when nobody has them any more
NO_AUTHORITY = "the relay has no authority that would sign one (--acme)"

log = logging.getLogger(__name__)

Certify = Callable[[list[str]], Awaitable[bytes]]


@dataclass(slots=True)
class _Wanted:
    """One domain's. Times are the loop's, seconds."""

    identity: ServerIdentity | None = None
    fault: str = "it is being asked for"
    not_before: float = 0.0  # no try before that
    pause: float = FIRST_PAUSE
    payer: str = ""  # whom an order counts for; empty: nobody
    is_refused: bool = False  # for now, since its payer has ordered so many


class OwnCertificates:
    """`run` must be running. They are kept in `folder`; `certify` gets one (None: nobody does).
    None is needed where `is_covered(host)`: what all sites are shown is good there.

    `on_change(host)` is called when there is another, or none for another reason.
    """

    def __init__(
        self,
        folder: Path | None,
        certify: Certify | None,
        is_covered: Callable[[str], bool] = lambda host: False,
    ) -> None:
        self._folder, self._certify = folder, certify
        self.is_covered = is_covered
        self._wanted: dict[OwnDomain, _Wanted] = {}
        self._failed: dict[OwnDomain, _Wanted] = {}  # dropped since: their pauses still count
        self._orders: deque[float] = deque(maxlen=MAX_ORDERS)  # when the last ones were
        self._of_one: dict[str, deque[float]] = {}  # the same, by payer; none older than a day
        self._wake = asyncio.Event()
        self.on_change: Callable[[OwnDomain], None] = lambda host: None

    def want(self, host: OwnDomain, payer: str) -> None:
        """See relay.own_domains.desk.Shown."""
        if self._certify is None or self.is_covered(host):
            return
        if host in self._wanted:
            self._wanted[host].payer = payer or self._wanted[host].payer
            return
        wanted = self._failed.pop(host, None) or _Wanted()
        wanted.payer = payer
        self._wanted[host] = wanted
        path = self._path(host)
        if wanted.identity is None and path is not None and path.exists():
            try:
                identity = read_identity(path, None)
            except VshareError as error:
                log.warning("%s; another is asked for", error.text)
            else:
                if not identity.lacks([host]) and not fault_of_dates(identity):
                    wanted.identity = identity
        self._wake.set()

    def drop(self, host: OwnDomain) -> None:
        """See relay.own_domains.desk.Shown."""
        wanted = self._wanted.pop(host, None)
        if wanted is not None and wanted.not_before:
            self._failed[host] = wanted
            if len(self._failed) > MAX_FAILED:
                self._failed.pop(next(iter(self._failed)))

    def identity(self, host: str) -> ServerIdentity | None:
        """See relay.own_domains.desk.Shown."""
        wanted = self._wanted.get(OwnDomain(host))
        return wanted.identity if wanted is not None else None

    def fault(self, host: str) -> str:
        """See relay.own_domains.desk.Shown."""
        if self._certify is None:
            return NO_AUTHORITY
        wanted = self._wanted.get(OwnDomain(host))
        return wanted.fault if wanted is not None else ""

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        house_at = loop.time() + HOUSE_EVERY  # until then shares are back that were there before
        while True:
            self._wake.clear()
            if loop.time() >= house_at:
                await self._keep_house()
                house_at = loop.time() + HOUSE_EVERY
            self._tell_who_waits(loop.time())
            host, at = self._next(loop.time())
            if host is not None and at <= loop.time():
                await self._order(host)
                continue
            try:
                async with asyncio.timeout_at(min(at, house_at, loop.time() + LOOK_EVERY)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _next(self, now: float) -> tuple[OwnDomain | None, float]:
        """Which is to be asked for next, and when (loop time)."""
        today = datetime.datetime.now(datetime.UTC)
        due = [
            (max(each.not_before, self._free_at(each.payer)), host)
            for host, each in self._wanted.items()
            if each.identity is None or _is_due(each.identity, today)
        ]
        if not due:
            return None, now + LOOK_EVERY
        at, host = min(due, key=lambda each: each[0])  # who came first
        if len(self._orders) == MAX_ORDERS:
            at = max(at, self._orders[0] + HOUR)
        return host, at

    def _free_at(self, payer: str) -> float:
        """From when on (loop time) one more may be ordered for that one."""
        orders = self._of_one.get(payer)
        return orders[0] + DAY if orders and len(orders) >= MAX_OF_ONE else 0.0

    def _tell_who_waits(self, now: float) -> None:
        """Why some have none yet."""
        for host, each in list(self._wanted.items()):
            free_at = self._free_at(each.payer)
            if each.identity is None and free_at > now and not each.is_refused:
                each.is_refused = True
                when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(time.time() + free_at - now))
                each.fault = (
                    f"{MAX_OF_ONE} certificates were asked for in a day for {whose(each.payer)},"
                    f" and no more are until {when} UTC"
                )
                log.info("no certificate for %s yet: %s", host, each.fault)
                self.on_change(host)

    def _has_ordered(self, payer: str, now: float) -> None:
        self._orders.append(now)
        if payer:
            self._of_one.setdefault(payer, deque(maxlen=MAX_OF_ONE)).append(now)
        for each, orders in list(self._of_one.items()):
            while orders and orders[0] + DAY <= now:
                orders.popleft()
            if not orders:
                del self._of_one[each]

    async def _order(self, host: OwnDomain) -> None:
        wanted = self._wanted[host]
        wanted.is_refused = False
        self._has_ordered(wanted.payer, asyncio.get_running_loop().time())
        try:
            identity = await self._get(host)
        except VshareError as error:
            wanted.fault = error.text
            wanted.not_before = asyncio.get_running_loop().time() + wanted.pause
            log.warning("%s: %s. Tried again in %d minutes", host, error.text, wanted.pause / 60)
            wanted.pause = min(wanted.pause * GROWS, LONGEST_PAUSE)
        else:
            wanted.identity, wanted.fault = identity, ""
            wanted.not_before, wanted.pause = 0.0, FIRST_PAUSE
            log.info("browsers at %s get the authority's certificate (%s)", host, dates(identity))
        self.on_change(host)

    async def _get(self, host: OwnDomain) -> ServerIdentity:
        """A fresh one, kept. Raises VshareError."""
        if self._certify is None:
            raise VshareError(NO_AUTHORITY)
        pem = await self._certify([host])
        try:
            identity = ServerIdentity(pem, pem)
            identity.context()
        except (ValueError, OSError) as error:  # ssl.SSLError is an OSError
            raise VshareError(f"what the authority sent is no certificate: {error}") from error
        if identity.lacks([host]) or fault_of_dates(identity):
            raise VshareError(f"the authority's certificate is not for {host}, or not for now")
        path = self._path(host)
        if path is not None:
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_private(path, pem)
            except OSError as error:  # asking again would not help
                log.warning("the certificate cannot be kept in %s: %s", path, error.strerror)
        return identity

    async def _keep_house(self) -> None:
        """Delete the files of domains that nobody has proven for long."""
        if self._folder is None:
            return
        try:
            used = [self._folder / f"{host}.pem" for host in self._wanted]
            old = await asyncio.to_thread(_look_through, self._folder, used, time.time())
            for path in old:
                if (
                    OwnDomain(path.name.partition(".pem")[0]) not in self._wanted
                ):  # it was, just now
                    path.unlink(missing_ok=True)
                    log.info("nobody has proven %s for long: its certificate is deleted", path.stem)
        except OSError as error:
            log.warning("certificates in %s cannot be looked at: %s", self._folder, error.strerror)

    def _path(self, host: OwnDomain) -> Path | None:
        """Letters, digits, dots and hyphens, as check_host has it; no dot begins it."""
        return self._folder / f"{host}.pem" if self._folder is not None else None


def _is_due(identity: ServerIdentity, now: datetime.datetime) -> bool:
    """A third of its time is left, or less."""
    return now >= identity.ends - (identity.ends - identity.begins) / 3


def _look_through(folder: Path, used: Collection[Path], now: float) -> list[Path]:
    """The files that have not been of `used` for FORGET_AFTER, as their times say, which this sets.

    Also what a write that was cut short left behind. Raises OSError.
    """
    for path in used:
        try:
            os.utime(path, (now, now))
        except FileNotFoundError:  # there is none yet
            pass
    if not folder.is_dir():
        return []
    with os.scandir(folder) as found:
        return [
            Path(each.path)
            for each in found
            if ".pem" in each.name
            and each.is_file(follow_symlinks=False)
            and now - each.stat(follow_symlinks=False).st_mtime >= FORGET_AFTER
        ]
