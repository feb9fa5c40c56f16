"""Sites whose browsers' TLS ends at the share, which alone has the key (docs/protocol.md 3.2).

The relay sees the name in the ClientHello, takes a parked connection, and moves ciphertext. Such a
share gives the gateway no certificate, so there is nothing here to look inside with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket

from relay.accounting import Kind
from relay.front import ACCESS_DENIED, INTERNAL_ERROR, QUOTA_SPENT, Visitor, refuse
from relay.limits import Admission
from relay.lot import LotClosedError, NoParkedError
from relay.registry import LocalRegistry, Share
from relay.routes import MAX_HEAD, host_of, maybe_head
from relay.source_buckets import SourceBuckets
from tunnel import splice
from tunnel.names import ShareName
from tunnel.parking import Paired
from tunnel.source import source_of

MAX_BROWSERS = 512  # connections to one share; a browser has 6, and guests have their own limit

_REDIRECT = (
    b"HTTP/1.1 308 Permanent Redirect\r\nLocation: %b\r\nCache-Control: no-store\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
_TARGET = re.compile(rb"[A-Z]{1,20} (/[!-~]*) HTTP/1\.[01]\r?\n")

log = logging.getLogger(__name__)


class BlindSites:
    """Answers the visitors of such shares. `misses` is spent by who asks for unknown names."""

    def __init__(
        self, registry: LocalRegistry, admission: Admission, misses: SourceBuckets, port: int
    ) -> None:
        self._registry, self._admission, self._misses = registry, admission, misses
        self._port = port  # of the https URLs

    async def maybe_serve(self, visitor: Visitor) -> bool:
        """Answer a site's visitor, if that is to be done here; False: it is the gateway's."""
        name = visitor.route.name
        if not name:
            return False
        if not visitor.route.tls:
            share = self._registry.get(name)  # while it is away, the gateway has a page
            if share is None or not self._registry.passes_through(name):
                return False
            if not self._may_ask(visitor, name):
                return False
            self._redirect(visitor)
            return True
        # A ClientHello alone tells whether the name is such a share's: so it is limited, too, and
        # in the same way whatever the name is.
        if not self._may_ask(visitor, name):
            refuse(visitor, ACCESS_DENIED)
            return True
        if not self._registry.passes_through(name):
            return False
        await self._pair(visitor, name)
        return True

    def _may_ask(self, visitor: Visitor, name: ShareName) -> bool:
        now, source = asyncio.get_running_loop().time(), source_of(visitor.address)
        if not self._misses.has(source, now):
            return False
        if visitor.route.tls and not (
            self._registry.is_site(name) or self._registry.is_site_gone(name)
        ):
            self._misses.take(source, now)
        return True

    async def _pair(self, visitor: Visitor, name: ShareName) -> None:
        share = self._registry.get(name)
        if share is None:
            await self._registry.expected.wait(name)
            share = self._registry.get(name)
        if share is None:  # away; a page could only be shown in the share's place
            refuse(visitor, INTERNAL_ERROR)
            return
        over = self._registry.quotas.refusal(share)
        if over or share.browsers >= min(MAX_BROWSERS, self._admission.budget.per_share):
            refuse(visitor, QUOTA_SPENT if over and over.today else ACCESS_DENIED)
            return
        share.browsers += 1
        try:
            parked = await self._maybe_parked(visitor, share)
            if parked is None:
                refuse(visitor, INTERNAL_ERROR)
                return
            visiting = self._registry.accounting.visit(share, Kind.HTTPS, visitor.address)
            with (
                self._admission.another(),
                self._registry.carrying(share, parked),
                visiting as visit,
                self._registry.quotas.carrying(share, visit.total, (visitor.sock, parked)),
            ):
                totals = await splice.splice_sockets(visitor.sock, parked, visit.measure)
            log.debug("%s for the site of %s: %s", visitor.address, name, totals)
        finally:
            share.browsers -= 1

    async def _maybe_parked(self, visitor: Visitor, share: Share) -> socket.socket | None:
        paired = Paired("browser", visitor.address)
        try:  # as a stranger: the last parked connections are for guests
            return await share.lot.take(paired, join=True)
        except LotClosedError:
            again = self._registry.get(share.name)
            if again in (share, None):
                return None
        except NoParkedError:
            return None
        try:  # it registered again: what it parks now is alive
            return await again.lot.take(paired, join=True) if again and again.passthrough else None
        except NoParkedError:
            return None

    def _redirect(self, visitor: Visitor) -> None:
        """Nothing is forwarded that could be read here: 308 to the same place with TLS."""
        head = maybe_head(visitor.sock.recv(MAX_HEAD, socket.MSG_PEEK)) or b""
        target = _TARGET.match(head)
        port = "" if self._port == 443 else f":{self._port}"
        place = f"https://{host_of(head)}{port}".encode() + (target[1] if target else b"/")
        sock = visitor.sock
        with contextlib.suppress(OSError):
            sock.recv(MAX_HEAD)  # what is unread would turn the close into a reset
            sock.send(_REDIRECT % place)
            sock.shutdown(socket.SHUT_WR)
        sock.close()
