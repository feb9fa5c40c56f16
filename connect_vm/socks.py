"""The messages of SOCKS version 5 (RFC 1928), seen from the server. Pure.

The counterpart is any SOCKS client: curl, a browser, PySocks. `Handshake` says how many
bytes it wants next and never wants more than belong to SOCKS, so that whoever reads for it
leaves the client's own first bytes where they are, in the socket.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import NoReturn

from tunnel.codes import Code
from tunnel.errors import RemoteProtocolError

VERSION = 5
SOCKS4_VERSION = 4
NO_AUTHENTICATION = 0
NO_ACCEPTABLE_METHODS = 0xFF

# The greeting's VER and NMETHODS; the request up to the first byte of its address, which is
# the length where the address is a name.
_GREETING_HEAD = 2
_REQUEST_HEAD = 5
_PORT = 2
_IPV4, _IPV6 = 4, 16
_UDP_HEAD = 4  # RSV, FRAG, ATYP (section 7)


class Command(enum.IntEnum):
    """CMD of a request (RFC 1928 4)."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class AddressType(enum.IntEnum):
    """ATYP (RFC 1928 5)."""

    IPV4 = 1
    DOMAINNAME = 3
    IPV6 = 4


class Reply(enum.IntEnum):
    """REP of a reply (RFC 1928 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


_REPLY_BY_CODE = {
    Code.NOT_ALLOWED: Reply.NOT_ALLOWED,
    Code.LOST: Reply.NETWORK_UNREACHABLE,
    Code.HOST_UNREACHABLE: Reply.HOST_UNREACHABLE,
    Code.UNKNOWN_HOST: Reply.HOST_UNREACHABLE,
    Code.CONNECTION_REFUSED: Reply.CONNECTION_REFUSED,
    # Clients that name it say "TTL expired, or the connection timed out".
    Code.TIMED_OUT: Reply.TTL_EXPIRED,
    Code.UNSUPPORTED: Reply.COMMAND_NOT_SUPPORTED,
}

# RFC 1928 has no version 4; its own memo (SOCKS 4, Lee): VN 0, CD 91 "request rejected".
_SOCKS4_REJECTED = bytes((0, 0x5B)) + bytes(6)
_HTTP_TEXT = (
    b"Probably not a SOCKS request but a regular HTTP request: this is a SOCKS5 address.\n"
    b"Give it to the program as its SOCKS5 proxy, such as curl --socks5-hostname.\n"
)
_HTTP_REJECTED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_HTTP_TEXT), _HTTP_TEXT)
)
_PRINTABLE = re.compile(rb"[!-~]+")


@dataclass(frozen=True, slots=True)
class Request:
    """What the client asks for; `host` is a name or an IP address, never empty."""

    command: Command
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UdpHeader:
    """The head of a datagram (RFC 1928 7): where to, and how many bytes the head has."""

    host: str
    port: int
    size: int


def reply_for_code(code: Code) -> Reply:
    """REP for the reason that the share gave; whatever SOCKS has no word for is a failure."""
    return _REPLY_BY_CODE.get(code, Reply.GENERAL_FAILURE)


def serialize_reply(reply: Reply, host: str = "0.0.0.0", port: int = 0) -> bytes:
    """A reply (RFC 1928 6); `host` is BND.ADDR, an IP address: zeros where it means nothing."""
    return bytes((VERSION, reply, 0)) + serialize_address(host, port)


def serialize_address(host: str, port: int) -> bytes:
    """ATYP, address and port. `host`: an IP address, or an ASCII name of 1 to 255 bytes."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return struct.pack(f">BB{len(name)}sH", AddressType.DOMAINNAME, len(name), name, port)
    kind = AddressType.IPV4 if address.version == 4 else AddressType.IPV6
    return bytes((kind,)) + address.packed + port.to_bytes(_PORT)


def parse_udp_header(datagram: bytes) -> UdpHeader:
    """The head of a client's datagram. Raises RemoteProtocolError; fragments are refused."""
    if len(datagram) <= _UDP_HEAD:
        raise RemoteProtocolError(f"a datagram of {len(datagram)} bytes has no SOCKS header")
    if datagram[2]:
        raise RemoteProtocolError("a fragmented SOCKS datagram (RFC 1928 7: may be dropped)")
    start = _UDP_HEAD + (datagram[3] == AddressType.DOMAINNAME)
    end = start + _address_size(datagram[3], datagram[_UDP_HEAD])
    if len(datagram) < end + _PORT:
        raise RemoteProtocolError("a SOCKS datagram ends inside its header")
    host = _parse_host(datagram[3], datagram[start:end])
    return UdpHeader(host, int.from_bytes(datagram[end : end + _PORT]), end + _PORT)


def _address_size(kind: int, first: int) -> int:
    """Bytes of an address of type `kind` whose first byte is `first`. Raises for unknown types."""
    if kind == AddressType.IPV4:
        return _IPV4
    if kind == AddressType.IPV6:
        return _IPV6
    if kind == AddressType.DOMAINNAME:
        return first
    raise RemoteProtocolError(f"unknown SOCKS address type {kind}", Code.UNSUPPORTED)


def _parse_host(kind: int, raw: bytes) -> str:
    """The address as text. An empty name is refused: to the tunnel it would mean the machine."""
    if kind != AddressType.DOMAINNAME:
        return str(ipaddress.ip_address(raw))
    # Names that are not ASCII come as IDNA from every client that was tried.
    if not _PRINTABLE.fullmatch(raw):
        raise RemoteProtocolError(f"not a host name: {raw!r}", Code.UNKNOWN_HOST)
    return raw.decode("ascii")


class State(enum.Enum):
    """What comes next from the client."""

    GREETING_HEAD = enum.auto()
    METHODS = enum.auto()
    REQUEST_HEAD = enum.auto()
    ADDRESS = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()

    __hash__ = object.__hash__  # they are compared by identity; Enum hashes the name, in Python


class Handshake:
    """A client's greeting and request. Feed `receive_data`; send what `data_to_send` gives.

    Done when `request` is set; the reply to it is the caller's. Bytes behind the request are
    kept in `trailing` (none, when no more than `bytes_wanted` are fed at a time).
    """

    def __init__(self) -> None:
        self.request: Request | None = None
        self.state = State.GREETING_HEAD
        self._wanted = _GREETING_HEAD
        self._input = bytearray()
        self._output = bytearray()
        self._head = b""

    @property
    def bytes_wanted(self) -> int:
        """How many bytes are missing for the next step: 0 when done or failed."""
        return max(0, self._wanted - len(self._input)) if self.state in _STEPS else 0

    @property
    def trailing(self) -> bytes:
        """What was fed beyond the request."""
        return bytes(self._input) if self.state is State.DONE else b""

    def data_to_send(self) -> bytes:
        """What the client is to be sent now, also after an error; empties the buffer."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take `data`, in pieces of any size.

        Raises RemoteProtocolError when this is not a SOCKS5 request that is served; then
        `data_to_send` holds the answer, after which the connection is to be closed.
        """
        self._input += data
        while (step := _STEPS.get(self.state)) and len(self._input) >= self._next_size():
            piece = bytes(self._input[: self._wanted])
            del self._input[: self._wanted]
            step(self, piece)

    def _next_size(self) -> int:
        """How many bytes the next step takes; one is enough to know another protocol."""
        if self.state is State.GREETING_HEAD and self._input and self._input[0] != VERSION:
            return 1
        return self._wanted

    def _enter(self, state: State, wanted: int) -> None:
        self.state = state
        self._wanted = wanted

    def _fail(self, answer: bytes, text: str, code: Code = Code.PROTOCOL_ERROR) -> NoReturn:
        self._output += answer
        self._enter(State.FAILED, 0)
        raise RemoteProtocolError(text, code)

    def _receive_greeting_head(self, head: bytes) -> None:
        if head[0] == SOCKS4_VERSION:
            self._fail(_SOCKS4_REJECTED, "a SOCKS4 request; this is a SOCKS5 address")
        if head[:1].isalpha():
            self._fail(_HTTP_REJECTED, "probably not a SOCKS request but a regular HTTP request")
        if head[0] != VERSION:
            self._fail(b"", f"not a SOCKS request: version {head[0]}, expected {VERSION}")
        if not head[1]:
            self._refuse_methods(b"")
        self._enter(State.METHODS, head[1])

    def _receive_methods(self, methods: bytes) -> None:
        if NO_AUTHENTICATION not in methods:
            self._refuse_methods(methods)
        self._output += bytes((VERSION, NO_AUTHENTICATION))
        self._enter(State.REQUEST_HEAD, _REQUEST_HEAD)

    def _refuse_methods(self, methods: bytes) -> NoReturn:
        answer = bytes((VERSION, NO_ACCEPTABLE_METHODS))
        self._fail(answer, f"the client offers authentication {list(methods)}, expected none (0)")

    def _receive_request_head(self, head: bytes) -> None:
        version, command, _, kind, first = head
        if version != VERSION:
            self._fail_reply(Reply.GENERAL_FAILURE, f"a request of SOCKS version {version}")
        if command not in (Command.CONNECT, Command.UDP_ASSOCIATE):
            text = f"SOCKS command {command} is not served"
            self._fail_reply(Reply.COMMAND_NOT_SUPPORTED, text, Code.UNSUPPORTED)
        try:
            size = _address_size(kind, first)
        except RemoteProtocolError as error:
            self._fail_reply(Reply.ADDRESS_TYPE_NOT_SUPPORTED, error.text, error.code)
        self._head = head
        # A name's first byte is its length, already here; an address's is its own first.
        self._enter(State.ADDRESS, size + _PORT - (kind != AddressType.DOMAINNAME))

    def _receive_address(self, rest: bytes) -> None:
        _, command, _, kind, first = self._head
        raw = rest[:-_PORT]
        if kind != AddressType.DOMAINNAME:
            raw = bytes((first,)) + raw
        try:
            host = _parse_host(kind, raw)
        except RemoteProtocolError as error:
            self._fail_reply(reply_for_code(error.code), error.text, error.code)
        self.request = Request(Command(command), host, int.from_bytes(rest[-_PORT:]))
        self._enter(State.DONE, 0)

    def _fail_reply(self, reply: Reply, text: str, code: Code = Code.PROTOCOL_ERROR) -> NoReturn:
        self._fail(serialize_reply(reply), text, code)


_STEPS = {
    State.GREETING_HEAD: Handshake._receive_greeting_head,
    State.METHODS: Handshake._receive_methods,
    State.REQUEST_HEAD: Handshake._receive_request_head,
    State.ADDRESS: Handshake._receive_address,
}
