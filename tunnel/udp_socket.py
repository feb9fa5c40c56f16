"""What UDP sockets here have in common: their kernel buffers, and what those had no room for."""

from __future__ import annotations

import socket
import struct

# Kernel buffer per socket (the kernel cuts it to net.core.rmem_max): some full-size datagrams.
BUFFER_BYTES = 1024 * 1024
_SO_MEMINFO = 55  # asm-generic/socket.h; not in Python's socket module
_MEMINFO = struct.Struct("@9I")  # linux/sock_diag.h: the last one is SK_MEMINFO_DROPS


def enlarge(sock: socket.socket) -> None:
    """Give `sock` the buffers that a burst wants."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)


def dropped_by_kernel(sock: socket.socket) -> int:
    """Datagrams that came while the buffer was full; 0 from a kernel that does not tell."""
    try:
        memory = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(memory)[-1])
    except (OSError, struct.error):
        return 0
