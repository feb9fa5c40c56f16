"""TLS on a non-blocking socket that is wanted back as plain TCP afterwards.

asyncio's TLS transports do not give the socket back; parking needs that (docs/protocol.md 5).
Meant for a few short messages, not for bulk.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from tunnel.errors import LostError

RECEIVE = 16 * 1024  # bytes per read: one TLS record


class BioTls:
    """One TLS session over `sock`, which stays the caller's to close.

    Every method raises LostError when the connection ends and ssl.SSLError when TLS fails.
    Deadlines are the caller's (asyncio.timeout). Not for concurrent use.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._sock = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )

    async def handshake(self) -> None:
        """Complete the handshake; tell the peer with an alert when it fails."""
        try:
            while True:
                try:
                    self._tls.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._feed()
        finally:
            await self._flush()

    @property
    def peer_certificate(self) -> bytes:
        """The peer's certificate, DER; empty if it showed none."""
        return self._tls.getpeercert(binary_form=True) or b""

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed on."""
        return self._tls.selected_alpn_protocol()

    async def send_all(self, data: bytes) -> None:
        """Send `data`."""
        self._tls.write(data)
        await self._flush()

    async def receive_exactly(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        data = bytearray()
        while len(data) < size:
            try:
                part = self._tls.read(size - len(data))
            except ssl.SSLWantReadError:
                await self._feed()
                continue
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                raise LostError("the other side ended TLS in the middle of a message")
            data += part
        return bytes(data)

    async def unwrap(self, *, first: bool) -> None:
        """End TLS, wait for the peer's close_notify: `sock` is plain TCP from here on.

        `first`: our close_notify goes out before theirs is awaited; else after it came, so
        that the peer can be sure that nothing of TLS follows ours.
        """
        if not first:
            await self._await_close_notify()
        while True:
            try:
                self._tls.unwrap()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
        await self._flush()
        if self._incoming.pending:
            raise LostError("the other side went on to speak after it ended TLS")

    async def _await_close_notify(self) -> None:
        while True:
            try:
                if not self._tls.read(1):
                    return
                raise LostError("the other side sent data where the end of TLS was due")
            except ssl.SSLZeroReturnError:
                return
            except ssl.SSLWantReadError:
                await self._feed()

    async def _feed(self) -> None:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, RECEIVE)
        except OSError as error:
            raise LostError(f"the connection was lost: {error.strerror or error}") from error
        if not data:
            raise LostError("the other side closed the connection during TLS")
        self._incoming.write(data)

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if not data:
            return
        try:
            await asyncio.get_running_loop().sock_sendall(self._sock, data)
        except OSError as error:
            raise LostError(f"the connection was lost: {error.strerror or error}") from error
