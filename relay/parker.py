"""Takes parked connections from shares: TLS, ticket, end of TLS (docs/protocol.md 5)."""

from __future__ import annotations

import asyncio
import socket
import ssl

from relay.certificate_files import ShownIdentity
from relay.front import Visitor
from relay.limits import Admission
from relay.registry import LocalRegistry, Share
from tunnel.bio_tls import BioTls
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.parking import HEADER, PARK_ALPN, TICKET, Message, Type, parse_header, serialize
from tunnel.source import source_of

PARK_WITHIN = 10.0  # seconds for TLS, the ticket and the end of TLS


class Parker:
    """The relay's side of parking."""

    def __init__(self, registry: LocalRegistry, shown: ShownIdentity, admission: Admission) -> None:
        self._registry, self._shown, self._admission = registry, shown, admission

    async def park(self, visitor: Visitor) -> None:
        """Bring a connection from its ClientHello into a share's lot, where it is kept.

        The lot takes the socket's descriptor over. Raises LostError, RemoteProtocolError.
        """
        share: Share | None = None
        parked = False
        context = self._shown.current.context(PARK_ALPN)
        try:
            async with asyncio.timeout(PARK_WITHIN):
                tls = BioTls(visitor.sock, context, server_side=True)
                with self._admission.handshake(source_of(visitor.address)):
                    await tls.handshake()
                share = self._registry.park(await _receive_ticket(tls))
                if share is None:
                    text = b"the ticket is not valid any more"
                    await tls.send_all(serialize(Message(Type.NOT_PARKED, text)))
                    return
                loop = asyncio.get_running_loop()
                sent_at = loop.time()
                await tls.send_all(serialize(Message(Type.PARKED)))
                await tls.unwrap(first=True)  # our close_notify, then theirs: a round trip
                share.lot.note_round_trip(loop.time() - sent_at)
                parked = True
        except (ssl.SSLError, TimeoutError) as error:
            raise LostError(f"parking failed: {error}") from error
        finally:
            if share is not None and not parked:
                share.lot.missed()
        share.lot.add(socket.socket(fileno=visitor.sock.detach()), visitor.keep())


async def _receive_ticket(tls: BioTls) -> bytes:
    kind, length = parse_header(await tls.receive_exactly(HEADER))
    if kind is not Type.PARK or length != TICKET:
        raise RemoteProtocolError("a parked connection begins with PARK and a ticket")
    return await tls.receive_exactly(length)
