"""This project, as three programs that a user would start."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.processes import Process
from bench.system import Kind, System
from bench.way import Way

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent


class Ours(System):
    """`vrelay serve`, `vshare up`, `vconnect` through SOCKS; the URL for HTTP.

    `tree` is the source that runs: another checkout can be measured beside this one.
    """

    name = "vshare"
    kind = Kind.OURS

    def __init__(self, tcp_port: int, udp_port: int, tree: Path = ROOT) -> None:
        super().__init__(tcp_port, udp_port)
        self._tree = tree
        self.relay_address = ""
        self.started: dict[str, Any] = {}
        self._http = Way(0)

    @property
    def http(self) -> Way:
        """The relay's port, which has the public URL."""
        return self._http

    @cached_property
    def environment(self) -> dict[str, str]:
        """Keys and sockets in the bench's own folder, nothing in the user's keyring."""
        places = {f"XDG_{each}": self.folder / each for each in ("STATE_HOME", "RUNTIME_DIR")}
        for place in places.values():
            place.mkdir(mode=0o700)
        return {
            **{name: str(place) for name, place in places.items()},
            "HOME": str(self.folder),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "PYTHONPATH": str(self._tree),
            "PYTHONSAFEPATH": "1",
        }

    def set_up(self) -> None:
        """The relay, the share, the guest."""
        command = [str(BIN / "vrelay"), "serve", "--json", "--listen", "127.0.0.1:0"]
        relay = self.run(self.relay, command, self.environment)
        self.relay_address = event(relay, "serving")["relay"]
        self.started = self.start_share(self.share)
        where = self.started["url"].removeprefix("http://").rstrip("/")
        self.http_host, self._http = where, Way(int(where.rpartition(":")[2]))
        self.way, self.udp = self.start_guest(self.connect)

    def start_share(self, role: list[Process]) -> dict[str, Any]:
        """`vshare up`; returns what it printed when it was up."""
        command = [str(BIN / "vshare"), "up", "--json", "--yes", "--relay", self.relay_address]
        command += ["--target", "127.0.0.1", "--http", str(self.tcp_port)]
        return event(self.run(role, command, self.environment), "started")

    def start_guest(self, role: list[Process]) -> tuple[Way, Way]:
        """`vconnect`; returns the ways to the target's TCP and UDP port."""
        code = self.folder / "code"
        code.write_text(self.started["code"])
        command = [str(BIN / "vconnect"), "--json", "--disable-static-ip"]
        if self._knows("--relay-only"):
            command.append("--relay-only")
        command += ["--code-file", str(code), self.started["connect"]]
        address = event(self.run(role, command, self.environment), "socks")["address"]
        port, name = int(address.rpartition(":")[2]), self.started["name"]
        return Way(port, name, self.tcp_port), Way(port, name, self.udp_port)

    def _knows(self, option: str) -> bool:
        """Whether this version of `vconnect` has a direct path that can be turned off."""
        command = [str(BIN / "vconnect"), "--help"]
        environment = self.environment | {"PATH": "/usr/bin:/bin"}
        told = subprocess.run(command, env=environment, capture_output=True, text=True)
        return option in told.stdout


def event(process: Process, name: str) -> dict[str, Any]:
    """The next event called `name`. Raises StartError when the program ends before it."""
    while True:
        found: dict[str, Any] = json.loads(process.line())
        if found["event"] == name:
            return found
