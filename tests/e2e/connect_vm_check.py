"""A client of the static IP: exercises every service behind it, prints one JSON object of facts.

`python -m tests.e2e.connect_vm_check STATIC_IP`. Raises (and so fails) on any wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import statistics
import struct
import sys
import threading
import time

import pytest

from tests.e2e import connect_vm_services as services

SIZE = int(os.environ.get("SIZE", 100_000_000))
PARALLEL = int(os.environ.get("PARALLEL", 50))
LARGEST = 65_507


def connect(host: str, port: int) -> socket.socket:
    sock = socket.create_connection((host, port), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def milliseconds(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)


def connects(host: str) -> dict[str, float]:
    times, refusals = [], []
    for _ in range(20):
        began = time.perf_counter()
        with connect(host, services.ECHO) as sock:
            times.append(milliseconds(began))
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
    for _ in range(20):
        began = time.perf_counter()
        with pytest.raises(ConnectionRefusedError):
            connect(host, services.CLOSED)
        refusals.append(milliseconds(began))
    return {
        "connect_ms": statistics.median(times),
        "connect_worst_ms": max(times),
        "refused_ms": statistics.median(refusals),
        "refused_worst_ms": max(refusals),
    }


def round_trips(host: str) -> dict[str, float]:
    with connect(host, services.ECHO) as sock:
        times = []
        for _ in range(200):
            began = time.perf_counter()
            sock.sendall(b"ping")
            assert sock.recv(4) == b"ping"
            times.append(milliseconds(began))
    return {"round_trip_ms": statistics.median(times)}


def half_close(host: str) -> dict[str, bool]:
    with connect(host, services.SINK) as sock:
        sock.sendall(b"all of it")
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").read()
    assert answer == hashlib.sha256(b"all of it").hexdigest().encode(), answer
    with connect(host, services.GREET) as sock:
        assert sock.recv(100) == b"220 hello\r\n"
    return {"half_close": True, "server_first": True}


def resets(host: str) -> dict[str, bool]:
    with connect(host, services.RESET) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    return {"reset": True}


def transfers(host: str) -> dict[str, float]:
    payload = services.pattern(SIZE)
    digest = hashlib.sha256(payload).hexdigest().encode()
    began = time.perf_counter()
    with connect(host, services.SINK) as sock:
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
        assert sock.makefile("rb").read() == digest
    up = time.perf_counter() - began
    began = time.perf_counter()
    received = hashlib.sha256()
    with connect(host, services.SOURCE) as sock:
        sock.sendall(struct.pack("!Q", SIZE))
        while data := sock.recv(services.PIECE):
            received.update(data)
    down = time.perf_counter() - began
    assert received.hexdigest().encode() == digest
    return {"up_mb_s": round(SIZE / up / 1e6, 1), "down_mb_s": round(SIZE / down / 1e6, 1)}


def datagrams(host: str) -> dict[str, float]:
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, services.UDP_ECHO))
        for size in (1, 100, 1472, 1473, 9000, LARGEST):
            payload = services.pattern(size)
            sock.send(payload)
            assert sock.recv(LARGEST + 1) == payload, size
        for _ in range(50):
            began = time.perf_counter()
            sock.send(b"ping")
            assert sock.recv(10) == b"ping"
            times.append(milliseconds(began))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect((host, services.CLOSED))
        began = time.perf_counter()
        sock.send(b"anyone?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
        refused = milliseconds(began)
    return {"udp_round_trip_ms": statistics.median(times), "udp_refused_ms": refused}


def parallel(host: str) -> dict[str, float]:
    """PARALLEL connections at once, each talking before any of them ends."""
    everybody = threading.Barrier(PARALLEL)
    good: list[float] = []
    began = time.perf_counter()

    def one() -> None:
        with connect(host, services.ECHO) as sock:
            took = milliseconds(began)
            everybody.wait(30)
            sock.sendall(b"hello")
            if sock.recv(5, socket.MSG_WAITALL) == b"hello":
                good.append(took)

    threads = [threading.Thread(target=one) for _ in range(PARALLEL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(good) == PARALLEL, f"{len(good)} of {PARALLEL}"
    return {"parallel": len(good), "parallel_all_ms": max(good)}


def main() -> None:
    host = sys.argv[1]
    facts: dict[str, object] = {}
    for check in (connects, round_trips, half_close, resets, datagrams, parallel, transfers):
        facts.update(check(host))
        print(check.__name__, file=sys.stderr, flush=True)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
