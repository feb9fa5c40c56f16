"""TLS inside a stream to a share: for a machine whose website speaks HTTPS itself."""

from __future__ import annotations

import ssl

from relay.streams import ByteStream, UpstreamStream
from tunnel.ends import Bytes
from tunnel.errors import LostError

READ = 256 * 1024  # bytes of plaintext taken at once


def machine_context() -> ssl.SSLContext:
    """Accepts any certificate: who answers is known by the way there, which is the share's own
    encrypted connection; development machines sign their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsStream(ByteStream):
    """TLS as a client over `stream`. `handshake` raises LostError and ssl.SSLError."""

    def __init__(self, stream: UpstreamStream, server_name: str) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = machine_context().wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name
        )

    async def handshake(self) -> None:
        """Complete the handshake."""
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                await self._feed()
        await self._flush()

    @property
    def is_quiet(self) -> bool:
        """See UpstreamStream. Session tickets may have come, which mean nothing."""
        return not self._stream.has_ended

    @property
    def received(self) -> int:
        """Bytes received so far, encrypted."""
        return self._stream.received

    async def receive_some(self) -> bytes:
        """See ByteStream."""
        while True:
            try:
                return self._tls.read(READ)
            except ssl.SSLWantReadError:
                await self._feed()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                raise LostError(f"TLS with the shared machine failed: {error}") from error

    async def send_all(self, data: Bytes) -> None:
        """See ByteStream."""
        if data:
            self._tls.write(data)
            await self._flush()

    def send_eof(self) -> None:
        """See ByteStream. TLS has no half-close that servers understand."""

    def abort(self) -> None:
        """See ByteStream."""
        self._stream.abort()

    async def _feed(self) -> None:
        data = await self._stream.receive_some()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._stream.send_all(data)
