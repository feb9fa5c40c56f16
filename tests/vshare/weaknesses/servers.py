"""Servers to be asked, and how to ask them: over a real socket, on the way that guests take."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.vshare.peers import free_port, tcp_server
from vshare.reach_direct import DirectReach
from vshare.weaknesses.asking import ask
from vshare.weaknesses.danger import Verdict
from vshare.weaknesses.dialogue import Conversation, Dialogue

Converse = Callable[[], Conversation]


async def ask_port(port: int, converse: Converse) -> Verdict:
    async with DirectReach("127.0.0.1") as reach:
        return await ask(reach, "", port, converse())


async def ask_fake(converse: Converse, *script: bytes | int) -> tuple[Verdict, bytes]:
    """Ask a server that reads (as many bytes) and says (these bytes) in turns; and what it read."""
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in script:
            if isinstance(turn, int):
                heard.extend(await reader.readexactly(turn))
            else:
                writer.write(turn)
        await reader.read()

    async with tcp_server(serve) as port:
        return await ask_port(port, converse), bytes(heard)


def hear(converse: Converse, data: bytes, size: int = 0) -> Verdict | None:
    """What a conversation comes to when the server says `data`, in pieces of `size`; None: it
    waits for more."""
    dialogue = Dialogue(converse())
    for at in range(0, len(data), size or len(data) or 1):
        dialogue.receive_data(data[at : at + (size or len(data))])
        dialogue.data_to_send()
    return dialogue.verdict


def hear_to_the_end(converse: Converse, data: bytes) -> Verdict:
    dialogue = Dialogue(converse())
    dialogue.receive_data(data)
    dialogue.receive_eof()
    assert dialogue.verdict is not None
    return dialogue.verdict


def unprivileged() -> tuple[int, int]:
    """User and group for servers that refuse to run as root."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


@contextlib.contextmanager
def directory_of_its_own() -> Iterator[Path]:
    """A directory that belongs to `unprivileged()`; pytest's are closed to others."""
    with tempfile.TemporaryDirectory(prefix="vshare-test-") as path:
        os.chown(path, *unprivileged())
        yield Path(path)


@contextlib.contextmanager
def started(command: Sequence[str], ready: bytes) -> Iterator[None]:
    """A server that runs; `ready` is in a line that it prints when it listens."""
    uid, gid = unprivileged()
    switch = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        **switch,  # type: ignore[call-overload]
    ) as process:
        try:
            said = b""
            while ready not in said:
                line = process.stdout.readline()
                said += line
                assert line, said.decode()
            yield
        finally:
            process.terminate()
            process.communicate()


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[int]:
    """A Redis on the loopback, without files; its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options]
    with started(command, b"Ready to accept connections"):
        yield port
