"""Who a visitor is, from the node that it came to (PROXY protocol 2, section 2.2). Pure."""

from __future__ import annotations

import ipaddress
import struct

from tunnel.errors import RemoteProtocolError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HEADER = 16  # bytes before the addresses
MAX_REST = 512  # bytes of addresses and what may follow them; ours have 36 and nothing behind
_PROXY = 0x21  # version 2, on behalf of somebody
_TCP4, _TCP6 = 0x11, 0x21


def serialize(address: str, port: int) -> bytes:
    """The header for a visitor from `address`; the destination is said to be the same."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    family = _TCP4 if ip.version == 4 else _TCP6
    rest = ip.packed * 2 + struct.pack("!HH", port, 0)
    return SIGNATURE + struct.pack("!BBH", _PROXY, family, len(rest)) + rest


def parse_header(data: bytes) -> tuple[int, int]:
    """Family, and how many bytes follow the first HEADER ones. Raises RemoteProtocolError."""
    if len(data) != HEADER or not data.startswith(SIGNATURE):
        raise RemoteProtocolError("not a PROXY protocol header, version 2")
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    if command != _PROXY or family not in (_TCP4, _TCP6):
        raise RemoteProtocolError(f"a PROXY header of kind {command:#04x} {family:#04x}")
    if length > MAX_REST:
        raise RemoteProtocolError(f"a PROXY header with {length} bytes, more than {MAX_REST}")
    return family, length


def parse_address(family: int, rest: bytes) -> str:
    """The visitor's address in what follows. Raises RemoteProtocolError."""
    size = 4 if family == _TCP4 else 16
    if len(rest) < 2 * size + 4:
        raise RemoteProtocolError("a PROXY header that ends before its addresses do")
    ip = ipaddress.ip_address(rest[:size])
    return str(getattr(ip, "ipv4_mapped", None) or ip)
