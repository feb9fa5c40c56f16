"""A user of the shared machine's UDP echo (udp_service.py), on the guest's host.

`python -m tests.e2e.udp_client sizes|refused HOST PORT` raises on a wrong answer; `talk` sends
one small datagram after the other for ever on one socket, and prints what came of each as JSON.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from tests.e2e.udp_service import HEADER

SIZES = (0, 1, 1400, 1472, 1473, 9_000, 60_000)  # IPv4 fragments from 1473 on
LARGEST = 65_507
WAIT = 5.0  # seconds; a datagram may be lost where machines are emulated
TRIES = 3
EVERY = 0.05  # seconds between the datagrams of `talk`


def opened(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.settimeout(WAIT)
    sock.connect((host, port))
    return sock


def ask(sock: socket.socket, payload: bytes) -> bytes:
    """The answer; asked again where it is lost."""
    for _ in range(TRIES):
        sock.send(payload)
        try:
            answer = sock.recv(LARGEST + 1)
        except TimeoutError:
            continue
        return answer
    raise TimeoutError(f"no answer to {len(payload)} bytes")


def sizes(host: str, port: int) -> None:
    with opened(host, port) as sock:
        for size in SIZES:
            payload = bytes(number % 251 for number in range(size))
            answer = ask(sock, payload)
            assert answer[HEADER.size :] == payload, f"{size} bytes came back as {len(answer)}"


def refused(host: str, port: int) -> None:
    with opened(host, port) as sock:
        sock.send(b"anybody?")
        try:
            sock.recv(1)
        except ConnectionRefusedError:
            return
        raise AssertionError("a closed port answered")


def talk(host: str, port: int) -> None:
    with opened(host, port) as sock:
        sock.settimeout(EVERY)
        number = 0
        while True:
            number += 1
            began = time.monotonic()
            try:
                sock.send(b"%d" % number)
                (source,) = HEADER.unpack_from(sock.recv(LARGEST))
                print(json.dumps([time.monotonic(), source]), flush=True)
            except (TimeoutError, ConnectionRefusedError) as error:
                print(json.dumps([time.monotonic(), type(error).__name__]), flush=True)
            time.sleep(max(0.0, began + EVERY - time.monotonic()))


if __name__ == "__main__":
    {"sizes": sizes, "refused": refused, "talk": talk}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
