"""A machine to put keys into: an OpenSSH server of our own user, whose home is a test's folder."""

from __future__ import annotations

import contextlib
import getpass
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vshare.peers import SSHD, free_port
from vshare.machine import SshAccess

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
HostKey {folder}/host_ecdsa
AuthorizedKeysFile {folder}/admin.pub {keys}
SetEnv HOME={home}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""


@dataclass(frozen=True)
class SshMachine:
    """`access` is as Vagrant gives it: a key of its own, and no host key is checked."""

    access: SshAccess
    home: Path
    host_keys: tuple[str, ...]

    @property
    def authorized_keys(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    @property
    def keys(self) -> str:
        return self.authorized_keys.read_text() if self.authorized_keys.exists() else ""

    def lets_in(self, private: Path) -> bool:
        """Whether `ssh` gets in with this key, which has no password."""
        options = "-F none -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=no"
        command = ["ssh", *options.split(), "-o", "UserKnownHostsFile=/dev/null"]
        command += ["-p", str(self.access.port), "-i", str(private)]
        command += [f"{self.access.user}@{self.access.host}", "true"]
        env = {**os.environ, "SSH_AUTH_SOCK": ""}
        done = subprocess.run(command, capture_output=True, check=False, env=env)
        return done.returncode == 0


@contextlib.contextmanager
def ssh_machine(folder: Path, *, keys: str = "") -> Iterator[SshMachine]:
    """The machine; `keys` is where its server looks, if not in its user's home."""
    if not SSHD:
        pytest.skip("no OpenSSH server is installed")
    if os.getuid() == 0:  # where its service has not made it, sshd does not start as root
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for kind, name in (("ed25519", "host_ed25519"), ("ecdsa", "host_ecdsa"), ("ed25519", "admin")):
        if not (folder / name).exists():
            command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    port = free_port()
    config = folder / "sshd_config"
    keys = keys or f"{home}/.ssh/authorized_keys"
    config.write_text(_CONFIG.format(port=port, folder=folder, home=home, keys=keys))
    public = [(folder / f"host_{kind}.pub").read_text() for kind in ("ed25519", "ecdsa")]
    host_keys = tuple(sorted(" ".join(each.split()[:2]) for each in public))
    access = SshAccess("127.0.0.1", port, getpass.getuser(), (folder / "admin",))
    server = [SSHD, "-D", "-e", "-f", str(config)]
    with subprocess.Popen(server, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            while b"listening on" not in process.stderr.readline():
                assert process.poll() is None, "sshd did not start"
            yield SshMachine(access, home, host_keys)
        finally:
            process.terminate()
            process.communicate()
