"""The HTTP gateway: brings browsers' requests to shares (docs/protocol.md 3).

It ends the browser's connection, and for what it forwards it is a guest of the share with
the right to open its HTTP ports. Every request is routed, not the connection's first;
a stream to a share carries one visitor's requests and no other's.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from relay.certificate import ServerIdentity
from relay.certificate_files import ShownIdentity
from relay.exchange import Conversation
from relay.front import Visitor
from relay.http_ledger import HttpLedger
from relay.http_rules import Origin
from relay.registry import LocalRegistry
from relay.routes import HTTP_1_1, Sites
from relay.source_buckets import SourceBuckets
from relay.streams import VisitorStream
from relay.upstreams import Upstreams
from tunnel.errors import LostError

HANDSHAKE_WITHIN = 5.0  # seconds
MISSES = 60  # requests of one source for names that nothing is shared under, at once
MISS_REFILL_SECONDS = 1.0  # for one more: a person who mistypes gets nowhere near it
LINGER = 1.0  # seconds that a visitor may go on sending after the last answer

log = logging.getLogger(__name__)


class Gateway:
    """Serves the visitors that the front gives it. `run` must be running."""

    def __init__(
        self,
        registry: LocalRegistry,
        key: EllipticCurvePrivateKey,
        sites: Sites,
        shown: ShownIdentity,
        own_identity: Callable[[str], ServerIdentity | None] = lambda host: None,
    ) -> None:
        self._registry = registry
        self._upstreams = Upstreams(registry, key)
        self._sites, self._shown = sites, shown
        self._own_identity = own_identity  # of an own domain that has one
        self.misses = SourceBuckets(MISSES, MISS_REFILL_SECONDS)
        self._conversations: set[Conversation] = set()
        self._is_retired = False

    async def run(self) -> None:
        """Run until cancelled; then the connections to shares end."""
        await self._upstreams.run()

    def retire(self, *, at_once: bool) -> None:
        """Let each visitor make one more request, and say with the answer that it is the last;
        `at_once`: only those whose request is under way."""
        self._is_retired = True
        for conversation in list(self._conversations):
            conversation.retire(at_once=at_once)

    async def serve(self, visitor: Visitor) -> None:
        """One visitor's connection, to its end."""
        loop = asyncio.get_running_loop()
        tls = self._context(visitor.route.server_name) if visitor.route.tls else None
        stream = VisitorStream()
        stream.sock = visitor.sock
        try:
            await loop.connect_accepted_socket(
                lambda: stream,
                visitor.sock,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_WITHIN if tls else None,
            )
        except (OSError, ssl.SSLError) as error:
            raise LostError(f"TLS with a visitor failed: {error}") from error
        origin = Origin(visitor.address, visitor.route.tls, visitor.route.server_name)
        conversation = Conversation(
            stream,
            origin,
            self._upstreams,
            self._sites,
            self.misses,
            ledger=self._maybe_ledger(visitor.address),
        )
        self._conversations.add(conversation)
        if self._is_retired:
            conversation.retire(at_once=False)
        try:
            await conversation.run()
            await _linger(stream)
        except LostError as error:
            log.debug("%s: %s", visitor.address, error.text)
        finally:
            self._conversations.discard(conversation)
            conversation.close()
            stream.abort()

    def _maybe_ledger(self, source: str) -> HttpLedger | None:
        """None: nobody wants to know."""
        accounting = self._registry.accounting
        return HttpLedger(self._registry, accounting, source) if accounting.sinks else None

    def _context(self, server_name: str | None) -> ssl.SSLContext:
        own = self._own_identity(server_name or "")
        return (own or self._shown.current).context(HTTP_1_1)


async def _linger(stream: VisitorStream) -> None:
    """Close so that the last answer arrives although the visitor is still sending.

    Closing with unread bytes sends a reset, which can overtake the answer (RFC 9112 9.6).
    """
    stream.send_eof()
    try:
        async with asyncio.timeout(LINGER):
            while await stream.receive_some():
                pass
    except (TimeoutError, LostError):
        pass
