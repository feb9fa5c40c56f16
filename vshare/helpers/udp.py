"""UDP for a machine that only SSH reaches; counterpart: vshare/udp_helper.py, which see.

Runs inside the machine on any Python 3, so it uses little and nothing new.
"""

import errno
import os
import select
import socket
import struct

FLOW_OPEN, DGRAM, REFUSED, CLOSE, READY = 1, 2, 3, 4, 5
HEAD = struct.Struct("!IBI")
MAX_FLOWS = 1024
CODES = {
    errno.ECONNREFUSED: 2,
    errno.EHOSTUNREACH: 4,
    errno.ENETUNREACH: 4,
    errno.ETIMEDOUT: 5,
}
IGNORED = (errno.EAGAIN, errno.EINTR, errno.EMSGSIZE, errno.ENOBUFS, errno.EPERM)

socks = {}  # type: dict[int, socket.socket]
flows = {}  # type: dict[int, int]  # by file descriptor
poll = select.poll()


def tell(kind: int, flow: int, payload: bytes = b"") -> None:
    """Write one frame to the sharer's side."""
    frame = memoryview(HEAD.pack(len(payload), kind, flow) + payload)
    while frame:
        frame = frame[os.write(1, frame) :]


def close(flow: int) -> None:
    """Forget a flow."""
    sock = socks.pop(flow, None)
    if sock is not None:
        poll.unregister(sock.fileno())
        del flows[sock.fileno()]
        sock.close()


def refuse(flow: int, code: int) -> None:
    """Say that nothing comes of a flow, and forget it."""
    close(flow)
    tell(REFUSED, flow, bytes([code]))


def open_flow(flow: int, host: str, port: int) -> None:
    """A connected socket, so that the kernel tells of ICMP port unreachable."""
    if len(socks) >= MAX_FLOWS or flow in socks:
        refuse(flow, 12)
        return
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    except (OSError, UnicodeError):
        refuse(flow, 6)
        return
    sock = socket.socket(found[0], socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.connect(found[4])
    except OSError as error:
        sock.close()
        refuse(flow, CODES.get(error.errno or 0, 14))
        return
    socks[flow] = sock
    flows[sock.fileno()] = flow
    poll.register(sock.fileno(), select.POLLIN)


def failed(flow: int, error: OSError) -> None:
    """Refuse the flow, unless only one datagram was meant."""
    if error.errno not in IGNORED:
        refuse(flow, CODES.get(error.errno or 0, 14))


def take(kind: int, flow: int, payload: bytes) -> None:
    """Do what one frame of the sharer's side says."""
    if kind == FLOW_OPEN:
        open_flow(flow, payload[2:].decode(), struct.unpack("!H", payload[:2])[0])
    elif kind == DGRAM and flow in socks:
        try:
            socks[flow].send(payload)
        except OSError as error:
            failed(flow, error)
    elif kind == CLOSE:
        close(flow)


def receive(descriptor: int) -> None:
    """Pass on what came for a flow, some at a time."""
    flow = flows[descriptor]
    for _ in range(32):
        if flow not in socks:
            return
        try:
            data = socks[flow].recv(65507)
        except OSError as error:
            failed(flow, error)
            return
        tell(DGRAM, flow, data)


def main() -> None:
    """Until the sharer's side closes our standard input."""
    poll.register(0, select.POLLIN)
    tell(READY, 0)
    pending = b""
    while True:
        for descriptor, _ in poll.poll():
            if descriptor in flows:
                receive(descriptor)
            elif descriptor == 0:
                data = os.read(0, 262144)
                if not data:
                    return
                pending += data
                start = 0
                while len(pending) - start >= HEAD.size:
                    size, kind, flow = HEAD.unpack_from(pending, start)
                    if len(pending) - start < HEAD.size + size:
                        break
                    start += HEAD.size + size
                    take(kind, flow, pending[start - size : start])
                pending = pending[start:]


main()
