"""The SSH connection to a machine whose server dies, hangs, or is somewhere else by now."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vshare.peers import Sshd, echo, free_port, link, openssh, tcp_server
from tunnel.codes import Code
from vshare import reach_ssh, ssh_link
from vshare.machine import SshAccess
from vshare.reach_ssh import SshReach
from vshare.ssh_link import SshLink

pytestmark = pytest.mark.programs


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_ssh, "PATIENCE", 0.1)
    monkeypatch.setattr(ssh_link, "ANSWER_WITHIN_SECONDS", 0.3)
    monkeypatch.setattr(ssh_link, "ASK_AGAIN_SECONDS", 0.02)


def sessions(sshd: Sshd) -> list[int]:
    """The processes that serve its connections."""
    found = [sshd.process.pid]
    for pid in found:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        found += [int(each) for each in children.split()]
    return found[1:]


def test_a_server_that_hangs_is_left_for_a_new_connection(tmp_path: Path) -> None:
    """What is open in the old connection goes on when that wakes up."""

    async def main(sshd: Sshd) -> None:
        async with (
            tcp_server(echo) as port,
            SshLink(sshd.access) as ssh,
            SshReach(ssh) as reach,
        ):
            old = await reach.open_tcp("", port)
            peer, first = link(old), await ssh.connection()
            asleep = sessions(sshd)
            for pid in asleep:
                os.kill(pid, signal.SIGSTOP)
            try:
                end = await reach.open_tcp("", port)
                assert await ssh.connection() is not first
                end.reset(Code.CLOSED)
            finally:
                for pid in asleep:
                    os.kill(pid, signal.SIGCONT)
            old.send(b"still here")
            await peer.until(lambda: peer.data == b"still here")
            old.reset(Code.CLOSED)

    with openssh(tmp_path) as sshd:
        asyncio.run(main(sshd))


def test_a_healthy_connection_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a port of the machine's takes its time."""
    monkeypatch.setattr(ssh_link, "ANSWER_WITHIN_SECONDS", 10.0)

    async def main(sshd: Sshd) -> None:
        async with SshLink(sshd.access) as ssh:
            first = await ssh.connection()
            assert await ssh.checked(first) is first

    with openssh(tmp_path) as sshd:
        asyncio.run(main(sshd))


def test_the_cipher_is_one_that_costs_little(tmp_path: Path) -> None:
    async def main(sshd: Sshd) -> None:
        async with SshLink(replace(sshd.access, known_hosts=None)) as ssh:
            connection = await ssh.connection()
            assert connection.get_extra_info("send_cipher") == "aes256-gcm@openssh.com"

    with openssh(tmp_path) as sshd:
        asyncio.run(main(sshd))


def test_it_is_waited_for_and_found_elsewhere(tmp_path: Path) -> None:
    """A server that is started again after its connection was lost, on another port."""
    places: list[SshAccess] = []

    async def elsewhere() -> list[SshAccess]:
        return places

    async def main() -> None:
        with openssh(tmp_path) as sshd:
            ssh = SshLink(replace(sshd.access, known_hosts=None), elsewhere)
            async with ssh:
                (await ssh.connection()).abort()
                await asyncio.sleep(0)
                ssh.access = replace(ssh.access, port=free_port())
                async with asyncio.TaskGroup() as group:
                    waiting = group.create_task(ssh.connection())
                    await asyncio.sleep(0.1)
                    assert not waiting.done()
                    places.append(replace(sshd.access, known_hosts=None))
                assert not waiting.result().is_closed()
                assert ssh.access.port == sshd.access.port

    asyncio.run(main())
