"""nfnetlink_queue in pure Python: held packets out of the kernel, verdicts back into it.

Numbers from linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_queue.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from .wire import TCP, Header

_NETLINK_NETFILTER = 12
_NLMSG_ERROR = 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_SUBSYS_QUEUE = 3
_MSG_PACKET, _MSG_VERDICT, _MSG_CONFIG = 0, 1, 2

_CFG_CMD, _CFG_PARAMS, _CFG_QUEUE_MAXLEN = 1, 2, 3
_CMD_BIND, _COPY_PACKET = 1, 2
_ATTR_PACKET_HDR, _ATTR_VERDICT_HDR, _ATTR_MARK, _ATTR_PAYLOAD = 1, 2, 3, 10

DROP, ACCEPT = 0, 1  # linux/netfilter.h

COPY_RANGE = 128  # bytes of each packet: an IPv4 and a TCP header at their longest are 120
MAX_HELD = 1_024  # packets the kernel holds; beyond it drops them, and SYNs are sent again
_RECEIVE_BUFFER = 1 << 20
_READ = 65_536
_NLMSG = struct.Struct("=IHHII")
_NFGEN = struct.Struct("!BBH")
_ATTR = struct.Struct("=HH")


class Held(NamedTuple):
    """A packet the kernel holds: its number, and the 4-tuple it asks for."""

    number: int
    header: Header


def attribute(kind: int, data: bytes) -> bytes:
    """One netlink attribute, padded to 4 bytes."""
    return _ATTR.pack(_ATTR.size + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; a broken tail is left out."""
    found = {}
    while len(data) >= _ATTR.size:
        length, kind = _ATTR.unpack_from(data)
        if not _ATTR.size <= length <= len(data):
            break
        found[kind & 0x3FFF] = data[_ATTR.size : length]  # less NLA_F_NESTED, NET_BYTEORDER
        data = data[(length + 3) & ~3 :]
    return found


def parse_packet(packet: bytes) -> Header | None:
    """The 4-tuple of an IPv4 TCP packet (RFC 791 3.1, RFC 9293 3.1), or None."""
    if len(packet) < 24 or packet[0] >> 4 != 4 or packet[9] != TCP:
        return None
    start = (packet[0] & 15) * 4
    if start < 20 or len(packet) < start + 4:
        return None
    sport, dport = struct.unpack_from("!HH", packet, start)
    return Header(TCP, packet[16:20], dport, packet[12:16], sport)


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each netlink message in one read."""
    while len(data) >= _NLMSG.size:
        length, kind, _flags, _sequence, _port = _NLMSG.unpack_from(data)
        if not _NLMSG.size <= length <= len(data):
            return
        yield kind, data[_NLMSG.size : length]
        data = data[(length + 3) & ~3 :]


class PacketQueue:
    """One nfnetlink_queue. Raises OSError when the kernel has none, or is not ours to ask."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._sock.bind((0, 0))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._configure(_CFG_CMD, struct.pack("!BxH", _CMD_BIND, socket.AF_INET))
        self._configure(_CFG_PARAMS, struct.pack("!IB", COPY_RANGE, _COPY_PACKET))
        self._configure(_CFG_QUEUE_MAXLEN, struct.pack("!I", MAX_HELD))
        self._sock.setblocking(False)

    def fileno(self) -> int:
        """For the loop."""
        return self._sock.fileno()

    def receive(self) -> Iterator[Held]:
        """Every packet that waits. One that makes no sense is dropped in the kernel."""
        while True:
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # packets were lost: their SYNs come again
                    raise
                continue
            for kind, body in messages(data):
                if kind == _SUBSYS_QUEUE << 8 | _MSG_PACKET:
                    yield from self._held(attributes(body[_NFGEN.size :]))

    def verdict(self, number: int, verdict: int, mark: int) -> None:
        """Let a held packet go, or drop it. `mark` is what nft's next chains see."""
        body = attribute(_ATTR_VERDICT_HDR, struct.pack("!II", verdict, number))
        self._send(
            _MSG_VERDICT, _NLM_F_REQUEST, body + attribute(_ATTR_MARK, struct.pack("!I", mark))
        )

    def close(self) -> None:
        """Give the queue up: the kernel drops what it holds."""
        self._sock.close()

    def _held(self, found: dict[int, bytes]) -> Iterator[Held]:
        head = found.get(_ATTR_PACKET_HDR, b"")
        if len(head) < 4:
            return
        (number,) = struct.unpack_from("!I", head)
        header = parse_packet(found.get(_ATTR_PAYLOAD, b""))
        if header is None:
            self.verdict(number, DROP, 0)
        else:
            yield Held(number, header)

    def _configure(self, kind: int, data: bytes) -> None:
        self._send(_MSG_CONFIG, _NLM_F_REQUEST | _NLM_F_ACK, attribute(kind, data))
        for answer, body in messages(self._sock.recv(_READ)):
            if answer == _NLMSG_ERROR:
                (number,) = struct.unpack_from("=i", body)
                if number:
                    raise OSError(-number, os.strerror(-number))

    def _send(self, message: int, flags: int, attributes: bytes) -> None:
        body = _NFGEN.pack(socket.AF_UNSPEC, 0, self._number) + attributes
        kind = _SUBSYS_QUEUE << 8 | message
        self._sock.send(_NLMSG.pack(_NLMSG.size + len(body), kind, flags, 0, 0) + body)
