"""The load driver: `python -m bench.driver LOAD WAY SECONDS`, one JSON object on stdout.

One process per load, standard library alone, blocking calls with large buffers. `LOADS` names
them; the target (`bench/target.py`) is the other end. Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bench.processes import WITH_US
from bench.target import BIG, BLOCK, END_OF_HEAD, PIECE
from bench.way import Way, is_fine, parse

TIMEOUT = 30.0  # seconds that nothing may move
AHEAD = 4  # blocks asked for that have not come yet
WARM_UP = 0.1  # seconds of pings that are not counted
DOWNLOAD_LEAD = 0.4  # seconds that a download runs before the pings beside it count
DOWNLOAD_TAIL = 0.6  # seconds that it runs longer, for a machine that is busy
X = 4  # streams of stream_x4

Answer = dict[str, float]


def connected(way: Way, timeout: float = TIMEOUT) -> socket.socket:
    """A connection on which the next byte is for the target. Raises OSError."""
    sock = socket.create_connection(("127.0.0.1", way.port), timeout=timeout)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, (data, count) in enumerate(way.steps):
            sock.sendall(data)
            if not is_fine(number, exactly(sock, count)):
                raise ConnectionRefusedError("the proxy says no")
    except BaseException:
        sock.close()
        raise
    return sock


def exactly(sock: socket.socket, count: int) -> bytes:
    """`count` bytes. Raises ConnectionError when they do not come."""
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("ended early")
        data += piece
    return data


def down(way: Way, seconds: float) -> Answer:
    """Bytes that come, asked for by the block, so that the stream ends cleanly."""
    with connected(way) as sock:
        sock.sendall(b"D" + bytes(AHEAD))
        return pull(sock, seconds)


def pull(sock: socket.socket, seconds: float) -> Answer:
    """Read, and ask for more until the time is over; `AHEAD` blocks have been asked for."""
    buffer = bytearray(PIECE)
    begin = time.perf_counter()
    got, asked = 0, AHEAD
    while got < asked * BLOCK:
        count = sock.recv_into(buffer)
        if not count:
            raise ConnectionError("ended early")
        before, got = got, got + count
        if got // BLOCK != before // BLOCK and time.perf_counter() - begin < seconds:
            sock.send(b"\0")
            asked += 1
    return {"bytes": got, "seconds": time.perf_counter() - begin}


def up(way: Way, seconds: float) -> Answer:
    """Bytes that the target has said to have received."""
    piece = memoryview(bytes(range(256)) * (PIECE // 256))
    with connected(way) as sock:
        begin = time.perf_counter()
        sock.sendall(b"U")
        sent = 0
        while not sent or sent % BLOCK or time.perf_counter() - begin < seconds:
            sock.sendall(piece)
            sent += PIECE
        exactly(sock, sent // BLOCK)
        return {"bytes": sent, "seconds": time.perf_counter() - begin}


def down_x4(way: Way, seconds: float) -> Answer:
    """Four downloads at once: their bytes together, in the time of the longest."""
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(down(way, seconds))) for _ in range(X)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answers) < X:
        raise ConnectionError("a stream failed")
    total = sum(answer["bytes"] for answer in answers)
    return {"bytes": total, "seconds": max(answer["seconds"] for answer in answers)}


def http_down(way: Way, seconds: float, host: str) -> Answer:
    """A large file, again and again on one connection."""
    request = b"GET /big HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()
    buffer = bytearray(PIECE)
    got, begin = 0, time.perf_counter()
    with connected(way) as sock:
        while not got or time.perf_counter() - begin < seconds:
            sock.sendall(request)
            head = b""
            while END_OF_HEAD not in head:
                piece = sock.recv(65536)
                if not piece:
                    raise ConnectionError("ended early")
                head += piece
            if b" 200 " not in head.partition(b"\r\n")[0]:
                raise ConnectionError(f"answered {head[:200]!r}")
            left = BIG - len(head.partition(END_OF_HEAD)[2])
            while left:
                count = sock.recv_into(buffer, min(left, PIECE))
                if not count:
                    raise ConnectionError("ended early")
                left -= count
            got += BIG
    return {"bytes": got, "seconds": time.perf_counter() - begin}


def rtt(way: Way, seconds: float) -> Answer:
    """One byte there and back on an open stream."""
    times: list[float] = []
    with connected(way) as sock:
        sock.sendall(b"E")
        warm = time.perf_counter() + WARM_UP
        while time.perf_counter() < warm:
            sock.sendall(b"p")
            exactly(sock, 1)
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            sock.sendall(b"p")
            exactly(sock, 1)
            times.append(time.perf_counter() - begin)
    return quantiles(times)


def rtt_loaded(way: Way, seconds: float) -> Answer:
    """The same beside a download, which is another process."""
    span = seconds + DOWNLOAD_LEAD + DOWNLOAD_TAIL
    command = [*WITH_US, sys.executable, "-m", "bench.driver", "down", str(way), str(span)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as download:
        try:
            time.sleep(DOWNLOAD_LEAD)
            answer = rtt(way, seconds)
            if download.poll() is not None:
                raise ConnectionError("the download ended before the pings")
        except BaseException:
            download.kill()
            raise
        download.communicate()
    return answer


def opens(way: Way, seconds: float) -> Answer:
    """Connect, one byte there and back, close; one after another."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        with connected(way) as sock:
            sock.sendall(b"Ep")
            exactly(sock, 1)
            times.append(time.perf_counter() - begin)
    return quantiles(times)


def quantiles(times: list[float]) -> Answer:
    """The median and the 99th percentile."""
    if len(times) < 2:
        raise ConnectionError("too few answers for a statistic")
    ordered = sorted(times)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)],
        "count": len(ordered),
    }


def main() -> None:
    """Run one load."""
    from bench.driver_many import burst, opens_many, stopped
    from bench.driver_udp import udp_flow, udp_paced

    loads: dict[str, Callable[..., Answer]] = {
        load.__name__: load
        for load in (
            *(down, up, down_x4, http_down, rtt, rtt_loaded, opens),
            *(opens_many, burst, stopped, udp_flow, udp_paced),
        )
    }
    name, way, seconds, *rest = sys.argv[1:]
    print(json.dumps(loads[name](parse(way), float(seconds), *rest)), flush=True)


if __name__ == "__main__":
    main()
