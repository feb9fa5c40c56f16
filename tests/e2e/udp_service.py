"""UDP on the shared machine: `python -m tests.e2e.udp_service HOST PORT` prints `ready`.

It sends back what comes, behind the port that it came from.
"""

from __future__ import annotations

import socket
import struct
import sys

HEADER = struct.Struct("!H")


def main(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.bind((host, port))
        print("ready", flush=True)
        while True:
            data, address = sock.recvfrom(65_536)
            sock.sendto(HEADER.pack(address[1]) + data, address)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
