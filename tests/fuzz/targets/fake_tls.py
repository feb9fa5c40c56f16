"""A TlsSocket without TLS and without a socket: the fuzzer is its peer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tunnel.ends import Bytes
from tunnel.errors import RemoteProtocolError
from tunnel.tls_socket import Receiver, TlsSocket

MAX_ANSWERS = 1 << 20  # bytes that one input may make us send


class FakeTls:
    """Keeps what is written. `deliver` hands plaintext on as TlsSocket does, pauses included."""

    def __init__(self, *, congested: bool = False) -> None:
        self.written = bytearray()
        self.congested = congested
        self.is_reading = True
        self.is_lost = False
        self.progress_at = 0.0
        self.error: Exception | None = None
        self.receiver: Receiver | None = None
        self.was_told = False

    @property
    def as_tls(self) -> TlsSocket:
        return cast(TlsSocket, self)

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver

    def write(self, head: bytes, data: Bytes = b"") -> None:
        if not self.is_lost:
            self.written += head
            self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        if not self.is_lost:
            self.is_reading = True

    def limit_unsent(self, size: int) -> None:
        """Nothing is in a kernel."""

    def close(self) -> None:
        self.lose(None)

    def abort(self, error: Exception | None = None) -> None:
        self.lose(error)

    def lose(self, error: Exception | None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.is_reading = False
            self.error = error
            if self.receiver is not None and not self.was_told:
                self.was_told = True
                self.receiver.connection_lost(error)

    def deliver(self, pieces: Iterable[bytes]) -> None:
        """Each piece in one call, until the connection is lost. Other errors pass."""
        for piece in pieces:
            if self.is_lost or self.receiver is None:
                return
            try:
                self.receiver.data_received(memoryview(piece))
            except RemoteProtocolError as error:
                self.lose(error)
