from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.loops import run, until
from tests.share_pair import NAME, share_pair
from tests.tls_pair import HELLO, connection_pair, tls_pair
from tunnel import client as client_module
from tunnel.client import Client
from tunnel.connection import Connection
from tunnel.errors import LostError, RemoteProtocolError
from tunnel.frames import (
    MAX_TEXT,
    FrameType,
    Notice,
    Open,
    parse_message,
    serialize,
    serialize_message,
)
from vshare.server import ShareServer

EXPIRES = Notice(1, "expires", "", 600.0)


class Told:
    """The notices that came, and somebody to wait for them."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        self.notices.append(notice)

    async def until(self, count: int) -> None:
        await until(lambda: len(self.notices) >= count)


async def pair_with(told: Told) -> tuple[Connection, Connection]:
    client_tls, share_tls = await tls_pair()
    share = Connection(share_tls, is_client=False, on_change=lambda connection: None)
    client = Connection(
        client_tls, is_client=True, on_change=lambda connection: None, on_notice=told
    )
    return client, share


def test_a_notice_arrives_in_the_middle_of_a_stream_and_at_the_end() -> None:
    async def main() -> None:
        told = Told()
        client, share = await pair_with(told)
        share.send_hello(HELLO)
        share.send_notice(EXPIRES)
        await client.hello
        end = client.open(Open(bytes(16), "tcp", "", 80))
        end.discard()
        _, theirs = await share.next_open()
        share.accept(theirs)
        theirs.send(b"before")
        share.send_notice(Notice(2, "extended", "x" * (MAX_TEXT + 1), 3600))
        theirs.send(b"after")
        await told.until(2)
        assert told.notices == [EXPIRES, Notice(2, "extended", "x" * MAX_TEXT, 3600.0)]
        await until(lambda: end.bytes_received == len(b"beforeafter"))
        assert theirs.bytes_sent == end.bytes_received
        share.send_notice(Notice(3, "ended"))
        share.close()
        await told.until(3)
        await until(lambda: client.is_lost)

    run(main)


def test_a_notice_before_hello_ends_the_connection() -> None:
    async def main() -> None:
        told = Told()
        client, share = await pair_with(told)
        share.send_notice(EXPIRES)
        with pytest.raises(LostError, match="unexpected NOTICE"):
            await client.hello
        assert not told.notices
        await until(lambda: share.is_lost)

    run(main)


def test_a_client_has_nothing_to_notify() -> None:
    async def main() -> None:
        client, share, _ = await connection_pair()
        client.send_notice(EXPIRES)
        with pytest.raises(LostError, match="unexpected NOTICE"):
            await share.next_open()
        await until(lambda: client.is_lost)

    run(main)


@pytest.mark.parametrize(
    "payload",
    [
        [-1, "expires", "", 0],
        [2**53, "expires", "", 0],
        [1, "x" * 33, "", 0],
        [1, "expires", "x" * (MAX_TEXT + 1), 0],
        [1, "expires", "", "soon"],
        [1],
        {"id": 1},
    ],
)
def test_a_notice_outside_its_limits(payload: object) -> None:
    with pytest.raises(RemoteProtocolError, match="bad Notice"):
        parse_message(Notice, msgspec.msgpack.encode(payload))


def test_a_bad_notice_ends_the_connection() -> None:
    async def main() -> None:
        told = Told()
        client, share = await pair_with(told)
        share.send_hello(HELLO)
        share.send_lane(serialize(FrameType.NOTICE, 0, b"\xc1"))
        await until(lambda: client.is_lost)
        assert client.error is not None
        assert "bad Notice" in client.error.text
        assert not told.notices
        await until(lambda: share.is_lost)

    run(main)


def tell(server: ShareServer, notice: Notice) -> None:
    for connection in server._connections:
        connection.send_lane(serialize_message(FrameType.NOTICE, 0, notice))


def test_a_client_passes_each_notice_on_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_TOLD", 3)

    async def main() -> None:
        told = Told()
        async with (
            share_pair() as pair,
            Client(pair.dial, pair.identity(), NAME, min_idle=3, on_notice=told) as client,
        ):
            await client.ready()
            await until(lambda: len(client.pool.idle) >= 3)
            for number in (1, 2, 3):
                tell(pair.server, Notice(number, "extended"))
            streams = [await client.open_special("api", "ping") for _ in range(3)]
            assert len({end.connection for end in streams}) == 3  # so all of them have spoken
            assert [notice.id for notice in told.notices] == [1, 2, 3]
            for end in streams:
                end.discard()
                end.send_eof()
            tell(pair.server, Notice(4, "extended"))
            await told.until(4)
            assert sorted(client._told) == [2, 3, 4]

    run(main)


@pytest.mark.parametrize(("route", "seen"), [("", NAME), ("0" * 32, "0" * 32)])
def test_what_the_relay_is_asked_for(route: str, seen: str) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            client = Client(pair.dial, pair.identity(), NAME, route=route)
            assert client._server_name.partition(".")[0] == seen
            async with client:
                await client.ready()

    run(main)


def test_closing_lets_a_notice_leave_though_the_client_was_slow() -> None:
    async def main() -> None:
        told = Told()
        client, share = await pair_with(told)
        share.send_hello(HELLO)
        await client.hello
        client.pause_reading()
        share.send_notice(Notice(1, "removed", "no reason"))
        share.close()
        await asyncio.sleep(0)
        client.resume_reading()
        await told.until(1)
        await until(lambda: client.is_lost)

    run(main)
