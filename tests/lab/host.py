"""One host of the lab: namespaces kept by a holder process, and commands run in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

from tests.lab import libvirt, state, vagrant
from tests.lab.plan import Node
from tunnel.errors import VshareError

PROGRAMS = Path(__file__).parent
READY_WITHIN = 10.0  # seconds; measured 0.1 to 0.3 on two busy cores
STOP_WITHIN = 45.0
"""Seconds between TERM and KILL. `vconnect` removes its machine in 1, and under Vagrant in 5."""
BINDS = {
    "libvirt/lib": "/var/lib/libvirt",
    "libvirt/log": "/var/log/libvirt",
    "libvirt/cache": "/var/cache/libvirt",
    "libvirt/etc": "/etc/libvirt",
}


class Host:
    """A host that is up. Made by `Lab`; commands run as root, with a HOME of their own."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.name = node.name
        self.ip = node.address
        self.folder = folder
        self.home = folder / "home"
        self.tmp = folder / "tmp"
        self._holder: subprocess.Popen[str] | None = None
        self._running: list[subprocess.Popen[Any]] = []
        self._libvirtd = Lock()
        self._has_libvirtd = False
        self.pid = 0

    # -- life ------------------------------------------------------------------------------

    def start(self, files: Mapping[str, str]) -> None:
        """Start the holder; `wait_ready` follows. `files` replace files of the machine."""
        for name in ("home", "tmp", "log", *BINDS):
            (self.folder / name).mkdir(parents=True)
        passwd = {"/etc/passwd": _passwd(self.home)}
        config = {
            "name": self.name,
            "scratch": str(self.folder),
            "binds": BINDS,
            "files": {**files, **passwd},
        }
        program = [
            sys.executable,
            "-I",
            "-S",
            "-B",
            str(PROGRAMS / "holder.py"),
            json.dumps(config),
        ]
        with (self.folder / "log/holder.txt").open("w") as log:
            self._holder = subprocess.Popen(
                program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the lab, which ends its hosts in order
            )

    def wait_ready(self) -> None:
        """Return when the namespaces exist. Raises VshareError with the holder's own words."""
        assert self._holder is not None
        assert self._holder.stdout is not None
        pid = self._holder.stdout.readline().strip()
        if not pid or self._holder.stdout.readline().strip() != "ready":
            words = (self.folder / "log/holder.txt").read_text().strip().splitlines()
            raise VshareError(
                f"host {self.name!r} did not start: {words[-1] if words else 'no output'}",
                "the lab needs root and the network, mount, uts and pid namespaces of Linux",
            )
        self.pid = int(pid)

    def stop(self) -> None:
        """End what runs here (TERM, then KILL) and the host with it. Idempotent."""
        for process in self._running:
            process.terminate()  # does nothing to what has ended
        for process in self._running:
            _end(process)
        self._running.clear()
        if self._holder is not None:
            assert self._holder.stdin is not None
            assert self._holder.stdout is not None
            self._holder.stdin.close()
            self._holder.wait()
            self._holder.stdout.close()
            self._holder = None

    def start_libvirtd(self) -> None:
        """A libvirtd of this host's own, started once. Raises VshareError when it does not."""
        with self._libvirtd:
            if not self._has_libvirtd:
                libvirt.start(self)
                self._has_libvirtd = True

    def vagrant_up(self, vagrantfile: Path = vagrant.VAGRANTFILE, box: Path = vagrant.BOX) -> Path:
        """Boot the demo machine under Vagrant here; returns the folder of its Vagrantfile.

        Raises VshareError, with Vagrant's last words, when the box is missing or does not boot.
        """
        self.start_libvirtd()
        return vagrant.up(self, vagrantfile, box)

    # -- commands --------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What commands here find in their environment; nothing of the machine's user."""
        path = [str(Path(sys.executable).parent), "/usr/local/sbin", "/usr/local/bin"]
        path += ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        home = str(self.home)
        return {
            "PATH": ":".join(path),
            "HOME": home,
            "USER": "root",
            "LOGNAME": "root",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb"),
            "TMPDIR": str(self.tmp),
            "TMUX_TMPDIR": str(self.tmp),
            "XDG_CACHE_HOME": f"{home}/.cache",
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_DATA_HOME": f"{home}/.local/share",
            "XDG_STATE_HOME": f"{home}/.local/state",
            "XDG_RUNTIME_DIR": "/run/user/0",
            "VAGRANT_HOME": f"{home}/.vagrant.d",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "LIBVIRT_DEFAULT_URI": "qemu:///system",
            "PYTHONPATH": str(PROGRAMS.parent.parent),
            "PYTHONUNBUFFERED": "1",
        }

    def state(self) -> state.HostState:
        """What `python -m tests.lab exec` needs to know of this host."""
        return state.HostState(state.process(self.pid), self.ip, str(self.home), self.environment)

    def path(self, inside: str) -> Path:
        """Where the machine sees the host's file `inside` (an absolute path), tmpfs included."""
        return Path(f"/proc/{self.pid}/root", inside.lstrip("/"))

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 60.0,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, output captured as text.

        Raises VshareError with its last words when it fails and `check` is set, or does not end in
        `timeout` seconds (it is killed then).
        """
        try:
            done = subprocess.run(
                entering(self.pid, cwd or self.home, command),
                env={**self.environment, **(env or {})},
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise VshareError(
                f"{self.name}: {' '.join(command)} did not end in {timeout:g} s"
                + _last_words(error.stderr or error.stdout)
            ) from None
        if check and done.returncode != 0:
            raise VshareError(
                f"{self.name}: {' '.join(command)} failed with {done.returncode}"
                + _last_words(done.stderr or done.stdout)
            )
        return done

    def popen(
        self,
        command: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command, which gets the signals sent to what is returned.

        It ends with the lab at the latest.
        """
        process = subprocess.Popen(
            entering(self.pid, cwd or self.home, command),
            env={**self.environment, **(env or {})},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._running.append(process)
        return process

    @contextmanager
    def running(self, command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
        """`popen` for the length of a block: TERM at its end, KILL if that does not help."""
        process = self.popen(command, **options)
        try:
            yield process
        finally:
            process.terminate()
            _end(process)
            self._running.remove(process)

    def processes(self) -> list[str]:
        """The command lines of everything that runs here, but process 1 and the question itself."""
        listing = self.run(["ps", "-eo", "pid=,args="]).stdout.splitlines()
        return [
            line.strip()
            for line in listing
            if line.split()[0] != "1" and "ps -eo pid=,args=" not in line
        ]


def entering(pid: int, folder: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` on the host whose process 1 is `pid`."""
    program = [sys.executable, "-I", "-S", "-B", str(PROGRAMS / "enter.py")]
    return [*program, str(pid), str(folder), *command]


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was told to end, and make it."""
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _passwd(home: Path) -> str:
    """/etc/passwd with another home for root: OpenSSH looks there, whatever HOME says."""
    lines = Path("/etc/passwd").read_text().splitlines()
    rows = [line.split(":") for line in lines]
    for row in rows:
        if row[0] == "root":
            row[5] = str(home)
    return "".join(":".join(row) + "\n" for row in rows)


def _last_words(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    lines = text.strip().splitlines()[-5:]
    return ": " + " | ".join(lines) if lines else ""
