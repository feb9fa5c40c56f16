from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

import pytest

from connect_vm.join_share import join_share
from tests.share_pair import CODE, NAME, share_pair
from tunnel import join
from tunnel.alerts import ShareNotFoundError
from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.identity import require_issued
from tunnel.names import JoinCode

Dial = Callable[[], Awaitable[socket.socket]]


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[Dial]:
    """Something that reads a ClientHello, sends `answer` and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)

    async def dial() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        address = server.sockets[0].getsockname()
        await asyncio.get_running_loop().sock_connect(sock, address)
        return sock

    async with server:
        yield dial


def test_what_a_join_gives() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            identity = await join_share(pair.dial, NAME, CODE, "bob")
            require_issued(identity)
            assert identity.ca == pair.authority.certificate

    run(main)


def test_every_join_has_a_key_of_its_own() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            first = await join_share(pair.dial, NAME, CODE, "bob")
            second = await join_share(pair.dial, NAME, CODE, "bob")
            assert first.key.private_numbers() != second.key.private_numbers()
            assert pair.joined == ["bob", "bob-2"]

    run(main)


def test_a_wrong_code_is_tried_once() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            dials = 0

            async def dial() -> socket.socket:
                nonlocal dials
                dials += 1
                return await pair.dial()

            with pytest.raises(RefusedError) as caught:
                await join_share(dial, NAME, JoinCode("zoo-zoo-zoo"), "bob")
            assert caught.value.code is Code.WRONG_CODE
            assert "ask the sharer" in caught.value.hint
            assert dials == 1

    run(main)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x70", ShareNotFoundError, "no share named"),
        (b"\x15\x03\x03\x00\x02\x02\x50", LostError, "does not answer"),
        (b"\x15\x03\x03\x00\x02\x02\x31", LostError, "refuses more connections"),
        (b"", LostError, "ended during the TLS handshake"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LostError, "no connection to the share"),
        (b"\x00" * 100, LostError, "no connection to the share"),
    ],
)
def test_what_the_relay_answers_in_words(answer: bytes, kind: type[VshareError], text: str) -> None:
    async def main() -> None:
        async with answering(answer) as dial:
            with pytest.raises(kind, match=text):
                await join_share(dial, NAME, CODE, "bob")

    run(main)


def test_silence_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:

            async def dial() -> socket.socket:
                sock = socket.socket()
                sock.setblocking(False)
                address = silent.getsockname()
                await asyncio.get_running_loop().sock_connect(sock, address)
                return sock

            with pytest.raises(LostError, match="in time"):
                await join_share(dial, NAME, CODE, "bob")

    monkeypatch.setattr(join, "JOIN_TIMEOUT", 0.2)
    run(main)


def test_a_cancelled_join_leaves_no_socket() -> None:
    async def main() -> None:
        made: list[socket.socket] = []
        connected = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as silent:

            async def dial() -> socket.socket:
                sock = socket.socket()
                sock.setblocking(False)
                address = silent.getsockname()
                await asyncio.get_running_loop().sock_connect(sock, address)
                made.append(sock)
                connected.set()
                return sock

            async with asyncio.TaskGroup() as group:
                task = group.create_task(join_share(dial, NAME, CODE, "bob"))
                await connected.wait()
                task.cancel()
        assert made[0].fileno() == -1

    run(main)
