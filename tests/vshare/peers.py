"""Real peers for the tests of what reaches a machine: an OpenSSH server, echo servers."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from vshare.machine import SshAccess

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or ""
WAIT = 20.0

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {keys}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
AllowTcpForwarding {forwarding}
"""
# The user's shell may set its own PATH, so it is set after it.
_FORCED = 'ForceCommand PATH={path} exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"\n'


@dataclass(frozen=True)
class Sshd:
    access: SshAccess
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def openssh(tmp_path: Path, *, forwarding: bool = True, programs: str = "") -> Iterator[Sshd]:
    """An OpenSSH server of our own user on the loopback; `programs` becomes its users' PATH."""
    if not SSHD:
        pytest.skip("no OpenSSH server is installed")
    if os.getuid() == 0:  # where its service has not made it, sshd does not start as root
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    host_key, user_key = tmp_path / "host_key", tmp_path / "user_key"
    for key in (host_key, user_key):
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    port = free_port()
    config = tmp_path / "sshd_config"
    config.write_text(
        _CONFIG.format(
            port=port,
            host_key=host_key,
            keys=f"{user_key}.pub",
            forwarding="yes" if forwarding else "no",
        )
        + (_FORCED.format(path=programs) if programs else "")
    )
    known = tmp_path / "known_hosts"
    kind, blob = host_key.with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{port} {kind} {blob}\n")
    access = SshAccess("127.0.0.1", port, getpass.getuser(), (user_key,), known_hosts=known)
    command = [SSHD, "-D", "-e", "-f", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            while b"listening on" not in process.stderr.readline():
                assert process.poll() is None, "sshd did not start"
            yield Sshd(access, process)
        finally:
            process.terminate()
            process.communicate()


def free_port() -> int:
    """A port nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def tcp_server(handler, host: str = "127.0.0.1") -> AsyncIterator[int]:  # type: ignore[no-untyped-def]
    """A TCP server on the loopback that calls `handler(reader, writer)`; its port."""
    running: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running[task] = writer
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)

    server = await asyncio.start_server(handle, host, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task, writer in running.items():
        task.cancel()
        writer.transport.abort()
    await asyncio.wait(running) if running else None
    await asyncio.sleep(0)  # the transports close in the loop's next turn


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, with its half-close."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    writer.close()


@contextlib.asynccontextmanager
async def udp_echo() -> AsyncIterator[int]:
    """A UDP echo server on the loopback; its port. (asyncio's own never sends empty datagrams.)"""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind(("127.0.0.1", 0))

        def answer() -> None:
            data, address = sock.recvfrom(65536)
            sock.sendto(data, address)

        loop.add_reader(sock, answer)
        try:
            yield sock.getsockname()[1]
        finally:
            loop.remove_reader(sock)


class Peer(End):
    """The other side of an end that is tested: keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self.received = 0
        self.data = b""
        self.eof = asyncio.Event()
        self.news = asyncio.Event()
        self.was_reset: Code | None = None
        self.may_send = asyncio.Event()
        self.may_send.set()

    def send(self, data: Bytes) -> None:
        self.digest.update(data)
        self.received += len(data)
        self.data = (self.data + bytes(data))[-65536:]
        self.news.set()

    def send_eof(self) -> None:
        self.eof.set()
        self.news.set()

    def reset(self, code: Code) -> None:
        self.was_reset = code
        self.closed(code)
        self.news.set()

    def pause_reading(self) -> None:
        self.may_send.clear()

    def resume_reading(self) -> None:
        self.may_send.set()

    async def until(self, condition) -> None:  # type: ignore[no-untyped-def]
        """Wait until `condition()` holds."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self.news.clear()
                await self.news.wait()


def link(end: End) -> Peer:
    """A Peer, linked to `end`."""
    peer = Peer()
    end.link(peer)
    peer.link(end)
    return peer


class Datagrams:
    """A FlowReceiver that keeps what it is told."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.refused: Code | None = None
        self.closed = False
        self.news = asyncio.Event()

    def datagram_received(self, data: bytes) -> None:
        self.received.append(data)
        self.news.set()

    def flow_refused(self, code: Code) -> None:
        self.refused = code
        self.news.set()

    def flow_closed(self) -> None:
        self.closed = True
        self.news.set()

    async def until(self, condition) -> None:  # type: ignore[no-untyped-def]
        """Wait until `condition()` holds."""
        async with asyncio.timeout(WAIT):
            while not condition():
                self.news.clear()
                await self.news.wait()
