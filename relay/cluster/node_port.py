"""Visitors on their way from one node to another (docs/protocol.md 4.3).

Mutual TLS, one PROXY header (relay/cluster/proxy_header.py), then the end of TLS: raw TCP remains,
for the kernel to splice. What a visitor sends has its own TLS, or came in the clear as it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Mapping

from relay.cluster import proxy_header
from relay.cluster.records import NodeInfo
from relay.cluster.trust import ALPN, ClusterTrust, host_of
from relay.front import Answer, Front
from relay.limits import Admission
from relay.routes import Answerer, Sites
from tunnel.bio_tls import BioTls
from tunnel.dialler import dial, tune
from tunnel.errors import LostError, RemoteProtocolError, VshareError
from tunnel.source import source_of

DIAL_WITHIN = 2.0  # seconds for TCP: nodes are near each other
ENTER_WITHIN = 5.0  # seconds for TLS, the header and the end of TLS
ANSWER_WITHIN = 1.4  # seconds for a question to a node; who needs longer does not count
ASK = b"vshare-status/1\n"  # in place of a header: can you reach Redis?
YES, NO = b"\1", b"\0"

log = logging.getLogger(__name__)


class NodePort(Front):
    """Where a node takes the visitors that came to others; they are answered by `answers`, as if
    they had come here. `has_store` says whether this node reaches Redis."""

    def __init__(
        self,
        listener: socket.socket,
        admission: Admission,
        sites: Sites,
        answers: Mapping[Answerer, Answer],
        is_banned: Callable[[str], bool],
        *,
        trust: ClusterTrust,
        has_store: Callable[[], bool],
    ) -> None:
        super().__init__(listener, admission, sites, answers, is_banned)
        self._context, self._has_store = trust.server_context(), has_store

    async def _serve(self, sock: socket.socket, address: str, source: str) -> None:
        """A connection of a node's, as from a visitor once it is known whose it is."""
        visitor = None
        try:
            tune(sock)
            async with asyncio.timeout(ENTER_WITHIN):
                visitor = await self._enter(sock)
        except (VshareError, OSError, TimeoutError) as error:  # ssl's are OSErrors
            log.info("a connection to the port for nodes came to nothing: %s", error)
        except Exception:
            log.exception("a connection from %s to the port for nodes failed: a bug", address)
        finally:
            self._admission.decided(source)
            self._admission.leave(source)
            if visitor is None:
                sock.close()
        if visitor is None:
            return
        theirs = source_of(visitor)
        if self._is_banned(visitor) or not self._admission.enter(theirs):
            sock.close()
            return
        await super()._serve(sock, visitor, theirs)

    async def _enter(self, sock: socket.socket) -> str | None:
        """The visitor's address, once `sock` is plain TCP; None: a node had a question."""
        tls = BioTls(sock, self._context, server_side=True)
        await tls.handshake()
        if tls.alpn != ALPN:
            raise RemoteProtocolError("a node that speaks something else")
        first = await tls.receive_exactly(proxy_header.HEADER)
        if first == ASK:
            await tls.send_all(YES if self._has_store() else NO)
            return None
        family, length = proxy_header.parse_header(first)
        address = proxy_header.parse_address(family, await tls.receive_exactly(length))
        await tls.unwrap(first=False)
        return address


class NodeDialler:
    """What goes from this node to others."""

    def __init__(self, trust: ClusterTrust) -> None:
        self._context = trust.client_context()

    async def carry(self, node: NodeInfo, address: str, port: int) -> socket.socket:
        """A connection to `node` on behalf of a visitor, plain TCP, the caller's to close. Raises
        VshareError."""
        sock = await dial(node.host, node.port, DIAL_WITHIN)
        try:
            async with asyncio.timeout(ENTER_WITHIN):
                tls = await self._handshake(sock, node)
                await tls.send_all(proxy_header.serialize(address, port))
                await tls.unwrap(first=True)
        except BaseException as error:
            sock.close()
            if isinstance(error, ssl.SSLError | OSError | TimeoutError):
                raise LostError(f"node {node.id} does not answer: {error}") from error
            raise
        return sock

    async def has_store(self, node: NodeInfo) -> bool | None:
        """Whether `node` reaches Redis; None: it cannot be asked."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                with await dial(node.host, node.port, DIAL_WITHIN) as sock:
                    tls = await self._handshake(sock, node)
                    await tls.send_all(ASK)
                    return await tls.receive_exactly(len(YES)) == YES
        except (VshareError, OSError, TimeoutError) as error:
            log.debug("node %s cannot be asked: %s", node.id, error)
            return None

    async def _handshake(self, sock: socket.socket, node: NodeInfo) -> BioTls:
        tls = BioTls(sock, self._context, server_hostname=host_of(node.id))
        await tls.handshake()
        return tls
