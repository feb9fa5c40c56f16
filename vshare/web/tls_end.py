"""TLS towards the shared machine's web server, where that speaks HTTPS itself."""

from __future__ import annotations

import asyncio
import functools
import ssl

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import RefusedError

HANDSHAKE_WITHIN = 10.0  # seconds
READ = 256 * 1024  # bytes of plaintext taken at once


@functools.cache  # making one costs more than a handshake
def machine_context() -> ssl.SSLContext:
    """Accepts any certificate, and what old machines speak (TLS 1.0, short keys): who answers is
    known by the way there, and development machines sign their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["http/1.1"])
    return context


class TlsEnd(End):
    """A client of the TLS server at the other side of `below`, which it takes over.

    `handshake` first; then it is linked as any end. The end of the server's stream is taken as
    such with or without a close_notify: servers leave it out, and HTTP has lengths.
    """

    def __init__(self, below: End, server_name: str) -> None:
        super().__init__()
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = machine_context().wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_name
        )
        self._server = _Server(self)
        self._shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_linked = self._has_ended = False
        self.done_with(below)

    async def handshake(self) -> None:
        """Raises RefusedError; the end below is reset then."""
        self._below.peer = self._server
        self._below.link(self._server)
        try:
            self._step()
            async with asyncio.timeout(HANDSHAKE_WITHIN):
                await self._shaken
        except (ssl.SSLError, TimeoutError) as error:
            self._below.reset(Code.CLOSED)
            why = getattr(error, "reason", None) or "no answer to the handshake"
            text = f"TLS with the machine failed: {str(why).lower().replace('_', ' ')}"
            raise RefusedError(Code.CONNECTION_RESET, text) from error
        except BaseException:
            self._below.reset(Code.CLOSED)
            raise
        self._below.pause_reading()

    def _step(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            self._shaken.set_result(None)
        finally:
            self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._below.send(data)

    # -- what the server says

    def received(self, data: Bytes) -> None:
        """Bytes from below."""
        self._incoming.write(data)
        if not self._shaken.done():
            try:
                self._step()
            except ssl.SSLError as error:
                self._shaken.set_exception(error)
            return
        self._deliver()

    def ended(self) -> None:
        """The end of the stream below."""
        self._incoming.write_eof()
        if not self._shaken.done():
            self._shaken.set_exception(ssl.SSLEOFError("the server hung up"))
            return
        self._deliver()

    def failed(self, code: Code) -> None:
        """The stream below was reset."""
        if not self._shaken.done():
            self._shaken.set_exception(ssl.SSLEOFError("the connection was reset"))
        elif self._is_linked:
            self.peer.reset(code)

    def _deliver(self) -> None:
        if not self._is_linked:
            return
        try:
            while not self._has_ended and (data := self._tls.read(READ)):
                self.peer.send(data)
            self._end()
        except ssl.SSLWantReadError:
            self._flush()  # an answer to a key update
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._end()
        except ssl.SSLError:
            self._below.reset(Code.PROTOCOL_ERROR)
            self.peer.reset(Code.PROTOCOL_ERROR)

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.peer.send_eof()

    # -- End

    def link(self, peer: End) -> None:
        """See End.link."""
        self.peer, self._is_linked = peer, True
        self._deliver()  # what came behind the handshake
        self._below.resume_reading()

    def send(self, data: Bytes) -> None:
        """See End.send."""
        if self._has_ended or not data:
            return
        self.bytes_sent += len(data)
        self._tls.write(data)
        self._flush()

    def send_eof(self) -> None:
        """See End.send_eof: as TLS servers understand no half-close, the stream ends when they
        have answered, or is reset by whoever opened it."""

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._below.reset(code)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._below.resume_reading()

    # -- for the end below

    def pause_sender(self) -> None:
        """Below takes no more."""
        self.peer.pause_reading()

    def resume_sender(self) -> None:
        """Below takes more."""
        self.peer.resume_reading()


class _Server(End):
    """The peer of the end below."""

    def __init__(self, tls: TlsEnd) -> None:
        super().__init__()
        self.peer = tls
        self._tls = tls

    def send(self, data: Bytes) -> None:
        """See End.send."""
        self._tls.received(data)

    def send_eof(self) -> None:
        """See End.send_eof."""
        self._tls.ended()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self._tls.failed(code)

    def pause_reading(self) -> None:
        """See End.pause_reading."""
        self._tls.pause_sender()

    def resume_reading(self) -> None:
        """See End.resume_reading."""
        self._tls.resume_sender()
