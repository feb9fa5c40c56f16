"""Echo over TCP and UDP. Source: RFC 862."""

from __future__ import annotations

import contextlib
import socket
import threading

READ_SIZE = 256 << 10  # bytes
BACKLOG = 128  # connections that wait to be accepted


def serve_tcp(listener: socket.socket) -> None:
    """Send back what each connection sends; after its end of stream, end ours."""
    listener.listen(BACKLOG)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def serve_udp(receiver: socket.socket) -> None:
    """Send back each datagram."""
    while True:
        data, peer = receiver.recvfrom(65535)
        with contextlib.suppress(OSError):
            receiver.sendto(data, peer)


def _echo(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(READ_SIZE))
    with connection, contextlib.suppress(OSError):
        while size := connection.recv_into(buffer):
            connection.sendall(buffer[:size])
        connection.shutdown(socket.SHUT_WR)
