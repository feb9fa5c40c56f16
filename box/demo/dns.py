"""A DNS server for two names, over UDP and TCP. Source: RFC 1035."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

ADDRESSES = {"demo.test": "192.0.2.80", "www.demo.test": "192.0.2.81"}  # RFC 5737's
TTL = 60  # seconds
TYPE_A, CLASS_IN = 1, 1
NAME_ERROR = 3
FLAGS_ANSWER = 0x8400  # a response, authoritative
FLAGS_ECHOED = 0x0100  # "recursion desired" comes back as it was
IDLE = 10  # seconds a TCP connection may be silent


def answer(query: bytes) -> bytes:
    """The response to a query. Raises ValueError when it is none."""
    try:
        number, flags, questions = struct.unpack_from(">3H", query)
        name, end = _name(query, 12)
        kind, dns_class = struct.unpack_from(">2H", query, end)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError("not a DNS query") from error
    if flags & 0x8000 or questions != 1:
        raise ValueError("not a DNS query with one question")
    address = ADDRESSES.get(name.lower())
    record = b""
    if address and (kind, dns_class) == (TYPE_A, CLASS_IN):
        record = struct.pack(">3HIH", 0xC00C, TYPE_A, CLASS_IN, TTL, 4) + socket.inet_aton(address)
    code = 0 if address else NAME_ERROR
    head = (number, FLAGS_ANSWER | flags & FLAGS_ECHOED | code, 1, 1 if record else 0, 0, 0)
    return struct.pack(">6H", *head) + query[12 : end + 4] + record


def serve_udp(receiver: socket.socket) -> None:
    """Answer datagrams."""
    while True:
        query, peer = receiver.recvfrom(65535)
        with contextlib.suppress(ValueError, OSError):
            receiver.sendto(answer(query), peer)


def serve_tcp(listener: socket.socket) -> None:
    """Answer connections; each may ask several times."""
    listener.listen()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as reader:
        connection.settimeout(IDLE)
        with contextlib.suppress(ValueError, OSError, struct.error):
            while True:
                (size,) = struct.unpack(">H", reader.read(2))
                response = answer(reader.read(size))
                connection.sendall(struct.pack(">H", len(response)) + response)


def _name(data: bytes, offset: int) -> tuple[str, int]:
    labels: list[str] = []
    while size := data[offset]:
        if size > 63:  # a pointer has nothing to point to in a question
            raise IndexError
        labels.append(data[offset + 1 : offset + 1 + size].decode("ascii"))
        offset += 1 + size
    return ".".join(labels), offset + 1
