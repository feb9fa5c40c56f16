"""A real redis-server for one test, by UNIX or TCP, which can be killed and started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

READY_WITHIN = 20.0  # seconds
needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")


class RedisServer:
    """`keeps`: what it knows survives a restart. `port`: of 127.0.0.1, 0 for a UNIX socket only."""

    def __init__(self, folder: Path, *, keeps: bool = False, port: int = 0) -> None:
        self._folder, self._keeps, self._port = folder, keeps, port
        self.path = folder / "redis.sock"
        self.url = f"redis://127.0.0.1:{port}/0" if port else f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["redis-server", "--port", str(self._port), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(self.path), "--save", ""]
        command += ["--dir", str(self._folder), "--appendonly", "yes" if self._keeps else "no"]
        command += ["--appendfsync", "always"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        ends = time.monotonic() + READY_WITHIN
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < ends
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.connect(str(self.path))
            sock.settimeout(1)
            sock.sendall(b"PING\r\n")
            return sock.recv(16).startswith(b"+PONG")
        return False

    def kill(self) -> None:
        """As by a power cut."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def hold(self) -> None:
        """It answers nobody, until `release`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def release(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_server(folder: Path, *, keeps: bool = False, port: int = 0) -> Iterator[RedisServer]:
    """One that runs; killed at the end."""
    server = RedisServer(folder, keeps=keeps, port=port)
    server.start()
    try:
        yield server
    finally:
        server.release()
        server.kill()
