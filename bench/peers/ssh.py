"""OpenSSH: `ssh -R` through a relay's sshd, as a public port, and end to end.

Connections are opened with a session (a `cat` that waits), because with `-N` the relay's sshd
leaves TCP_NODELAY off and every new connection stalls for 44 ms.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from pathlib import Path

from bench.keyboard import READY, Keyboard
from bench.processes import Process
from bench.system import READY_WITHIN, Kind, System, free_port
from bench.way import Way

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "sshd"
GCM = "aes128-gcm@openssh.com"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
GatewayPorts clientspecified
MaxStartups 1000
MaxSessions 1000
"""


class SshPublic(System):
    """`ssh -R PORT:target relay`: the connect side uses the relay's port as it is."""

    name = "ssh -R public"
    kind = Kind.PUBLIC
    needs = ("ssh", "sshd", "ssh-keygen")
    cipher = ""

    def set_up(self) -> None:
        """A key for all, the relay's sshd, the sharer's ssh."""
        if os.getuid() == 0:  # where its service has not made it, sshd does not start as root
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for key in ("host_key", "user_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
            subprocess.run([*command, str(self.folder / key)], check=True)
        self._relay_port = self._sshd(self.relay)
        self._forward(self.tcp_port)

    def _forward(self, target: int) -> None:
        public = free_port()
        self._ssh(self.share, self._relay_port, "-R", f"127.0.0.1:{public}:127.0.0.1:{target}")
        self.wait_for_port(public)
        self.way = Way(public)
        if target == self.tcp_port:
            self.wait_for_echo(self.way, self.share)

    def _sshd(self, role: list[Process]) -> int:
        port = free_port()
        config = self.folder / f"sshd_{port}"
        config.write_text(CONFIG.format(port=port, folder=self.folder))
        self.run(role, [SSHD, "-D", "-e", "-f", str(config)])
        self.wait_for_port(port)
        return port

    def _options(self) -> list[str]:
        options = [f"IdentityFile={self.folder / 'user_key'}", "IdentitiesOnly=yes"]
        options += [f"UserKnownHostsFile={self.folder / 'known'}", "StrictHostKeyChecking=no"]
        options += ["ExitOnForwardFailure=yes", "LogLevel=ERROR"]
        options += [f"Ciphers={self.cipher}"] if self.cipher else []
        return [word for option in options for word in ("-o", option)]

    def _ssh(self, role: list[Process], port: int, *arguments: str) -> None:
        host = f"{getpass.getuser()}@127.0.0.1"
        command = ["ssh", "-F", "none", *self._options(), "-p", str(port), *arguments, host, "cat"]
        self.run(role, command)


class SshEndToEnd(SshPublic):
    """The sharer's sshd behind `ssh -R`, and the guest's `ssh -L` to it through the relay."""

    name = "ssh e2e"
    kind = Kind.END_TO_END

    def _forward(self, target: int) -> None:
        super()._forward(self._sshd(self.share))
        local, to_share = free_port(), self.way.port
        host = f"{getpass.getuser()}@127.0.0.1"
        hop = " ".join(
            ["ssh -F none", *self._options(), f"-p {self._relay_port}", "-W %h:%p", host]
        )
        self._in = ("-p", str(to_share), "-o", f"ProxyCommand={hop}")
        forward = ("-o", f"ProxyCommand={hop}", "-L", f"127.0.0.1:{local}:127.0.0.1:{target}")
        self._ssh(self.connect, to_share, *forward)
        self.wait_for_port(local)
        self.way = Way(local)

    def keyboard(self) -> Keyboard:
        """A session of its own."""
        host = f"{getpass.getuser()}@127.0.0.1"
        command = ["ssh", "-F", "none", *self._options(), *self._in, "-tt", host]
        keyboard = Keyboard([*command, f"echo {READY}; exec cat"], {})
        keyboard.wait_for(READY.encode(), READY_WITHIN)
        return keyboard


class SshEndToEndGcm(SshEndToEnd):
    """The same with the fastest cipher."""

    name = "ssh e2e aes-gcm"
    cipher = GCM
