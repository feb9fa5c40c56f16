from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.loops import Factory, both_loops, run
from tests.vshare.peers import free_port, openssh, tcp_server
from tests.vshare.weaknesses.servers import ask_fake, ask_port
from vshare.reach_ssh import SshReach
from vshare.ssh_link import SshLink
from vshare.weaknesses import asking, redis
from vshare.weaknesses.asking import ask
from vshare.weaknesses.danger import SOUND, WEAK


async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(len(b"*1\r\n$4\r\nPING\r\n"))
    writer.write(b"+PONG\r\n")
    await reader.read()


@both_loops
def test_a_conversation_over_a_socket(factory: Factory) -> None:
    async def main() -> None:
        async with tcp_server(pong) as port:
            assert await ask_port(port, redis.converse) == WEAK

    run(main, factory)


def test_through_ssh(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            tcp_server(pong) as port,
            SshLink(sshd.access) as link,
            SshReach(link) as reach,
        ):
            assert await ask(reach, "127.0.0.1", port, redis.converse()) == WEAK

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_server_that_hangs_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def main() -> None:
        async with tcp_server(hang_up) as port:
            verdict = await ask_port(port, redis.converse)
            assert not verdict.weak
            assert "hung up" in verdict.note

    run(main)


def test_a_port_that_nobody_listens_on() -> None:
    async def main() -> None:
        verdict = await ask_port(free_port(), redis.converse)
        assert not verdict.weak
        assert "refused" in verdict.note

    run(main)


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ASK_TIMEOUT_SECONDS", 0.1)

    async def main() -> None:
        verdict, _ = await ask_fake(redis.converse)
        assert not verdict.weak
        assert "no answer" in verdict.note

    run(main)


def test_a_server_that_does_not_end() -> None:
    async def main() -> None:
        verdict, _ = await ask_fake(redis.converse, b"x" * 1_000_000)
        assert not verdict.weak
        assert "does not end" in verdict.note
        assert (await ask_fake(redis.converse, b"-NOAUTH\r\n"))[0] == SOUND

    run(main)
