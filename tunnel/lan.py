"""The local networks that this host is in: where the other side of a share may be a neighbour.

The kernel is asked for its addresses (rtnetlink(7), RTM_GETADDR). Only private ones count
(RFC 1918, RFC 4193), and none of the networks that exist inside this host for its VMs and
containers alone: nobody else is there but them.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_network
from pathlib import Path

Interface = IPv4Interface | IPv6Interface
Place = tuple[IPv4Address | IPv6Address, int]  # an address and a port
Networks = Callable[[], list[Interface]]

PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))
# What libvirt, VirtualBox, VMware, Docker, Podman, CNI, LXC, LXD and Incus call the networks that
# they make; Vagrant's are of the first three.
_OF_VMS = re.compile(
    r"(virbr|vboxnet|vmnet|docker|podman|cni|lxcbr|lxdbr|incusbr|vnet|veth)|br-[0-9a-f]{12}$"
)
_SYS = Path("/sys/class/net")
MAX_ADDRESSES = 8  # a host has one or two; each costs a listener, or an attempt
ON_LINK = 1  # hops: a router would take the last one away, so nothing leaves the network

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_DONE, _ERROR, _NEW_ADDRESS, _GET_ADDRESS = 3, 2, 20, 22
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_IFA_ADDRESS, _IFA_LOCAL = 1, 2  # on a point-to-point link the first one is the peer's
_NOT_YET = 0x48  # IFA_F_TENTATIVE | IFA_F_DADFAILED: cannot be bound
_ANSWER = 64 * 1024  # bytes of one part of a dump; the kernel sends 32 KiB at most
_TIMEOUT = 2.0  # seconds; the kernel answers before sendto(2) returns


def lan_interfaces() -> list[Interface]:
    """This host's addresses in local networks, at most MAX_ADDRESSES; nothing where the kernel
    does not tell."""
    try:
        found = _dump()
    except OSError:
        return []
    mine = []
    for index, interface in found:
        private = any(interface.ip in network for network in PRIVATE)
        if private and interface not in mine and not _is_of_vms(index):
            mine.append(interface)
    return mine[:MAX_ADDRESSES]


def no_networks() -> list[Interface]:
    """In place of `lan_interfaces` where nothing is to go directly."""
    return []


def is_near(place: Place, networks: list[Interface]) -> bool:
    """Whether `place` is in one of `networks`, so that no router is in between."""
    return any(place[0] in interface.network for interface in networks)


def serialize_place(place: Place) -> str:
    """`192.168.1.5:40123`, `[fd00::5]:40123`."""
    address, port = place
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def direct_socket(version: int) -> socket.socket:
    """A non-blocking TCP socket whose packets no router passes on; what it accepts is like it."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ON_LINK)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ON_LINK)
    return sock


def _is_of_vms(index: int) -> bool:
    try:
        name = socket.if_indextoname(index)
    except OSError:
        return True  # it has gone meanwhile
    return _OF_VMS.match(name) is not None or _is_bridge_of_taps(_SYS / name)


def _is_bridge_of_taps(device: Path) -> bool:
    """Whether a bridge, whatever its name, has VMs on it and nothing else (or nothing at all)."""
    ports = device / "brif"
    try:
        return ports.is_dir() and all(
            (device.parent / port.name / "tun_flags").exists() for port in ports.iterdir()
        )
    except OSError:
        return False


def _dump() -> list[tuple[int, Interface]]:
    """All addresses, each with its interface's index. Raises OSError."""
    request = _HEADER.pack(_HEADER.size + _ADDRESS.size, _GET_ADDRESS, _DUMP, 1, 0)
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    found: list[tuple[int, Interface]] = []
    with socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(_TIMEOUT)
        netlink.sendto(request + _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0), (0, 0))
        while not parse_addresses(netlink.recv(_ANSWER), found):
            pass
    return found


def parse_addresses(answer: bytes, found: list[tuple[int, Interface]]) -> bool:
    """Put the addresses of one part of a dump into `found`; whether it was the last part.

    Raises OSError when the kernel says no.
    """
    at = 0
    while at + _HEADER.size <= len(answer):
        length, kind, *_ = _HEADER.unpack_from(answer, at)
        body = answer[at + _HEADER.size : at + length]
        if kind == _DONE:
            return True
        if kind == _ERROR or length < _HEADER.size:
            raise OSError("the kernel does not tell its addresses")
        if kind == _NEW_ADDRESS:
            entry = _parse_entry(body)
            if entry is not None:
                found.append(entry)
        at += _aligned(length)
    return False


def _parse_entry(body: bytes) -> tuple[int, Interface] | None:
    family, prefix, flags, _, index = _ADDRESS.unpack_from(body)
    attributes: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        attributes[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(max(length, _ATTRIBUTE.size))
    packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    if flags & _NOT_YET:
        return None
    if family == socket.AF_INET and len(packed) == 4:
        return index, IPv4Interface((packed, prefix))
    if family == socket.AF_INET6 and len(packed) == 16:
        return index, IPv6Interface((packed, prefix))
    return None


def _aligned(length: int) -> int:
    return (length + 3) & ~3
