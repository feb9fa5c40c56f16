"""Limits that count at all nodes: relays in this process, and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest

from relay.accounts import rules, watch
from relay.accounts.book import AccountBook, Allowance, account_book
from relay.accounts.elsewhere import NOTHING, Numbers
from relay.accounts.limits import Limits
from relay.accounts.quotas import DAY, Quotas
from relay.cluster import usage
from relay.cluster.directory import Directory
from relay.cluster.member import Heard, Member
from relay.cluster.records import NodeInfo, Record, Wish, everywhere
from relay.cluster.seals import Seals
from relay.cluster.usage import MAX_NOTICE, MAX_SAID, TOPIC, Row, Said, SharedUsage
from relay.front import ACCESS_DENIED, QUOTA_SPENT
from relay.server import Relay
from tests.loops import run, until
from tests.relay.accounts.test_enforcing import Guest, Shares, is_good
from tests.relay.accounts.test_registering import make_link, refused
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, cut_off, member, two_knows
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

LIMIT = 100_000  # bytes a day
RATE = 8_000_000  # bytes a second: what sockets hold is soon counted as paid


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(usage, "SAY_EVERY", 0.1)


class Scene:
    """Two relays, and whose tokens are good at them."""

    def __init__(
        self, book: AccountBook, nodes: list[Relay], stack: contextlib.AsyncExitStack
    ) -> None:
        self.book, self.nodes = book, nodes
        self.shares = [Shares(node, stack) for node in nodes]

    async def token(self, user: str = "ada", **limits: int) -> RelayToken:
        if user not in {each.name for each in self.book.users()}:
            self.book.create_user(user, 1.0)
        token = self.book.create_token(user, Allowance(limits=Limits(**limits)), 1.0)
        await until(lambda: all(two_knows(each, token) for each in self.nodes))
        return token

    async def links(self, token: RelayToken) -> list[RelayLink]:
        """A share at each."""
        return [
            await each.link(token, f"share-{number}") for number, each in enumerate(self.shares)
        ]

    def there(self, number: int, token: RelayToken) -> Numbers:
        """What one of them knows of the other."""
        return quotas_of(self.nodes[number]).elsewhere.numbers(f"token:{token.id}")

    def may_come(self, number: int) -> bool:
        """Whether a guest might come to the first share there."""
        node = self.nodes[number]
        return quotas_of(node).refusal(node.registry.shares()[0], is_guest=True) is None


@contextlib.asynccontextmanager
async def scene_at(
    folder: Path, redis: RedisServer, defaults: Limits | None = None, *, accounts: bool = True
) -> AsyncIterator[Scene]:
    config = dataclasses.replace(
        configured(folder, redis), accounts=accounts, limits=defaults or Limits()
    )
    async with contextlib.AsyncExitStack() as stack:
        book = stack.enter_context(account_book(folder / "0"))
        nodes = [
            await stack.enter_async_context(
                Relay(dataclasses.replace(config, state_dir=folder / str(number)))
            )
            for number in range(2)
        ]
        await until(lambda: all(len(member(each).directory.nodes) == 2 for each in nodes))
        await until(lambda: all(member(each).is_ready for each in nodes))
        yield Scene(book, nodes, stack)


def quotas_of(relay: Relay) -> Quotas:
    return relay.registry.quotas


async def kill(relay: Relay) -> None:
    """As others see it: it says nothing any more."""
    cut_off(member(relay))
    await relay.__aexit__(None, None, None)


@pytest.mark.programs
@needs_redis
def test_guests_count_at_all_nodes_until_theirs_is_killed(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis) as scene:
                token, other = await scene.token(guests=2), await scene.token("eve")
                one, two = await scene.links(token)
                guests = [
                    await shares.guest_inside(link)
                    for shares, link in zip(scene.shares, (one, two), strict=True)
                ]
                await until(lambda: scene.there(0, token).guests == 1)
                await until(lambda: scene.there(1, token).guests == 1)
                for shares, link in zip(scene.shares, (one, two), strict=True):
                    assert await (await shares.guest(link)).alert() == ACCESS_DENIED
                for guest in guests:
                    await is_good(*guest)
                beside = await scene.shares[1].link(other)
                await is_good(*await scene.shares[1].guest_inside(beside))
                await kill(scene.nodes[0])
                await until(lambda: scene.there(1, token) == NOTHING)
                await is_good(*await scene.shares[1].guest_inside(two))

    run(main)


@pytest.mark.programs
@needs_redis
def test_a_days_bytes_of_one_node_end_them_at_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis) as scene:
                token, other = await scene.token(bytes_per_day=LIMIT), await scene.token("eve")
                one, two = await scene.links(token)
                stays = await scene.shares[1].guest_inside(await scene.shares[1].link(other))
                here, there = scene.shares[1], scene.shares[0]
                guest, _ = await here.guest_inside(two)
                user, inside = await there.guest_inside(one)
                with contextlib.suppress(ConnectionError):
                    await asyncio.get_running_loop().sock_sendall(inside, bytes(LIMIT))
                assert await user.is_ended()
                assert await guest.is_ended()
                assert await (await here.guest(two)).alert() == QUOTA_SPENT
                await until(lambda: any("used up" in text for text in here.told))
                await is_good(*stays)
                await kill(scene.nodes[0])  # what was used stays used
                await until(lambda: len(member(scene.nodes[1]).directory.nodes) == 1)
                await until(lambda: scene.there(1, token).guests == 0)
                assert await (await here.guest(two)).alert() == QUOTA_SPENT

    run(main)


@pytest.mark.programs
@needs_redis
def test_without_redis_what_was_heard_counts_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis) as scene:
                token = await scene.token(guests=2)
                one, two = await scene.links(token)
                guest = await scene.shares[0].guest_inside(one)
                await until(lambda: scene.there(1, token).guests == 1)
                redis.kill()
                await until(lambda: not member(scene.nodes[1]).has_store)
                await is_good(*await scene.shares[1].guest_inside(two))
                assert not scene.may_come(1)
                monkeypatch.setattr(usage, "COUNT_WITHOUT_REDIS", 0.1)
                await until(lambda: scene.may_come(1))
                await is_good(*guest)
                redis.start()  # it has lost everything
                await until(lambda: not scene.may_come(1) and not scene.may_come(0))

    run(main)


@pytest.mark.programs
@needs_redis
def test_a_bandwidth_is_one_for_all_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.2)

    async def download(guest: Guest, inside: socket.socket) -> None:
        async def send() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await asyncio.get_running_loop().sock_sendall(inside, bytes(65_536))

        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send())
            with contextlib.suppress(ConnectionError):
                while await guest.reader.read(65_536):
                    pass
            sending.cancel()

    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis) as scene, asyncio.TaskGroup() as group:
                token = await scene.token(bandwidth=RATE)
                guests = []
                for shares, link in zip(scene.shares, await scene.links(token), strict=True):
                    guest, inside = await shares.guest_inside(link)
                    group.create_task(download(guest, inside))
                    guests.append(guest)

                def rates() -> list[float]:
                    return [
                        sum(flow.rate for flow in quotas_of(node)._flows) for node in scene.nodes
                    ]

                def owes(node: Relay) -> float:
                    """Of what was moved before anybody knew how much is wanted."""
                    return quotas_of(node)._meters[f"token:{token.id}"].budget._owed

                def is_divided() -> bool:
                    halves = all(0.2 * RATE < rate < 0.7 * RATE for rate in rates())
                    return halves and all(owes(node) < 0.2 * RATE for node in scene.nodes)

                await until(lambda: all(scene.there(each, token).wanting for each in (0, 1)))
                await until(is_divided)
                guests[0].writer.transport.abort()
                await until(lambda: rates()[1] > 0.7 * RATE)  # the other has all of it then
                guests[1].writer.transport.abort()

    run(main)


@pytest.mark.programs
@needs_redis
def test_shares_of_a_user_count_at_all_nodes_and_all_come_back(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis, Limits(shares=2)) as scene:
                token = await scene.token()
                one, two = scene.nodes
                scene.book.limit_user("ada", lambda before: Limits(shares=2))
                await until(lambda: all(shares_of_ada(each) == 2 for each in scene.nodes))
                first = await scene.shares[0].link(token, "the-first")
                await until(lambda: member(two).directory.node_of(ShareName("the-first")))
                second = await scene.shares[0].link(await scene.token(), "the-second")
                await until(lambda: member(two).directory.node_of(ShareName("the-second")))
                error = await refused(make_link(two, token))
                assert (error.code, "its user is for 2 shares" in error.text) == ("quota", True)
                await kill(one)
                await until(lambda: len(two.registry.shares()) == 2)
                await until(lambda: first.connected.is_set() and second.connected.is_set())

    run(main)


def shares_of_ada(relay: Relay) -> int | None:
    permits = quotas_of(relay)._permits
    assert permits is not None
    return next(each.account_limits.shares for each in permits._permits.values())


@pytest.mark.programs
@needs_redis
def test_the_relays_own_limit_of_a_tokens_shares_counts_at_all_nodes(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with scene_at(tmp_path, redis, Limits(shares=1)) as scene:
                token = await scene.token()
                link = await scene.shares[0].link(token)
                error = await refused(make_link(scene.nodes[1], token))
                assert (error.code, "its token is for 1 share " in error.text) == ("quota", True)
                await link.__aexit__(None, None, None)
                while True:  # until Redis was told
                    try:
                        await scene.shares[1].link(token)
                        break
                    except RejectedError:
                        await asyncio.sleep(0.02)

    run(main)


@pytest.mark.programs
@needs_redis
def test_without_accounts_shares_of_a_source_count_at_all_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "is_loopback", lambda source: False)

    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with (
                scene_at(tmp_path, redis, Limits(shares=1), accounts=False) as scene,
                make_link(scene.nodes[0], None),
            ):
                error = await refused(make_link(scene.nodes[1], None))
                assert error.code == "quota"
                assert "where it comes from is for 1 share " in error.text
                (record,) = member(scene.nodes[0]).directory.records.values()
                assert record.token.startswith("source:")
                assert "127.0.0.1" not in record.token

    run(main)


class Told:
    """A node's member, as far as it is needed; `one` is this node, `two` another."""

    def __init__(self) -> None:
        self.info, self.seals = NodeInfo("one-id", "one", "127.0.0.1", 1), Seals("a" * 64)
        self.directory = Directory("one-id", b"secret")
        self.directory.living([self.info, NodeInfo("two-id", "two", "127.0.0.1", 2)])
        self.has_store = True
        self.posted: list[bytes] = []

    def listen(self, topic: str, heard: Heard) -> None:
        self.tell = heard

    def post(self, topic: str, text: bytes) -> None:
        self.posted.append(text)

    def said(self, stamp: int, rows: list[Row], *, node: str = "two-id", day: int = 20_000) -> None:
        text = msgspec.json.encode(Said(node, day, rows))
        self.tell({"two": self.seals.seal(TOPIC, "two", stamp, text)})

    def last(self) -> Said:
        text = self.seals.open(TOPIC, "one", self.posted[-1])[1]
        return msgspec.json.decode(text, type=Said)


class Played:
    """A node's quotas, where everybody is for two guests and some bytes a day."""

    def __init__(self) -> None:
        self.now = 20_000 * DAY + 60.0
        self.told = Told()
        limits = Limits(guests=2, bytes_per_day=1_000)
        self.quotas = Quotas(None, limits, clock=lambda: self.now)
        self.usage = SharedUsage(cast(Member, self.told), self.quotas)

    async def looked(self) -> None:
        """It says and counts what it has, once."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self.usage.run()


def test_what_is_said_is_counted_as_long_as_it_is_so() -> None:
    async def main() -> None:
        played = Played()
        told, usage = played.told, played.usage
        told.said(2, [Row("token:a", 600, 2, 3, 1, 5)])
        assert usage.numbers("token:a") == Numbers(600, 2, 3, 1, 5)
        assert usage.numbers("token:b") == NOTHING
        told.said(1, [Row("token:a", 0, 0, 0, 0, 0)])  # what it said before, again
        told.tell({})  # Redis has lost it
        told.tell({"two": b"junk"})
        told.said(3, [Row("token:a", 1, 1, 1, 1, -1)])
        assert usage.numbers("token:a").guests == 2
        told.directory.living([])
        await played.looked()
        assert usage.numbers("token:a") == Numbers(600)  # it was used, whoever is left
        played.now += DAY
        played.quotas.look()
        await played.looked()
        assert usage.numbers("token:a") == NOTHING

    run(main)


def test_what_is_said_has_no_addresses_and_is_said_once() -> None:
    async def main() -> None:
        played = Played()
        played.quotas.load([("source:192.0.2.1", 10), ("token:a", 20), ("user:7", 30)])
        await played.looked()
        await played.looked()
        assert len(played.told.posted) == 1
        said = played.told.last()
        assert said.node == "one-id"
        names = {row.holder: row.moved for row in said.rows}
        assert names["token:a"] == 20
        assert names[f"user:{everywhere(7, 'one')}"] == 30
        assert b"192.0.2.1" not in played.told.posted[0]
        played.told.said(1, said.rows)
        assert played.usage.numbers("source:192.0.2.1").moved == 10
        assert played.usage.numbers("user:7").moved == 30
        played.quotas.load([("token:a", 1)])
        await played.looked()
        assert len(played.told.posted) == 2

    run(main)


def test_of_too_many_those_are_said_that_are_nearest_to_a_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        played = Played()
        played.quotas.load((f"token:{number}", 1 + number) for number in range(MAX_SAID + 5))
        await played.looked()
        await played.looked()
        rows = played.told.last().rows
        assert len(rows) == MAX_SAID
        assert min(row.moved for row in rows) == 6
        assert caplog.text.count("are active") == 1
        assert len(played.told.posted[-1]) < MAX_NOTICE

    run(main)


def test_a_users_shares_elsewhere_are_those_of_living_nodes() -> None:
    played = Played()
    account = str(everywhere(7, "one"))
    places = {"here": "one-id", "there": "two-id", "gone": "dead-id", "away": ""}
    for number, (name, node) in enumerate(places.items()):
        record = Record(f"{number:02x}", 1e12, account, node=node, version=str(number + 1))
        played.told.directory.note(ShareName(name), record)
    count = played.usage.shares
    assert count("user:7", "new", b"\xff", 1) == 1
    assert count("user:7", "there", b"\xff", 1) == 0  # it comes again
    assert count("user:7", "new", b"\x01", 1) == 0  # under another name
    assert count("user:8", "new", b"\xff", 1) == count("token:a", "new", b"\xff", 1) == 0
    assert count("user:7", "new", b"\xff", 4) == 1  # as many names: they are looked through
    assert count("user:7", "new", b"\xff", 5) < 5
    played.told.directory.forget_old(1e13)
    assert not list(played.told.directory.names_of(account))


def test_a_source_that_has_no_limit_is_not_told_to_redis() -> None:
    usage = Played().usage
    wish = Wish(("a-name",), False, "aa", 1.0, "", True, False, token="source:192.0.2.1")
    assert usage.hide(wish).token == ""
    hidden = usage.hide(dataclasses.replace(wish, shares=1)).token
    assert hidden.startswith("source:")
    assert "192.0.2.1" not in hidden
    token = dataclasses.replace(wish, token="abc")
    assert usage.hide(token) == token
