"""Small clients, run on a host of the lab as `python -m tests.demo.probe WHAT ARGUMENT...`.

Each prints a figure and exits 0, or says what was wrong and exits 1.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import secrets
import socket
import statistics
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import socks
from websockets.sync.client import connect

PATIENCE = 20.0  # seconds for any one answer
DATAGRAM_SIZES = (1, 64, 512, 1200, 4000)  # bytes
MESSAGE_SIZES = (0, 1, 125, 70_000)  # bytes: each of the three lengths of RFC 6455 5.2, and none
PINGS = 20
TRIES = 9  # of an open and of a closed port, in turns
AT_MOST = 4.0  # times what an open port takes: a refusal is a round trip, not a timeout
NOISE = 20.0  # milliseconds that a busy machine adds to anything
PIECE = 256 * 1024  # bytes read at once
MARKS, ROUNDS = 200, 20  # a marker this often in one message, and that many messages
TCP = socket.SOCK_STREAM


def _open(address: str, proxy: str, kind: socket.SocketKind) -> socket.socket:
    """A socket connected to HOST:PORT, through a SOCKS5 proxy unless that is `-`."""
    host, port = address.rsplit(":", 1)
    if proxy == "-":
        plain = socket.socket(socket.AF_INET, kind)
    else:
        plain = socks.socksocket(socket.AF_INET, kind)
        proxy_host, proxy_port = proxy.rsplit(":", 1)
        plain.set_proxy(socks.SOCKS5, proxy_host, int(proxy_port), rdns=True)
    plain.settimeout(PATIENCE)
    if proxy == "-" or kind == socket.SOCK_STREAM:
        plain.connect((host, int(port)))
    return plain


def _send(plain: socket.socket, message: bytes, address: str) -> None:
    """Send on what `_open` made. PySocks would look a datagram's host up if it were connected."""
    if isinstance(plain, socks.socksocket) and plain.type == socket.SOCK_DGRAM:
        host, port = address.rsplit(":", 1)
        plain.sendto(message, (host, int(port)))
    else:
        plain.sendall(message)


def websocket(url: str, proxy: str, at: str = "") -> str:
    """Echo over a WebSocket; `at` overrides the address that the URL's name means."""
    place = urlsplit(url)
    address = at or f"{place.hostname}:{place.port or 80}"
    with (
        _open(address, proxy, socket.SOCK_STREAM) as plain,
        connect(url, sock=plain, proxy=None, compression=None) as client,
    ):
        for size in MESSAGE_SIZES:
            message = secrets.token_bytes(size)
            client.send(message)
            if client.recv(PATIENCE) != message:
                raise ValueError(f"the echo of {size} bytes differs")
        begin = time.perf_counter()
        for number in range(PINGS):
            client.send(str(number))
            client.recv(PATIENCE)
    return f"{(time.perf_counter() - begin) / PINGS * 1000:.1f} ms a round trip"


def echo(protocol: str, address: str, proxy: str) -> str:
    """Echo over TCP or UDP (RFC 862); for UDP each size is one datagram."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    times = []
    with _open(address, proxy, kind) as plain:
        for size in DATAGRAM_SIZES:
            message = secrets.token_bytes(size)
            begin = time.perf_counter()
            _send(plain, message, address)
            answer = plain.recv(65_536)
            while protocol == "tcp" and len(answer) < size:
                answer += plain.recv(65_536)
            if answer != message:
                raise ValueError(f"the echo of {size} bytes differs")
            times.append(time.perf_counter() - begin)
    return f"{len(times)} sizes, {min(times) * 1000:.1f} ms"


def dns(name: str, address: str, proxy: str) -> str:
    """The A record of `name` (RFC 1035), asked over UDP."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    identity = secrets.token_bytes(2)
    query = identity + bytes.fromhex("01000001000000000000") + labels + bytes.fromhex("0000010001")
    with _open(address, proxy, socket.SOCK_DGRAM) as plain:
        _send(plain, query, address)
        answer = plain.recv(4096)
    if answer[:2] != identity or answer[3] & 0x0F or answer[6:8] == b"\0\0":
        raise ValueError(f"not an answer: {answer.hex()}")
    return "A " + socket.inet_ntoa(answer[-4:])


def closed(address: str, proxy: str, open_port: str) -> str:
    """A port that is closed has to be refused, in the time that `open_port` takes to open."""
    return _turned_away(address, proxy, open_port, errno.ECONNREFUSED, "refused")


def denied(address: str, proxy: str, open_port: str) -> str:
    """A port that the policy forbids is unreachable (docs/protocol.md 10), as fast."""
    return _turned_away(address, proxy, open_port, errno.EHOSTUNREACH, "not allowed")


def _turned_away(address: str, proxy: str, open_port: str, number: int, word: str) -> str:
    opened, refused = [], []
    for _ in range(TRIES):
        begin = time.perf_counter()
        with contextlib.closing(_open(f"{address.rpartition(':')[0]}:{open_port}", proxy, TCP)):
            opened.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        try:
            with contextlib.closing(_open(address, proxy, TCP)):
                raise ValueError(f"{address} is open")
        except socks.ProxyError as error:
            if word not in str(error).lower():
                raise
        except OSError as error:
            if error.errno != number:
                raise
        refused.append(time.perf_counter() - begin)
    to_refuse, to_open = statistics.median(refused) * 1000, statistics.median(opened) * 1000
    figures = f"{to_refuse:.1f} ms; an open port opens in {to_open:.1f} ms"
    if to_refuse > max(AT_MOST * to_open, NOISE):
        raise ValueError(f"slow: {figures}")
    return figures


def transfer(url: str, proxy: str) -> str:
    """Download: when it began and ended (seconds of the machine's clock), and the SHA-256."""
    host, port, path = urlsplit(url).hostname, urlsplit(url).port or 80, url.split("/", 3)[3]
    total = hashlib.sha256()
    with _open(f"{host}:{port}", proxy, TCP) as plain:
        plain.sendall(f"GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        with plain.makefile("rb") as answer:
            if b" 200 " not in answer.readline():
                raise ValueError(f"{url} is not to be had")
            while answer.readline().strip():
                pass
            begin = time.monotonic()
            while piece := answer.read(PIECE):
                total.update(piece)
    return f"{begin} {time.monotonic()} {total.hexdigest()}"


def marked(marker: str, address: str, proxy: str) -> str:
    """Send `marker` over and over to a TCP echo service and read it back."""
    message = marker.encode() * MARKS
    with _open(address, proxy, TCP) as plain:
        for _ in range(ROUNDS):
            plain.sendall(message)
            left = len(message)
            while left:
                piece = plain.recv(left)
                if not piece:
                    raise ValueError("the echo ended early")
                left -= len(piece)
    return f"{2 * ROUNDS * len(message)} bytes"


def redis(address: str, proxy: str) -> str:
    """PING of a Redis server."""
    with _open(address, proxy, socket.SOCK_STREAM) as plain:
        plain.sendall(b"PING\r\n")
        answer = plain.recv(64)
    if answer != b"+PONG\r\n":
        raise ValueError(f"not Redis: {answer!r}")
    return "PONG"


PROBES: dict[str, Callable[..., str]] = {
    probe.__name__: probe
    for probe in (websocket, echo, dns, closed, denied, transfer, marked, redis)
}

if __name__ == "__main__":
    try:
        print(PROBES[sys.argv[1]](*sys.argv[2:]))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
