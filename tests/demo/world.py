"""What the demo sets up: a relay, alice's machine shared, guests that connect to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.demo.program import Program, started
from tests.lab import Host, Lab

RELAY_PORT = 8443  # in the relay's own namespace
RELAY_WITHIN = 20.0  # seconds
SHARE_WITHIN = 90.0  # seconds; finding out what listens runs Vagrant several times
CONNECT_WITHIN = 120.0  # seconds; a VM boots under emulation meanwhile


@dataclass(frozen=True, slots=True)
class Share:
    """A share that is up: the program, and what it printed."""

    program: Program
    name: str
    code: str
    url: str
    connect: str


@dataclass(frozen=True, slots=True)
class Connection:
    """A `vconnect` that is up. `ip` is empty without a static IP."""

    program: Program
    host: Host
    socks: str
    ip: str


@contextmanager
def relay(lab: Lab, public_port: int, *options: str, domain: str = "localhost") -> Iterator[str]:
    """`vrelay serve` on the lab's internet; yields its address as guests write it."""
    host = lab.relay
    command = ["vrelay", "serve", "--json", "--listen", f"{host.ip}:{RELAY_PORT}", "--open"]
    command += ["--domain", domain, "--public-port", str(public_port), *options]
    with started(host, command) as program:
        event = program.wait_for("serving", RELAY_WITHIN)
        yield f"{host.ip}:{RELAY_PORT}#{event['fingerprint'][:32]}"


@contextmanager
def share(
    host: Host, relay_address: str, folder: Path, *options: str, within: float = SHARE_WITHIN
) -> Iterator[Share]:
    """`vshare up` in `folder`, which has `within` seconds."""
    command = ["vshare", "up", "--json", "--relay", relay_address, *options]
    with started(host, command, cwd=folder) as program:
        event: dict[str, Any] = program.wait_for("started", within)
        url = event["url"] or ""
        yield Share(program, event["name"], event["code"], url, event["connect"])


@contextmanager
def connect(host: Host, shared: Share, *options: str) -> Iterator[Connection]:
    """`vconnect` on `host`, until the end of the block or `program.interrupt()`."""
    code = host.tmp / f"code-{shared.name}"
    code.write_text(shared.code + "\n")
    command = ["vconnect", "--json", "--code-file", str(code), *options, shared.connect]
    with started(host, command) as program:
        socks = program.wait_for("socks", CONNECT_WITHIN)["address"]
        code.unlink()
        with_vm = "--disable-static-ip" not in options
        ip = program.wait_for("machine", CONNECT_WITHIN)["ip"] if with_vm else ""
        program.wait_for("running", CONNECT_WITHIN)
        yield Connection(program, host, socks, ip)
