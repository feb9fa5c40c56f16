"""Conversations that go another way than request, answer, request."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.relay.test_gateway import Reader, World, Writer, with_world
from tests.relay.tiny_share import tiny_share

CHUNKED = "Transfer-Encoding: chunked"


async def ask_for(world: World, answer: bytes, text: str, body: bytes) -> tuple[bytes, bytes]:
    """What a visitor gets from, and what came to, an application that answers at once and closes
    when nothing more comes."""
    seen = bytearray()

    async def serve(reader: Reader, writer: Writer) -> None:
        seen.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                seen.extend(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with tiny_share(world.relay.address, port) as link, world.browser() as browser:
            browser.send(text + "\nConnection: close", body, f"{link.registered.name}.localhost")
            return await browser.reader.read(), bytes(seen)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (f"POST /\n{CHUNKED}", b"5\r\nhello\r\nx\r\n"),
        (f"POST /\n{CHUNKED}", b"4\r\nhello\r\n0\r\n\r\n"),
        (f"POST /\n{CHUNKED}", b"5\r\nhello\r\n0\r\nno field\r\n\r\n"),
        (f"POST /\n{CHUNKED}", b"5\nhello\r\n0\r\n\r\n"),
    ],
)
def test_who_sends_a_bad_body_is_told_so(text: str, body: bytes) -> None:
    async def test(world: World) -> None:
        answer, _ = await ask_for(world, b"", text, body)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"connection: close" in answer.lower()

    with_world(test)


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked\r\n"])
def test_an_answer_to_head_frames_what_the_application_says(framing: str) -> None:
    said = f"HTTP/1.1 200 OK\r\nX-App: 1\r\n{framing}\r\n".encode()

    async def test(world: World) -> None:
        answer, _ = await ask_for(world, said, "HEAD /", b"")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert (b"transfer-encoding" in answer.lower()) == bool(framing)

    with_world(test)


def test_trailers_pass_both_ways_but_for_those_that_frame_or_vouch() -> None:
    body = (
        b"2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX_Forwarded_For: 6\r\nCookie: a\r\n\r\n"
    )

    async def test(world: World) -> None:
        said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        answer, seen = await ask_for(world, said, f"POST /\n{CHUNKED}", body)
        for each in (answer, seen):
            assert each.endswith(b"0\r\nX-Sum: 1\r\n\r\n")

    with_world(test)


def test_an_answer_before_the_end_of_an_upload_arrives() -> None:
    said = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def test(world: World) -> None:
        answer, _ = await ask_for(world, said, "POST /\nContent-Length: 9000000", bytes(3_000_000))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"no")
        assert b"connection: close" in answer.lower()

    with_world(test)


def test_only_who_was_not_answered_at_all_is_asked_again() -> None:
    """A kept stream may have ended meanwhile; an answer that is none has come from somebody."""

    async def test(world: World) -> None:
        asked = 0

        async def serve(reader: Reader, writer: Writer) -> None:
            nonlocal asked
            with contextlib.suppress(asyncio.IncompleteReadError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    asked += b"/bad" in head
                    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                    writer.write(b"HTTP/1.1 600 No\r\n\r\n" if b"/bad" in head else ok)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with tiny_share(world.relay.address, port) as link, world.browser() as browser:
            browser.host = f"{link.registered.name}.localhost"
            assert b" 200 " in (await browser.ask("GET /"))[0]
            assert b" 502 " in (await browser.ask("GET /bad"))[0]
        assert asked == 1
        server.close()

    with_world(test)


@pytest.mark.parametrize("tail", [b"", b"GET /later HTTP/1.1\r\nHost: HOST\r\n\r\n"])
def test_who_ended_its_side_and_gets_no_answer_is_given_up_for_good(
    tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked again for it, which nobody would watch any more."""
    monkeypatch.setattr("relay.silence.HALF_CLOSED_SILENCE", 0.1)

    async def test(world: World) -> None:
        asked: list[bytes] = []

        async def serve(reader: Reader, writer: Writer) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    asked.append(head.split()[1])
                    if head.startswith(b"GET /ok "):
                        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with tiny_share(world.relay.address, port) as link, world.browser() as browser:
            browser.host = f"{link.registered.name}.localhost"
            assert b" 200 " in (await browser.ask("GET /ok"))[0]
            browser.send("GET /silent")
            browser.writer.write(tail.replace(b"HOST", browser.host.encode()))
            browser.writer.write_eof()
            answer = await browser.reader.read()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"connection: close" in answer.lower()
        assert asked == [b"/ok", b"/silent"]
        server.close()

    with_world(test)
