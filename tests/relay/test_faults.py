"""A real relay process to which something happens, with shares' real links."""

import asyncio
import contextlib
import json
import os
import resource
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.tunnel.test_clienthello import real_hello
from tunnel.address import RelayAddress, parse_relay
from tunnel.names import ShareName
from tunnel.parking import Paired
from vshare.relay_link import RelayLink

pytestmark = pytest.mark.programs

RECOVERS = float(os.environ.get("VSHARE_RECOVERS", "2"))  # seconds; more where others work, too


class Program:
    """`vrelay serve`, on the same port and with the same state each time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, 0
        self.errors = folder / "stderr"
        self.address: RelayAddress
        self.process: subprocess.Popen[str]

    @contextlib.contextmanager
    def run(self) -> Iterator[None]:
        command = [sys.executable, "-m", "relay.cli", "serve", "--json"]
        command += [
            "--listen",
            f"127.0.0.1:{self._port}",
            "--state-dir",
            str(self._folder / "state"),
        ]
        with (
            open(self.errors, "a") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
        ):
            self.process = process
            try:
                assert process.stdout is not None
                self.address = parse_relay(json.loads(process.stdout.readline())["relay"])
                self._port = self.address.port
                yield
            finally:
                process.kill()

    def limit(self, kind: int, soft: int | None) -> None:
        """Change a limit of the running process; None: as high as it goes."""
        _, hard = resource.prlimit(self.process.pid, kind)
        resource.prlimit(self.process.pid, kind, (hard if soft is None else soft, hard))

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Share:
    """A link whose visitors are collected."""

    def __init__(self, program: Program, name: str, key: Ed25519PrivateKey | None = None) -> None:
        self.visitors: asyncio.Queue[tuple[socket.socket, Paired]] = asyncio.Queue()
        self.link = RelayLink(
            program.address,
            key or Ed25519PrivateKey.generate(),
            ShareName(name),
            on_visitor=lambda sock, paired: self.visitors.put_nowait((sock, paired)),
            expires_at=time.time() + 3600,
            route=secrets.token_hex(16),
        )

    async def visit(self, *, within: float = 10.0) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new stream, tried until it comes about."""
        loop = asyncio.get_running_loop()
        hello = real_hello(f"{self.link.route}.x", "vshare/1")
        async with asyncio.timeout(within):
            while True:
                with contextlib.ExitStack() as stack, contextlib.suppress(OSError, TimeoutError):
                    sock = stack.enter_context(socket.socket())
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", self.link.places.configured.port))
                    await loop.sock_sendall(sock, hello)
                    async with asyncio.timeout(1):
                        far, _ = await self.visitors.get()
                        assert await loop.sock_recv(far, 65_536) == hello
                        stack.pop_all()
                        return sock, far
                await asyncio.sleep(0.05)


async def talk(one: socket.socket, other: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for sender, receiver in ((one, other), (other, one)):
        await loop.sock_sendall(sender, b"hi")
        assert await loop.sock_recv(receiver, 10) == b"hi"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 50))


def test_killed_and_started_again_shares_are_back_within_two_seconds(program: Program) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(contextlib.ExitStack())
            running.enter_context(program.run())
            shares = [Share(program, f"share-{number}") for number in range(5)]
            async with contextlib.AsyncExitStack() as links:
                for share in shares:
                    await links.enter_async_context(share.link)
                for pause in (0.0, 3.0):
                    program.process.kill()
                    running.close()
                    await asyncio.sleep(pause)
                    running.enter_context(program.run())
                    begun = time.monotonic()
                    for share in shares:
                        for sock in await share.visit():
                            sock.close()
                        assert share.link.registered.name.startswith("share-")
                    assert time.monotonic() - begun < RECOVERS

    run(main)


def test_out_of_file_descriptors(program: Program) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with program.run():
            share = Share(program, "the-share")
            async with share.link:
                one, other = await share.visit()
                program.limit(resource.RLIMIT_NOFILE, program.files() + 6)
                crowd = []
                for _ in range(40):
                    sock = socket.socket()
                    sock.setblocking(False)
                    crowd.append(sock)
                    with contextlib.suppress(OSError):
                        await loop.sock_connect(sock, ("127.0.0.1", program.address.port))
                await talk(one, other)  # what is open goes on
                before = time.process_time()
                await asyncio.sleep(0.3)
                assert time.process_time() - before < 0.2
                assert program.process.poll() is None
                for sock in crowd:
                    sock.close()
                program.limit(resource.RLIMIT_NOFILE, None)
                for sock in (*await share.visit(), one, other):
                    sock.close()
                text = program.errors.read_text()
                assert text.count("out of file descriptors") == 1, text
                assert "Traceback" not in text

    run(main)


def test_a_disk_that_is_full(program: Program) -> None:
    """Its files cannot grow: those who have names keep them, new ones get theirs, and when there
    is room again all are written."""

    async def main() -> None:
        key = Ed25519PrivateKey.generate()
        with program.run():
            async with Share(program, "known", key).link:
                program.limit(
                    resource.RLIMIT_FSIZE, 8_192
                )  # room for what it says, not for the book
                async with Share(program, "other").link as other:
                    assert other.registered.name == "other"
                async with Share(program, "known", key).link as again:
                    assert again.registered.name == "known"
                assert program.process.poll() is None
                program.limit(resource.RLIMIT_FSIZE, None)
            program.process.terminate()
            program.process.wait(10)  # at its end the book is written, as it is every 30 s
        with program.run():
            with pytest.raises(Exception, match="belongs to somebody else"):
                async with Share(program, "other").link:
                    pass
            text = program.errors.read_text()
            assert text.count("cannot be kept on disk") == 1, text
            assert "Traceback" not in text

    run(main)
