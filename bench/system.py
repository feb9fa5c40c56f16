"""What is measured: this project, its peers, and the plain loopback as the limit."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path

from bench.driver import connected, exactly
from bench.keyboard import Keyboard
from bench.processes import (
    Process,
    StartError,
    descent,
    end,
    started,
    unbroken,
    wait_until,
)
from bench.way import Way

READY_WITHIN = 20.0  # seconds for a hop to carry bytes
TRY_TIMEOUT = 2.0  # seconds for one try of it


class Kind(Enum):
    """What a system's figures are compared with."""

    LIMIT = "limit"
    OURS = "ours"
    END_TO_END = "end-to-end"  # encrypted so
    PER_HOP = "per-hop"  # both sides run it, the relay reads
    PUBLIC = "public"  # a port of the relay's


class System:
    """One tool, set up as two people behind NAT would: share side, relay, connect side.

    `start` raises StartError; `stop` always ends every process. `way` leads to the target's TCP
    port, `udp` to its UDP port (None: it has none), `http` to its HTTP.
    """

    name = "?"
    kind = Kind.LIMIT
    needs: tuple[str, ...] = ()  # programs on PATH

    def __init__(self, tcp_port: int, udp_port: int) -> None:
        self.tcp_port, self.udp_port = tcp_port, udp_port
        self.relay: list[Process] = []
        self.share: list[Process] = []
        self.connect: list[Process] = []
        self.way = Way(tcp_port)
        self.udp: Way | None = None
        self.http_host = "localhost"
        self.took: dict[str, float] = {}  # seconds until a side was ready
        self._started: list[Process] = []
        self._stack = contextlib.ExitStack()
        self.folder = Path()

    @property
    def http(self) -> Way:
        """Where its HTTP answers: the public URL, for tools that have one."""
        return self.way

    @property
    def processes(self) -> list[Process]:
        """All of them."""
        return [*self.relay, *self.share, *self.connect]

    def start(self) -> None:
        """Set everything up, and wait until it carries bytes."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.folder.chmod(0o755)
        try:
            self.set_up()
            self.wait_for_echo(self.way, self.connect or self.share)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of it, the connect side first."""
        with unbroken():
            known = descent(self._started)
            self._stack.close()
            end(known)
            for role in (self.connect, self.share, self.relay, self._started):
                role.clear()

    def set_up(self) -> None:
        """Start the processes; every tool its own."""

    def keyboard(self) -> Keyboard | None:
        """Somebody on the connect side before `cat` in a terminal of the sharer's machine; None
        where there is no such thing. Its user closes it."""
        return None

    def run(
        self,
        role: list[Process],
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program that counts for `role`."""
        log = self.folder / f"{len(self.processes)}-{Path(command[0]).name}.log"
        process = started(self._stack, command, log, environment)
        self._started.append(process)
        role.append(process)
        return process

    def wait_for_echo(self, way: Way, side: Sequence[Process]) -> None:
        """Until a byte goes to the target and back; `side` is what was waited for."""
        try:
            wait_until(lambda: echoes(way), f"{self.name}: {way}", READY_WITHIN)
        except StartError as error:
            said = "; ".join(process.words() for process in self.processes if process.words())
            raise StartError(f"{error}: {said}") from None
        if side:
            figure = "connect_ready" if side is self.connect else "share_ready"
            self.took[figure] = time.monotonic() - side[-1].started

    def wait_for_port(self, port: int) -> None:
        """Until something listens there."""
        wait_until(lambda: listens(port), f"{self.name}: port {port}", READY_WITHIN)


def echoes(way: Way) -> bool:
    """Whether a byte comes back from the target at this moment."""
    with contextlib.suppress(OSError), connected(way, TRY_TIMEOUT) as sock:
        sock.sendall(b"Ep")
        return exactly(sock, 1) == b"p"
    return False


def listens(port: int) -> bool:
    """Whether a connection to a local port is taken."""
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=TRY_TIMEOUT).close()
        return True
    return False


def free_port() -> int:
    """A TCP port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Loopback(System):
    """No tool: the driver and the target by themselves."""

    name = "loopback"

    def set_up(self) -> None:
        """Nothing to start."""
        self.udp = Way(self.udp_port)
