from __future__ import annotations

import asyncio

import pytest

from tests.loops import both_loops, run
from tests.share_pair import share_pair, socket_to, tcp_service


@both_loops
def test_echo(factory):
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            sock, task = await socket_to(client, port)
            await loop.sock_sendall(sock, b"hello")
            assert await loop.sock_recv(sock, 100) == b"hello"
            sock.shutdown(1)
            assert await loop.sock_recv(sock, 100) == b""
            assert await task is None
            sock.close()

    run(main, factory)
