"""This project, as three programs that a user would start."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from bench.driver import connected, exactly
from bench.keyboard import READY, Keyboard
from bench.peers.ssh import CONFIG, SSHD
from bench.processes import Process, wait_until
from bench.system import READY_WITHIN, Kind, System, free_port
from bench.way import Way

BIN = Path(sys.executable).parent
OPTIONAL = ("--relay-only",)  # without it, both ends being on one host, the relay is not used
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
        self.relay_address = self.share_name = self.code = self.connect_to = ""
        self._http = Way(0)
        self.plain: list[Process] = []  # the guest whose streams cannot be resumed
        self._plain: Way | None = None

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
        relay = self.run(self.relay, self.command("vrelay", "serve", "--listen", "127.0.0.1:0"))
        self.relay_address = after(relay, "relay address:")
        self.start_share(self.share)
        self.way, self.udp = self.start_guest(self.connect)

    def start_share(self, role: list[Process]) -> None:
        """`vshare up`, until it has said that it is up."""
        options = ["--relay", self.relay_address, "--relay-only", "--yes"]
        options += ["--target", "127.0.0.1", "--http", str(self.tcp_port)]
        process = self.run(role, self.command("vshare", "up", *options))
        self.share_name = after(process, "Name:")
        self.code = after(process, "Code:")
        self.http_host = after(process, "URL:").removeprefix("http://").rstrip("/")
        self.connect_to = after(process, "Others connect with: vconnect")
        self._http = Way(int(self.http_host.rpartition(":")[2]))
        wait_until(self._url_answers, f"{self.name}: its URL", READY_WITHIN)
        self.took["share_ready"] = time.monotonic() - process.started

    def _url_answers(self) -> bool:
        with contextlib.suppress(OSError), connected(self._http, READY_WITHIN) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % self.http_host.encode())
            return b" 200 " in exactly(sock, len("HTTP/1.1 200 OK"))
        return False

    def start_guest(self, role: list[Process], program: Sequence[str] = ()) -> tuple[Way, Way]:
        """`vconnect`, or `program`; returns the ways to the target's TCP and UDP port."""
        code = self.folder / "code"
        code.write_text(self.code)
        options = ["--disable-static-ip", "--relay-only", "--code-file", str(code)]
        command = self.command("vconnect", *options, self.connect_to)
        process = self.run(role, [*program, *command[1:]] if program else command)
        port, name = int(after(process, "SOCKS address:").rpartition(":")[2]), self.share_name
        return Way(port, name, self.tcp_port), Way(port, name, self.udp_port)

    def way_not_resumable(self) -> Way | None:
        """Through another `vconnect`, whose streams cannot be resumed; None: no stream can."""
        switch = "RESUMABLE"
        if f"\n{switch} = True" not in (self._tree / "tunnel" / "client.py").read_text():
            return None
        if self._plain is None:
            source = f"import tunnel.client; tunnel.client.{switch} = False; "
            source += "import connect_vm.cli; connect_vm.cli.main()"
            self._plain, _ = self.start_guest(self.plain, [sys.executable, "-c", source])
            self.wait_for_echo(self._plain, [])
        return self._plain

    def keyboard(self) -> Keyboard:
        """A guest of a shared terminal, which is started where it is not there yet."""
        return self.terminal.guest()

    @cached_property
    def terminal(self) -> SharedTerminal:
        """A share of its own, since it takes an SSH server."""
        return SharedTerminal(self)

    def stop(self) -> None:
        """See System.stop."""
        if "terminal" in self.__dict__:
            self.terminal.close()
            del self.__dict__["terminal"]
        super().stop()

    def run(
        self,
        role: list[Process],
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """See System.run."""
        return super().run(role, command, {**self.environment, **(environment or {})})

    def command(self, program: str, *words: str) -> list[str]:
        """A command line, without the options that this version of the program does not know."""
        help_of = [str(BIN / program), *words[: program != "vconnect"], "--help"]
        environment = {**os.environ, **self.environment}
        told = subprocess.run(help_of, env=environment, capture_output=True, text=True).stdout
        left_out = {option for option in OPTIONAL if option not in told}
        return [str(BIN / program), *(word for word in words if word not in left_out)]


class SharedTerminal:
    """A shell of this host's, by its SSH, as `vshare terminal` shares it."""

    def __init__(self, system: Ours) -> None:
        self._system = system
        self.share: list[Process] = []
        port = self._start_sshd()
        target = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        options = ["--relay", system.relay_address, "--relay-only", "--yes", "--disable-http"]
        command = system.command("vshare", "up", *options, "--target", target)
        process = system.run(self.share, command)
        self.name, self.code = after(process, "Name:"), after(process, "Code:")
        self.connect_to = after(process, "Others connect with: vconnect")
        words = ["terminal", "--share", self.name, "--read-write"]
        self.sharer = Keyboard([str(BIN / "vshare"), *words], system.environment)
        self.sharer.type(b"echo READ''_Y; exec cat\r")  # what the shell says is another word
        self.sharer.wait_for(READY.encode(), READY_WITHIN)

    def _start_sshd(self) -> int:
        folder, port = self._system.folder / ".ssh", free_port()
        folder.mkdir(mode=0o700)
        for key in ("host_key", "id_ed25519"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(command, check=True)
        (folder / "user_key.pub").write_bytes((folder / "id_ed25519.pub").read_bytes())
        known = " ".join((folder / "host_key.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {known}\n")
        config = folder / "sshd"
        config.write_text(CONFIG.format(port=port, folder=folder))
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._system.run([], [SSHD, "-D", "-e", "-f", str(config)])
        self._system.wait_for_port(port)
        return port

    def guest(self) -> Keyboard:
        """`vconnect terminal`."""
        code = self._system.folder / "terminal-code"
        code.write_text(self.code)
        words = ["terminal", "--relay-only", "--code-file", str(code), self.connect_to]
        guest = Keyboard([str(BIN / "vconnect"), *words], self._system.environment)
        guest.wait_for(b"\x1b]2;", READY_WITHIN)  # what the window is called, with the screen
        return guest

    def close(self) -> None:
        """The sharer hangs up; the share's processes are the system's to end."""
        self.sharer.close()


def after(process: Process, label: str) -> str:
    """What stands behind `label` in the next line that has it. Raises StartError."""
    while True:
        line = process.line().decode()
        if label in line:
            return line.partition(label)[2].strip()
