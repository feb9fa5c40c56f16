"""A port of this machine at a public URL: `vrelay serve` and `vshare up`, on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.demo.program import Program

STARTS_WITHIN = 30.0  # seconds; measured 1
ENDS_WITHIN = 10.0  # seconds
POLL = 0.05  # seconds


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that is up. `address` is for `--relay`; shares are below `domain`."""

    address: str
    domain: str
    port: int
    certificate: Path
    program: Program

    def url_of(self, name: str) -> str:
        """Where a share of this name is, or would be."""
        return f"http://{name}.{self.domain}:{self.port}/"


@dataclass(frozen=True, slots=True)
class Public:
    """A share that is up. `told` is its `started` event."""

    name: str
    url: str
    told: dict[str, Any]
    program: Program


@contextmanager
def program(
    folder: Path, command: Sequence[str], env: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a command for the length of a block: TERM at its end, KILL for what is left."""
    name = Path(command[2] if command[1] == "-m" else command[0]).name
    log = folder / f"{name}-{len(list(folder.iterdir()))}.txt"
    with (
        log.open("w") as story,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=story,
            text=True,
            env=env,
            cwd=folder,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Program(process, name, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """All of its session: what was started through another program, too."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for_port(port: int) -> None:
    """Until something listens on a port of the loopback."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(POLL)
        else:
            return


@contextmanager
def relay(folder: Path, *options: str) -> Iterator[Relay]:
    """`vrelay serve`. `folder` gets its files and what it says."""
    where = ["--listen", "127.0.0.1:0", "--state-dir", str(folder / "relay")]
    command = [sys.executable, "-m", "relay.cli", "serve", "--json", *where, *options]
    with program(folder, command) as running:
        told = running.wait_for("serving", STARTS_WITHIN)
        port = urlsplit(f"//{told['relay']}").port
        assert port is not None
        domain = told["domain"]
        certificate = folder / "relay" / f"relay-{domain}.pem"
        yield Relay(told["relay"], domain, port, certificate, running)


@contextmanager
def public(folder: Path, at: Relay, port: int, *options: str) -> Iterator[Public]:
    """`vshare up` for a port of this machine's loopback, with more `options`."""
    what = ["--target", "127.0.0.1", "--http", str(port), "--port", str(port), "--relay-only"]
    command = [sys.executable, "-m", "vshare.cli", "up", "--json", "--yes", "--relay", at.address]
    with program(folder, [*command, *what, *options]) as running:
        told = running.wait_for("started", STARTS_WITHIN)
        yield Public(told["name"], told["url"], told, running)
