"""What a TLS ClientHello asks for: server name and ALPN (RFC 8446 4.1.2, 6066 3, 7301). Pure.

The relay and the share read it with MSG_PEEK, before TLS starts, to decide who answers
(docs/protocol.md 3 and 6). Every byte is a stranger's: whatever does not parse raises
RemoteProtocolError. Unknown extensions and values (GREASE, RFC 8701) are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tunnel.errors import RemoteProtocolError

MAX_HELLO = 16 * 1024  # bytes with record headers; post-quantum hellos are 2 kB
HANDSHAKE_RECORD = 22
RECORD_HEADER = 5
MAX_RECORDS = 64  # so that one-byte records cannot make every byte cost a whole parse
HANDSHAKE_HEADER = 4
MAX_RECORD = 1 << 14  # RFC 8446 5.1
CLIENT_HELLO = 1
RANDOM = 32
MAX_SESSION_ID = 32
EXTENSION_SERVER_NAME = 0
EXTENSION_ALPN = 16
HOST_NAME = 0
MAX_SERVER_NAME = 253  # RFC 1035 2.3.4, as text
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """`server_name` in lower case, None if none was sent; `alpn` in the client's order."""

    server_name: str | None
    alpn: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Incomplete:
    """More is to come: parse again with at least `needed` bytes, counted from the start."""

    needed: int


class _Reader:
    """Takes fields off the front of bytes; beyond the end it raises RemoteProtocolError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise RemoteProtocolError("a ClientHello's field ends beyond it")
        part = self.data[self.at : end]
        self.at = end
        return part

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> _Reader:
        return _Reader(self.take(self.integer(length_size)))

    def more(self) -> bool:
        return self.at < len(self.data)

    def end(self) -> None:
        if self.more():
            raise RemoteProtocolError("a ClientHello's field has bytes left over")


def is_handshake(data: bytes) -> bool:
    """Whether what begins with `data` (one byte or more) is TLS rather than HTTP."""
    return data[:1] == bytes([HANDSHAKE_RECORD])


def parse_client_hello(data: bytes) -> ClientHello | Incomplete:
    """The ClientHello at the start of `data`; bytes after its last record are ignored.

    Raises RemoteProtocolError for anything else, and when it is larger than MAX_HELLO.
    """
    message = b""
    at = 0
    for _ in range(MAX_RECORDS):
        if len(data) < at + RECORD_HEADER:
            if data[at : at + 1] not in (b"", bytes([HANDSHAKE_RECORD])):
                raise RemoteProtocolError("not a TLS handshake")
            return _incomplete(at + RECORD_HEADER)
        end = at + RECORD_HEADER + _record_length(data[at : at + RECORD_HEADER])
        needed = _incomplete(end)
        message += data[at + RECORD_HEADER : end]
        size = _message_size(message)
        if size is not None and len(message) >= size:
            return _parse_body(message[HANDSHAKE_HEADER:size])
        if len(data) < end:
            return needed
        at = end
    raise RemoteProtocolError(f"a ClientHello in more than {MAX_RECORDS} records")


def _incomplete(needed: int) -> Incomplete:
    if needed > MAX_HELLO:
        raise RemoteProtocolError(f"a ClientHello of more than {MAX_HELLO} bytes")
    return Incomplete(needed)


def _record_length(header: bytes) -> int:
    length = int.from_bytes(header[3:5], "big")
    if header[0] != HANDSHAKE_RECORD or header[1] != 3 or not 0 < length <= MAX_RECORD:
        raise RemoteProtocolError("not a TLS handshake")
    return length


def _message_size(message: bytes) -> int | None:
    if message and message[0] != CLIENT_HELLO:
        raise RemoteProtocolError("TLS begins with something else than a ClientHello")
    if len(message) < HANDSHAKE_HEADER:
        return None
    size = HANDSHAKE_HEADER + int.from_bytes(message[1:HANDSHAKE_HEADER], "big")
    if size > MAX_HELLO:
        raise RemoteProtocolError(f"a ClientHello of more than {MAX_HELLO} bytes")
    return size


def _parse_body(body: bytes) -> ClientHello:
    reader = _Reader(body)
    reader.take(2 + RANDOM)
    if len(reader.vector(1).data) > MAX_SESSION_ID:
        raise RemoteProtocolError("a ClientHello's session id is too long")
    reader.vector(2)  # cipher suites
    reader.vector(1)  # compression methods
    if not reader.more():
        return ClientHello(None, ())
    extensions = reader.vector(2)
    reader.end()
    return _parse_extensions(extensions)


def _parse_extensions(extensions: _Reader) -> ClientHello:
    server_name: str | None = None
    alpn: tuple[bytes, ...] = ()
    seen: set[int] = set()
    while extensions.more():
        kind, body = extensions.integer(2), extensions.vector(2)
        if kind in seen:
            raise RemoteProtocolError(f"a ClientHello has extension {kind} twice")
        seen.add(kind)
        if kind == EXTENSION_SERVER_NAME:
            server_name = _parse_server_name(body)
        elif kind == EXTENSION_ALPN:
            alpn = _parse_alpn(body)
    return ClientHello(server_name, alpn)


def _parse_server_name(body: _Reader) -> str | None:
    names = body.vector(2)
    body.end()
    host: str | None = None
    while names.more():
        kind, name = names.integer(1), names.vector(2).data
        if kind != HOST_NAME:
            continue
        if host is not None:
            raise RemoteProtocolError("a ClientHello names two hosts")
        host = name.decode("ascii", "replace").lower()
        if len(host) > MAX_SERVER_NAME or not _HOST.fullmatch(host):
            raise RemoteProtocolError("a ClientHello's server name is not a host name")
    return host


def _parse_alpn(body: _Reader) -> tuple[bytes, ...]:
    names = body.vector(2)
    body.end()
    found: list[bytes] = []
    while names.more():
        name = names.vector(1).data
        if not name:
            raise RemoteProtocolError("a ClientHello offers an empty protocol")
        found.append(name)
    return tuple(found)
