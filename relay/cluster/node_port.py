"""Visitors on their way from one node to another (docs/protocol.md 4.3).

Mutual TLS, one PROXY header (relay/cluster/proxy_header.py), then the end of TLS: raw TCP remains,
for the kernel to splice. What a visitor sends has its own TLS, or came in the clear as it is.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping

from relay.cluster import proxy_header, questions
from relay.cluster.questions import Questions
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
ANSWER_WITHIN = 3.0  # seconds for a question to a node, all in all, unless told otherwise

log = logging.getLogger(__name__)


class NodePort(Front):
    """Where a node takes the visitors that came to others; they are answered by `answers`, as if
    they had come here. What they ask is answered by `asked`."""

    def __init__(
        self,
        listener: socket.socket,
        admission: Admission,
        sites: Sites,
        answers: Mapping[Answerer, Answer],
        is_banned: Callable[[str], bool],
        *,
        trust: ClusterTrust,
        asked: Questions,
    ) -> None:
        super().__init__(listener, admission, sites, answers, is_banned)
        self._context, self._asked = trust.server_context(), asked

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
        if first == questions.ASK:
            await self._asked.serve(tls)
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

    async def ask(
        self, node: NodeInfo, topic: str, question: bytes, within: float = ANSWER_WITHIN
    ) -> bytes:
        """What `node` answers (see Questions) in so many seconds. Raises VshareError."""
        try:
            async with asyncio.timeout(within):
                with await dial(node.host, node.port, DIAL_WITHIN) as sock:
                    tls = await self._handshake(sock, node)
                    return await questions.ask(tls, topic, question)
        except (OSError, TimeoutError) as error:  # ssl's are OSErrors
            raise LostError(f"node {node.id} does not answer: {error or 'in time'}") from error

    async def ask_all(
        self, nodes: Iterable[NodeInfo], topic: str, question: bytes, within: float = ANSWER_WITHIN
    ) -> list[tuple[NodeInfo, bytes | None]]:
        """What each of `nodes` answers, asked all at once; None: nothing."""
        answers: list[tuple[NodeInfo, bytes | None]] = []

        async def ask(node: NodeInfo) -> None:
            try:
                answers.append((node, await self.ask(node, topic, question, within)))
            except VshareError as error:
                log.info("%s", error.text)
                answers.append((node, None))

        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(ask(node), name=f"ask {node.id}")
        return answers

    async def _handshake(self, sock: socket.socket, node: NodeInfo) -> BioTls:
        tls = BioTls(sock, self._context, server_hostname=host_of(node.id))
        await tls.handshake()
        return tls
