from __future__ import annotations

import asyncio

import pytest

from tests.loops import run, until
from tests.tls_pair import connection_pair
from tunnel.connection import Connection
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.frames import Open
from tunnel.messages import MAX_MESSAGE, MessageParser, serialize_message
from tunnel.stream_end import StreamEnd
from tunnel.stream_messages import StreamMessages

MESSAGES = [b"", b"x", b"hello", bytes(MAX_MESSAGE), b"last"]


async def streams() -> tuple[Connection, StreamEnd, Connection, StreamEnd]:
    client, share, _ = await connection_pair()
    ours = client.open(Open(bytes(16), "ssh-key", "", 0))
    _, theirs = await share.next_open()
    share.accept(theirs)
    await ours.opened
    return client, ours, share, theirs


def test_whole_and_byte_by_byte_and_with_trailing_bytes() -> None:
    wire = b"".join(map(serialize_message, MESSAGES)) + b"\x00"
    for size in (len(wire), 1):
        parser = MessageParser()
        got: list[bytes] = []
        for at in range(0, len(wire), size):
            parser.receive_data(wire[at : at + size])
            assert size > 1 or not parser.is_full or len(got) == 3
            while (message := parser.maybe_message()) is not None:
                got.append(message)
        assert got == MESSAGES


def test_too_long() -> None:
    parser = MessageParser()
    parser.receive_data((MAX_MESSAGE + 1).to_bytes(2, "big"))
    with pytest.raises(RemoteProtocolError, match="8193 bytes, at most 8192"):
        parser.maybe_message()


def test_messages_both_ways_and_the_connection_is_used_again() -> None:
    async def main() -> None:
        client, ours, share, theirs = await streams()
        ours.send(serialize_message(b"early"))  # before the other side is a StreamMessages
        one = StreamMessages(ours)
        for message in MESSAGES:
            one.send(message)
        other = StreamMessages(theirs)
        assert [await other.receive() for _ in range(6)] == [b"early", *MESSAGES]
        other.send(b"thanks")
        other.close()
        assert await one.receive() == b"thanks"
        with pytest.raises(LostError, match="ended"):
            await one.receive()
        one.close()
        one.close()
        await until(lambda: client.is_usable and share.is_usable)
        client.abort("done")
        await until(lambda: share.is_lost)

    run(main)


def test_a_flood_is_not_kept() -> None:
    async def main() -> None:
        client, ours, share, theirs = await streams()
        one, other = StreamMessages(ours), StreamMessages(theirs)
        for _ in range(200):
            one.send(bytes(MAX_MESSAGE))
        await until(lambda: share.is_paused)
        for _ in range(200):
            assert await other.receive() == bytes(MAX_MESSAGE)
        theirs.send(b"\xff\xff")
        with pytest.raises(RemoteProtocolError, match="65535 bytes"):
            await one.receive()
        client.abort("done")
        with pytest.raises(LostError):
            await other.receive()
        await until(lambda: share.is_lost)

    run(main)


def test_a_message_as_long_as_may_be_in_the_smallest_pieces() -> None:
    """Reading must not be paused one byte before the message is whole."""

    async def main() -> None:
        client, ours, share, theirs = await streams()
        other = StreamMessages(theirs)
        wire = serialize_message(bytes(MAX_MESSAGE))
        for piece in (wire[:-2], wire[-2:-1], wire[-1:]):
            size = theirs.bytes_received + len(piece)
            ours.send(piece)
            while theirs.bytes_received < size:  # noqa: ASYNC110  # for want of an event
                await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert await other.receive() == bytes(MAX_MESSAGE)
        client.abort("done")
        await until(lambda: share.is_lost)

    run(main)
