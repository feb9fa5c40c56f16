"""Services on the loopback, which the static IP leads to. Prints `ready`, serves until killed."""

from __future__ import annotations

import hashlib
import socket
import struct
import threading
from collections.abc import Callable

ECHO, SINK, SOURCE, RESET, GREET = 5001, 5002, 5003, 5004, 5006
UDP_ECHO = 5005
CLOSED = 5009
LOOPBACK = "127.0.0.1"
PIECE = 256 * 1024


def pattern(size: int) -> bytes:
    """`size` bytes that do not repeat within a pipe or a window."""
    block = b"".join(hashlib.sha256(struct.pack("!I", n)).digest() for n in range(PIECE // 32))
    return (block * (size // len(block) + 1))[:size]


def echo(sock: socket.socket) -> None:
    while data := sock.recv(PIECE):
        sock.sendall(data)


def sink(sock: socket.socket) -> None:
    """All until the end of stream; then, in the other direction, its digest."""
    digest = hashlib.sha256()
    while data := sock.recv(PIECE):
        digest.update(data)
    sock.sendall(digest.hexdigest().encode())


def source(sock: socket.socket) -> None:
    (size,) = struct.unpack("!Q", sock.recv(8, socket.MSG_WAITALL))
    sock.sendall(pattern(size))


def reset(sock: socket.socket) -> None:
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def greet(sock: socket.socket) -> None:
    sock.sendall(b"220 hello\r\n")
    sock.recv(1)


def _one(service: Callable[[socket.socket], None], sock: socket.socket) -> None:
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            service(sock)
        except OSError:
            return


def _serve(listener: socket.socket, service: Callable[[socket.socket], None]) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_one, args=(service, sock), daemon=True).start()


def main() -> None:
    for port, service in (
        (ECHO, echo),
        (SINK, sink),
        (SOURCE, source),
        (RESET, reset),
        (GREET, greet),
    ):
        listener = socket.create_server((LOOPBACK, port), backlog=256)
        threading.Thread(target=_serve, args=(listener, service), daemon=True).start()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((LOOPBACK, UDP_ECHO))
    print("ready", flush=True)
    while True:
        data, address = datagrams.recvfrom(65_535)
        datagrams.sendto(data, address)


if __name__ == "__main__":
    main()
