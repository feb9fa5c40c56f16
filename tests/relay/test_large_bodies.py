"""Bodies that are far larger than any memory they may take, through the programs."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_commands import Desk, desk_in

SIZE = (2 << 30) if os.environ.get("VSHARE_SLOW") else 256 << 20  # bytes, each way
PIECE = 1 << 20  # bytes
GROWTH = 24 << 20  # bytes that a program may take more than before: buffers, of one stream
WAIT = 120.0  # seconds
_ZEROS = bytes(PIECE)


def _read_head(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(PIECE)
        if not more:
            raise ConnectionError(f"no head: {data!r}")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _count(sock: socket.socket, expected: int) -> int:
    """Reads without keeping."""
    buffer, count = bytearray(PIECE), 0
    while count < expected and (size := sock.recv_into(buffer)):
        count += size
    return count


def _serve(sock: socket.socket) -> None:
    with sock, contextlib.suppress(ConnectionError):
        while True:
            head, rest = _read_head(sock)
            if head.startswith(b"POST"):
                got = len(rest) + _count(sock, SIZE - len(rest))
                body = b"%d" % got
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            else:
                size = SIZE if b"/large" in head else 2
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                for _ in range(size // PIECE):
                    sock.sendall(_ZEROS)
                sock.sendall(b"ok" if size == 2 else b"")


@pytest.fixture
def server() -> Iterator[int]:
    """An application that sends and takes zeros."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=_serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def _memory(pid: int, name: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of a process, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) << 10


def _move(port: int, host: str) -> None:
    """Up and down, over one connection."""
    with socket.create_connection(("127.0.0.1", port), WAIT) as sock:
        head = f"POST /up HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SIZE}\r\n\r\n"
        sock.sendall(head.encode())
        for _ in range(SIZE // PIECE):
            sock.sendall(_ZEROS)
        got, rest = _read_head(sock)
        assert got.startswith(b"HTTP/1.1 200"), got
        expected = str(SIZE).encode()
        assert rest == expected or rest + sock.recv(len(expected) - len(rest)) == expected
        sock.sendall(f"GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        got, rest = _read_head(sock)
        assert got.startswith(b"HTTP/1.1 200"), got
        assert len(rest) + _count(sock, SIZE - len(rest)) == SIZE


def _share(desk: Desk, server: int) -> tuple[tuple[int, int], int, str]:
    """The programs' processes; the relay's port, the site's host."""
    relay = desk.start("vrelay", "serve", "--json", "--listen", "127.0.0.1:0")
    address = relay.wait_for("serving")["relay"]
    share, started = desk.share("--target", "127.0.0.1", "--http", str(server), "--relay", address)
    host = started["url"].removeprefix("http://").rstrip("/")
    pids = relay.process.pid, share.process.pid
    return pids, int(address.partition("#")[0].rpartition(":")[2]), host


@pytest.mark.programs
def test_large_bodies_take_constant_memory(tmp_path: Path, server: int) -> None:
    with desk_in(tmp_path) as desk:
        pids, port, host = _share(desk, server)
        with socket.create_connection(("127.0.0.1", port), WAIT) as sock:  # what is loaded lazily
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert _read_head(sock)[0].startswith(b"HTTP/1.1 200")
        before = [_memory(pid, "VmRSS") for pid in pids]
        _move(port, host)
        most = [_memory(pid, "VmHWM") for pid in pids]
        assert all(after - start < GROWTH for start, after in zip(before, most, strict=True)), (
            before,
            most,
        )
