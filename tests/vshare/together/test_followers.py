"""The board and its followers, through a share's and a guest's own code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from connect_vm import following
from connect_vm.following import Following
from tests.loops import Factory, both_loops, run, until
from tests.share_pair import share_pair
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.ends import Sink
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.follow import PROTOCOL, Say, Server, State, items_of, parse
from tunnel.identity import Role
from vshare.guests import Guest
from vshare.policy import Rights
from vshare.together.board import Board
from vshare.together.followers import MAX_FOLLOWS, MERGE, FollowEnd

WEB, DB = Server("web", 3000), Server("db", 5432)


class Reader:
    """What a guest was told."""

    def __init__(self) -> None:
        self.told: list[State] = []

    def __call__(self, state: State) -> None:
        self.told.append(state)

    @property
    def servers(self) -> list[Server] | None:
        """As they are now."""
        seen = [each for each in self.told if each.type == "servers"]
        return items_of(seen[-1], Server) if seen else None


@contextlib.asynccontextmanager
async def follows(client: Client) -> AsyncIterator[tuple[Reader, Following]]:
    reader = Reader()
    ours = Following(client, reader)
    async with client, asyncio.TaskGroup() as group:
        task = group.create_task(ours.run())
        yield reader, ours
        task.cancel()


@both_loops
def test_the_present_and_what_changes(factory: Factory) -> None:
    async def main() -> None:
        async with share_pair() as pair:
            pair.streams.board.set("servers", [WEB])
            async with follows(pair.client()) as (reader, ours):
                await until(lambda: reader.servers == [WEB])
                await until(ours.is_known.is_set)
                pair.streams.board.set("says", [Say(1, "hello")])
                await until(lambda: [each.type for each in reader.told] == ["servers", "says"])
                pair.streams.board.set("servers", [WEB, DB])
                await until(lambda: reader.servers == [WEB, DB])
                guest = pair.guests.of_role(Role.GUEST)[0]
                assert guest.streams == 0  # every guest has this one
            await until(lambda: not pair.streams.board._listeners)

    run(main, factory)


def test_the_latest_wins() -> None:
    async def main() -> None:
        async with share_pair() as pair, follows(pair.client()) as (reader, _):
            board = pair.streams.board
            board.set("servers", [])
            await until(lambda: reader.servers == [])
            for port in range(1, 1_001):
                board.set("servers", [Server("web", port)])
            await until(lambda: reader.servers == [Server("web", 1_000)])
            assert len(reader.told) < 10

    run(main)


def test_one_who_does_not_read_is_owed_the_present_alone() -> None:
    async def main() -> None:
        board, slow = Board(), Sink(2**20)
        end = FollowEnd(board, Guest("ann", Role.GUEST, "f", "test"))
        board.set("servers", [WEB])
        end.link(slow)
        await until(lambda: slow.data)
        end.pause_reading()
        del slow.data[:]
        for n in range(1, 1_001):
            board.set("says", [Say(n, "x")])
            board.set("servers", [WEB] if n % 2 else [WEB, DB])
        await asyncio.sleep(2 * MERGE)
        assert not slow.data
        end.resume_reading()
        await until(lambda: slow.data)
        states = [parse(line) for line in bytes(slow.data).splitlines()]
        assert [items_of(states[0], Say), items_of(states[1], Server)] == [
            [Say(1_000, "x")],
            [WEB, DB],
        ]
        assert len(states) == 2
        end.reset(Code.CLOSED)
        assert not board._listeners

    run(main)


def test_what_is_as_it_was_is_told_nobody_again() -> None:
    board, told = Board(), []
    board.subscribe(lambda: told.append(board.version))
    for items in ([WEB], [WEB], [WEB, DB], [WEB, DB]):
        board.set("servers", items)
    assert told == [1, 2]


def test_guests_see_what_is_for_them() -> None:
    def shown(item: object, guest: Guest) -> bool:
        assert isinstance(item, Server)
        return guest.rights.ports is None or item.port in guest.rights.ports

    async def main() -> None:
        async with share_pair() as pair:
            board = pair.streams.board
            few = pair.client(rights=Rights(frozenset({DB.port})))
            async with follows(few) as (of_few, _), follows(pair.client()) as (of_all, _):
                board.set("servers", [WEB, DB], shown)
                await until(lambda: of_few.servers == [DB])
                await until(lambda: of_all.servers == [WEB, DB])

    run(main)


def test_the_gateway_and_floods_are_refused() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            async with pair.client(Role.GATEWAY) as gateway:
                with pytest.raises(RefusedError, match="for guests"):
                    await gateway.open_special(PROTOCOL)
            async with pair.client() as client:
                ends = [await client.open_special(PROTOCOL) for _ in range(MAX_FOLLOWS)]
                with pytest.raises(RefusedError, match="more than 8"):
                    await client.open_special(PROTOCOL)
                ends[0].send(b"what a guest says here means nothing")
                ends[0].send_eof()
                await until(lambda: len(pair.streams.board._listeners) == MAX_FOLLOWS - 1)
                (await client.open_special(PROTOCOL)).reset(Code.CLOSED)
                for end in ends:
                    end.reset(Code.CLOSED)

    run(main)


def test_a_kicked_guest_hears_no_more() -> None:
    async def main() -> None:
        async with share_pair() as pair, follows(pair.client()):
            await until(lambda: pair.streams.board._listeners)
            pair.guests.remove(pair.guests.of_role(Role.GUEST)[0], "out")
            await until(lambda: not pair.streams.board._listeners)

    run(main)


def test_a_lost_stream_is_opened_again() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            pair.streams.board.set("servers", [WEB])
            async with follows(pair.client()) as (reader, ours):
                await until(lambda: len(reader.told) == 1)
                for connection in list(pair.server._connections):
                    connection.abort("cut")
                await until(lambda: len(reader.told) == 2)
                ours.again()  # a better way was found
                await until(lambda: len(reader.told) == 3)
                assert len(pair.streams.board._listeners) == 1

    run(main)


@pytest.mark.parametrize(
    "sent",
    [
        b"no\n",
        b'{"type":"x"}\n',
        b"x" * 70_000,
        b"".join(b'{"type":"%d","items":[]}\n' % n for n in range(17)),
    ],
)
def test_a_share_that_talks_nonsense(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """It ends the news, and nothing else."""

    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            monkeypatch.setattr("vshare.together.board.serialize", lambda kind, items: sent)
            pair.streams.board.set("servers", [])
            ours = Following(client, Reader())
            await ours.run()
            assert ours.is_known.is_set()
            assert b"pong" in await client.call("ping")

    run(main)
    assert "news are not understood" in caplog.text


def test_a_share_that_tells_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PROTOCOL", "other")

    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            ours = Following(client, Reader())
            await ours.run()
            assert ours.is_known.is_set()

    run(main)


def test_a_share_that_has_nothing_to_tell() -> None:
    async def main() -> None:
        async with share_pair() as pair, follows(pair.client()) as (reader, ours):
            await ours.is_known.wait()
            assert reader.told == []

    run(main)


def test_a_reader_that_does_not_understand() -> None:
    def told(state: State) -> None:
        raise RemoteProtocolError("what is that")

    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            pair.streams.board.set("servers", [WEB])
            await Following(client, told).run()

    run(main)
