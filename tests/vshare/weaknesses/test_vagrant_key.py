from __future__ import annotations

import asyncio
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.loops import run
from tests.vshare.peers import free_port, openssh, tcp_server
from vshare.machine import Machine, Source, SshAccess
from vshare.weaknesses import vagrant_key
from vshare.weaknesses.vagrant_key import PUBLIC_KEYS, KeyTrial, try_vagrant_key

pytestmark = pytest.mark.programs

DEMO = Path(__file__).parents[3] / "box" / "demo" / "vagrant.pub"


def machine(access: SshAccess | None, address: str | None = None) -> Machine:
    return Machine("web", "test", "running", address, Source.VAGRANT, access)


@pytest.mark.parametrize("which", [0, 1])
def test_a_server_that_takes_the_public_key(tmp_path: Path, which: int) -> None:
    make_user_key(tmp_path)
    (tmp_path / "user_key.pub").write_text(PUBLIC_KEYS[which] + "\n")
    with openssh(tmp_path) as sshd:
        assert asyncio.run(try_vagrant_key(machine(sshd.access))) == KeyTrial(True)


def test_a_server_that_does_not_take_it(tmp_path: Path) -> None:
    """Although the key that opens it is at hand, for the machine's owner."""
    with openssh(tmp_path) as sshd:
        assert asyncio.run(try_vagrant_key(machine(sshd.access))) == KeyTrial(False)


def test_nothing_of_the_users_own_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a key in ~/.ssh, nor one that ~/.ssh/config names, nor the SSH agent's."""
    home = tmp_path / ".ssh"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    with openssh(home) as sshd, ssh_agent(tmp_path / "agent", home / "user_key"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        shutil.copy(home / "user_key", home / "id_ed25519")
        (home / "config").write_text(f"IdentityFile {home / 'user_key'}\n")
        assert asyncio.run(try_vagrant_key(machine(sshd.access))) == KeyTrial(False)


@contextmanager
def ssh_agent(path: Path, key: Path) -> Iterator[None]:
    """OpenSSH's agent at `path`, with one key."""
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it listens
            subprocess.run(
                ["ssh-add", "-q", key], check=True, env=os.environ | {"SSH_AUTH_SOCK": str(path)}
            )
            yield
        finally:
            process.terminate()


def test_a_server_whose_host_key_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "nothing").touch()
    with openssh(tmp_path) as sshd:
        access = replace(sshd.access, known_hosts=tmp_path / "nothing")
        trial = asyncio.run(try_vagrant_key(machine(access)))
    assert trial.opens is None
    assert "Host key" in trial.why


def test_no_server() -> None:
    trial = asyncio.run(try_vagrant_key(machine(SshAccess("127.0.0.1", free_port(), "vagrant"))))
    assert trial.opens is None
    assert trial.why
    assert asyncio.run(try_vagrant_key(machine(None))).opens is None


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-\xff\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 5000,
        b"SSH-2.0-x\r\n" + struct.pack(">I", 12) + b"\x04\x14 short" + b"\0" * 4,
        b"x" * 100_000,
        b"\n" * 5000,
        b"",
    ],
)
def test_a_server_that_speaks_no_ssh(greeting: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()
        await reader.readline()
        writer.close()

    async def main() -> None:
        async with tcp_server(serve) as port:
            trial = await try_vagrant_key(machine(SshAccess("127.0.0.1", port, "vagrant")))
        assert trial.opens is None
        assert trial.why

    run(main)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vagrant_key, "TRY_TIMEOUT_SECONDS", 0.1)

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def main() -> None:
        async with tcp_server(silence) as port:
            trial = await try_vagrant_key(machine(SshAccess("127.0.0.1", port, "vagrant")))
        assert trial.opens is None
        assert "no answer" in trial.why

    asyncio.run(main())


def test_a_server_that_lets_everybody_in() -> None:
    class Open(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        async with asyncssh.listen(
            "127.0.0.1", 0, server_factory=Open, server_host_keys=[key]
        ) as s:
            here = machine(SshAccess("127.0.0.1", s.get_port(), "vagrant"))
            assert await try_vagrant_key(here) == KeyTrial(True)

    run(main)


def test_it_is_the_key_that_vagrant_publishes() -> None:
    assert DEMO.read_text().split()[:2] == PUBLIC_KEYS[0].split()


def make_user_key(tmp_path: Path) -> None:
    key = tmp_path / "user_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
