"""Loads of datagrams, directly or through SOCKS5's UDP ASSOCIATE (RFC 1928 7)."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from bench.driver import TIMEOUT, Answer, exactly, quantiles
from bench.way import CHOSEN, GREETING, REPLY_BYTES, Way, associate, datagram_header

SIZE = 1200  # bytes, what QUIC begins with
WINDOW = 64  # datagrams under way in udp_flow
LOST_AFTER = 0.1  # seconds without an answer: what is under way is taken for lost
PACE = 2_000  # datagrams a second in udp_paced
LAST_WAIT = 0.3  # seconds for the last ones to come back
BUFFER = 4 << 20  # bytes
NUMBER = struct.Struct("!Id")  # which one, sent when


@contextlib.contextmanager
def associated(way: Way) -> Iterator[tuple[socket.socket, bytes]]:
    """A socket, and what goes before each datagram. Raises OSError."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        port, header = way.port, b""
        if way.host:
            control = socket.create_connection(("127.0.0.1", way.port), timeout=TIMEOUT)
            stack.enter_context(control)
            control.sendall(GREETING)
            exactly(control, len(CHOSEN))
            control.sendall(associate())
            reply = exactly(control, REPLY_BYTES)
            if reply[1]:
                raise ConnectionRefusedError(f"UDP ASSOCIATE: {reply[1]}")
            port, header = struct.unpack("!H", reply[-2:])[0], datagram_header(way)
        sock.connect(("127.0.0.1", port))
        sock.settimeout(LOST_AFTER)
        yield sock, header


def udp_flow(way: Way, seconds: float) -> Answer:
    """As many as come back while 64 are under way; what is lost costs time, not the run."""
    with associated(way) as (sock, header):
        datagram = header + bytes(SIZE)
        lost = echoed = 0
        begin = time.perf_counter()
        for _ in range(WINDOW):
            sock.send(datagram)
        while time.perf_counter() < begin + seconds:
            try:
                sock.recv(65536)
            except TimeoutError:
                lost += WINDOW
                for _ in range(WINDOW):
                    sock.send(datagram)
            else:
                echoed += 1
                sock.send(datagram)
        return {"per_second": echoed / (time.perf_counter() - begin), "lost": lost}


def udp_paced(way: Way, seconds: float) -> Answer:
    """2,000 a second: round trips, and the share that never came back."""
    with associated(way) as (sock, header):
        sock.setblocking(False)
        padding = bytes(SIZE - NUMBER.size)
        times: list[float] = []
        seen: set[int] = set()
        sent = 0
        begin = time.perf_counter()
        while (now := time.perf_counter()) < begin + seconds + LAST_WAIT:
            due = int(min(now - begin, seconds) * PACE)
            while sent < due:
                sock.send(header + NUMBER.pack(sent, time.perf_counter()) + padding)
                sent += 1
            with contextlib.suppress(BlockingIOError):
                while True:
                    data = sock.recv(65536)
                    number, at = NUMBER.unpack_from(data, len(header))
                    seen.add(number)
                    times.append(time.perf_counter() - at)
            time.sleep(0.0002)
        return {**quantiles(times), "sent": sent, "loss": 1 - len(seen) / sent}
