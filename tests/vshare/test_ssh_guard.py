from __future__ import annotations

import asyncio

import pytest

from tests.loops import run, until
from tests.share_pair import TcpService, share_pair, socket_to, tcp_service

PAUSE = 0.01  # seconds between pieces; they are apart for the guard, whatever the network does


class Greeter(TcpService):
    """Says its pieces, one after another."""

    pieces: tuple[bytes, ...]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._say(self.pieces)

    def _say(self, pieces: tuple[bytes, ...]) -> None:
        if pieces and not self.transport.is_closing():
            self.transport.write(pieces[0])
            asyncio.get_running_loop().call_later(PAUSE, self._say, pieces[1:])


def greeter(*pieces: bytes) -> type[TcpService]:
    return type("SomeGreeter", (Greeter,), {"pieces": pieces})


@pytest.mark.parametrize(
    "pieces",
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n",),
        (b"S", b"SH-2.0-OpenSSH_9.2p1\r\n"),
        (b"SS", b"H", b"-", b"1.99-whatever\r\n"),
    ],
)
def test_no_byte_of_an_ssh_server_reaches_the_guest(pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        async with (
            share_pair() as pair,
            tcp_service(greeter(*pieces)) as port,
            pair.client() as client,
        ):
            sock, task = await socket_to(client, port)
            try:
                received = await asyncio.get_running_loop().sock_recv(sock, 64)
            except ConnectionResetError:
                received = b"reset"
            assert received == b"reset"
            sock.close()
            await task

    run(main)


def test_the_machine_is_let_go_too() -> None:
    """Else streams that were refused add up, in the share and at the machine's SSH server."""

    async def main() -> None:
        async with (
            share_pair() as pair,
            tcp_service(greeter(b"SSH-2.0-OpenSSH_9.2p1\r\n")) as port,
            pair.client() as client,
        ):
            sock, task = await socket_to(client, port)
            await task
            sock.close()
            async with asyncio.timeout(1):
                await until(lambda: pair.told("stream"))
            assert pair.told("stream")[0].fields["code"] == "not_allowed"
            assert pair.told("stream")[0].fields["bytes_out"] == 0

    run(main)


@pytest.mark.parametrize(
    "pieces", [(b"SSL-2.0\r\n",), (b"SS", b"D ready\r\n"), (b"220 hello\r\n",)]
)
def test_what_is_not_ssh_passes(pieces: tuple[bytes, ...]) -> None:
    async def main() -> None:
        async with (
            share_pair() as pair,
            tcp_service(greeter(*pieces)) as port,
            pair.client() as client,
        ):
            sock, task = await socket_to(client, port)
            received = b""
            while len(received) < len(b"".join(pieces)):
                received += await asyncio.get_running_loop().sock_recv(sock, 64)
            assert received == b"".join(pieces)
            sock.close()
            await task

    run(main)
