"""Certificates of an authority for own domains, one for each: got, kept, renewed (RFC 8555).

An authority limits orders and failures of an account (Let's Encrypt: 300 orders in 3 hours, 5
failures an hour for one name). So there is one order at a time, of domains alone that are proven,
each fails less and less often, and together they are bounded well below what an authority allows.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

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
        self._wake = asyncio.Event()
        self.on_change: Callable[[OwnDomain], None] = lambda host: None

    def want(self, host: OwnDomain) -> None:
        """See relay.own_domains.desk.Shown."""
        if host in self._wanted or self._certify is None or self.is_covered(host):
            return
        wanted = self._failed.pop(host, None) or _Wanted()
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
        while True:
            self._wake.clear()
            host, at = self._next(loop.time())
            if host is not None and at <= loop.time():
                await self._order(host)
                continue
            try:
                async with asyncio.timeout_at(min(at, loop.time() + LOOK_EVERY)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _next(self, now: float) -> tuple[OwnDomain | None, float]:
        """Which is to be asked for next, and when (loop time)."""
        today = datetime.datetime.now(datetime.UTC)
        due = [
            (each.not_before, host)
            for host, each in self._wanted.items()
            if each.identity is None or _is_due(each.identity, today)
        ]
        if not due:
            return None, now + LOOK_EVERY
        at, host = min(due, key=lambda each: each[0])  # who came first
        if len(self._orders) == MAX_ORDERS:
            at = max(at, self._orders[0] + HOUR)
        return host, at

    async def _order(self, host: OwnDomain) -> None:
        wanted = self._wanted[host]
        self._orders.append(asyncio.get_running_loop().time())
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

    def _path(self, host: OwnDomain) -> Path | None:
        """Letters, digits, dots and hyphens, as check_host has it; no dot begins it."""
        return self._folder / f"{host}.pem" if self._folder is not None else None


def _is_due(identity: ServerIdentity, now: datetime.datetime) -> bool:
    """A third of its time is left, or less."""
    return now >= identity.ends - (identity.ends - identity.begins) / 3
