from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vshare.peers import free_port, openssh, tcp_server
from vshare.machine import Machine, Source, SshAccess
from vshare.weaknesses import vagrant_key
from vshare.weaknesses.vagrant_key import PUBLIC_KEYS, KeyTrial, try_vagrant_key

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


def test_it_is_the_key_that_vagrant_publishes() -> None:
    assert DEMO.read_text().split()[:2] == PUBLIC_KEYS[0].split()


def make_user_key(tmp_path: Path) -> None:
    key = tmp_path / "user_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
