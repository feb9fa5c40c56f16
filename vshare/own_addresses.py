"""Whether an address is this host's own, as the kernel has it at this moment.

The kernel is asked for the route (rtnetlink(7), RTM_GETROUTE): what it would deliver to this
host itself is `local`. That also holds where bind(2) would mislead, since it takes any address
when net.ipv4.ip_nonlocal_bind is set, and for whole networks that are routed to the loopback.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv6Address

from vshare.neighbours import Address, unwrap

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, two lengths, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERRNO = struct.Struct("=i")
_ERROR, _NEW_ROUTE, _GET_ROUTE = 2, 24, 26
_REQUEST = 1
_DESTINATION, _INTERFACE = 1, 4
_LOCAL, _ANYCAST = 2, 4  # of an IPv6 router, subnet anycast is delivered to itself too
# A destination that the kernel sends nothing to. Other errors tell nothing, and are raised.
_NO_ROUTE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES))
_MAX_ANSWER = 8192  # bytes; one route is a few hundred
_TIMEOUT = 2.0  # seconds; the kernel answers before sendto(2) returns


def is_own(address: Address) -> bool:
    """Whether what is sent to `address` stays on this host. Raises OSError if that cannot be told.

    An IPv4 address inside an IPv6 one is looked at as itself. A link-local address without
    a zone is own if it is on any interface.
    """
    address = unwrap(address)
    if address.is_loopback or address.is_unspecified:
        return True  # whatever state `lo` is in
    zone = address.scope_id if isinstance(address, IPv6Address) else None
    return _route_type(address, _interface(zone) if zone else 0) in (_LOCAL, _ANYCAST)


def _interface(zone: str) -> int:
    """The index of an interface that is named by its index or its name (RFC 4007 11.2)."""
    return int(zone) if zone.isdigit() else socket.if_nametoindex(zone)


def _route_type(address: Address, interface: int) -> int:
    """The type of the route to `address` (linux/rtnetlink.h, RTN_*); 0: there is none."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += _attribute(_DESTINATION, address.packed)
    if interface:
        body += _attribute(_INTERFACE, struct.pack("=I", interface))
    request = _HEADER.pack(_HEADER.size + len(body), _GET_ROUTE, _REQUEST, 1, 0) + body
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(_TIMEOUT)
        netlink.sendto(request, (0, 0))
        return _parse_answer(netlink.recv(_MAX_ANSWER))


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value  # all are whole words


def _parse_answer(answer: bytes) -> int:
    kind = _HEADER.unpack_from(answer)[1]
    if kind == _NEW_ROUTE:
        return int(_ROUTE.unpack_from(answer, _HEADER.size)[7])
    number = -_ERRNO.unpack_from(answer, _HEADER.size)[0] if kind == _ERROR else errno.EPROTO
    if number in _NO_ROUTE:
        return 0
    raise OSError(number, os.strerror(number))
