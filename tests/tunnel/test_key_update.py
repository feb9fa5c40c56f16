"""TLS 1.3's KeyUpdate (RFC 8446 4.6.3), which Python cannot make: openssl s_client can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import pytest

from tests.loops import run
from tests.tls_pair import identities
from tunnel.frames import ALPN
from tunnel.identity import join_server_context
from tunnel.tls_socket import TlsSocket, handshake

ASKS = b"K\n"  # s_client's command: new keys, and the peer shall take new ones as well
UPDATES = b"k\n"  # new keys of ours only


class Echo:
    """Sends back what comes."""

    def __init__(self, tls: TlsSocket) -> None:
        self.tls = tls
        self.data = bytearray()
        self.lost: list[Exception | None] = []
        tls.start(self)

    def data_received(self, data: memoryview) -> None:
        self.data += data
        self.tls.write(bytes(data))

    def writable(self) -> None:
        pass

    def hung_up(self) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


@contextlib.asynccontextmanager
async def s_client() -> AsyncIterator[tuple[Process, Echo]]:
    """openssl s_client, and the TlsSocket that it is connected to."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        words = ("s_client", "-connect", place, "-alpn", ALPN, "-tls1_3", "-brief")
        client = await asyncio.create_subprocess_exec(
            "openssl", *words, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            _guest, share = identities()
            echo = Echo(await handshake(sock, join_server_context(share, ALPN)))
            yield client, echo
            echo.tls.abort()
        finally:
            with contextlib.suppress(ProcessLookupError):
                client.kill()
            await client.communicate()


@pytest.mark.programs
@pytest.mark.parametrize("command", [ASKS, UPDATES])
def test_bytes_cross_before_and_after_new_keys(command: bytes) -> None:
    async def main() -> None:
        async with s_client() as (client, echo):
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stderr is not None
            for word in (b"first\n", b"second\n", b"third\n"):
                client.stdin.write(word)
                assert await client.stdout.readline() == word
                client.stdin.write(command)
                while await client.stderr.readline() != b"KEYUPDATE\n":
                    pass
            client.stdin.write(b"last\n")
            assert await client.stdout.readline() == b"last\n"
            assert bytes(echo.data) == b"first\nsecond\nthird\nlast\n"
            assert echo.lost == []

    run(main)
