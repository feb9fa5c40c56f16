"""Three relays in this process, and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connect_vm.join_share import join_share
from connect_vm.relay_way import RelayWay
from relay.accounts.book import Allowance, account_book
from relay.accounts.limits import Limits
from relay.cluster.config import ClusterConfig, Timing
from relay.cluster.member import Member
from relay.cluster.store import StoreError
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run, until
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.test_relay import Collected, connect, receive_all
from tests.relay.tiny_share import CODE, tiny_share
from tests.tunnel.test_clienthello import real_hello
from tests.vshare.peers import free_port
from tunnel.errors import RefusedError
from tunnel.names import ShareName
from tunnel.parking import Paired
from tunnel.relay_token import RelayToken
from vshare.refusals import RejectedError

pytestmark = [pytest.mark.programs, needs_redis]
ASK = b"GET / HTTP/1.1\r\nHost: the-one.localhost\r\nConnection: close\r\n\r\n"
QUICK = Timing(beat=0.1, ttl=3.0, grace=0.3)


def configured(folder: Path, redis: RedisServer, timing: Timing = QUICK) -> RelayConfig:
    secret = folder / "secret"
    if not secret.exists():
        secret.write_text(secrets.token_hex(32))
    return RelayConfig(cluster=ClusterConfig(redis.url, secret, timing=timing))


@contextlib.asynccontextmanager
async def relays(
    folder: Path,
    redis: RedisServer,
    count: int = 2,
    timing: Timing = QUICK,
) -> AsyncIterator[list[Relay]]:
    """That many, which know each other."""
    config = configured(folder, redis, timing)
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Relay(config)) for _ in range(count)]
        await until(lambda: all(len(member(each).directory.nodes) >= count for each in nodes))
        await until(lambda: all(member(each).is_ready for each in nodes))
        yield nodes


def member(relay: Relay) -> Member:
    assert relay.cluster is not None
    return relay.cluster.member


def test_a_guest_reaches_a_share_at_another_node(tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        shares = Collected()
        with redis_server(tmp_path) as redis:
            async with relays(tmp_path, redis) as (one, two), shares.link(one.address) as link:
                await until(lambda: member(two).directory.node_of_route(link.route))
                hello = real_hello(f"{link.route}.whatever.invalid", "vshare/1")
                with await connect(two.port, hello + b"and more") as visitor:
                    sock, paired = await shares.visitors.get()
                    with sock:
                        assert paired == Paired("visitor", "127.0.0.1")
                        assert await loop.sock_recv(sock, 65_536) == hello + b"and more"
                        await loop.sock_sendall(sock, b"answer")
                        sock.shutdown(socket.SHUT_WR)
                        assert await receive_all(visitor) == b"answer"

    run(main)


def test_a_share_whose_relay_goes_is_back_at_another_with_its_name(tmp_path: Path) -> None:
    async def main() -> None:
        shares = Collected()
        with redis_server(tmp_path) as redis:
            async with contextlib.AsyncExitStack() as stack:
                one = await stack.enter_async_context(Relay(configured(tmp_path, redis)))
                await until(lambda: member(one).is_ready)
                async with relays(tmp_path, redis, 1) as (two,):
                    await until(lambda: len(member(one).directory.nodes) == 2)
                    link = await stack.enter_async_context(shares.link(one.address))
                    name = link.registered.name
                    await one.__aexit__(None, None, None)
                    await until(lambda: two.registry.get(ShareName(name)))
                    await until(link.connected.is_set)
                    assert link.registered.name == name
                    hello = real_hello(f"{link.route}.whatever.invalid", "vshare/1")
                    with await connect(two.port, hello):
                        sock, _ = await shares.visitors.get()
                        sock.close()
                    await link.__aexit__(None, None, None)

    run(main)


def test_a_name_is_one_keys_wherever_it_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        shares, key = Collected(), Ed25519PrivateKey.generate()
        with redis_server(tmp_path) as redis:
            async with relays(tmp_path, redis) as (one, two):
                name = ShareName("the-one-name")
                async with shares.link(one.address, name=name, key=key) as first:
                    with pytest.raises(RejectedError) as refused:
                        async with shares.link(two.address, name=name):
                            pass
                    assert refused.value.code == "name-taken"
                    async with shares.link(two.address, name=name, key=key, route=first.route):
                        assert (await first.ended).code == "evicted"
                        await until(lambda: one.registry.get(name) is None)
                        assert two.registry.get(name) is not None
                assert two.registry.get(name) is None
                await until(lambda: not member(one).directory.records[name].node)

    run(main)


def test_without_redis_what_is_goes_on_and_what_is_new_is_refused(tmp_path: Path) -> None:
    """By TCP, where redis-py takes a connection that has ended for a good one until it is used."""

    async def main() -> None:
        shares = Collected()
        with redis_server(tmp_path, keeps=True, port=free_port()) as redis:
            async with relays(tmp_path, redis) as (one, two), shares.link(one.address) as link:
                await until(lambda: member(two).directory.node_of_route(link.route))
                redis.kill()
                await until(lambda: not member(one).has_store and not member(two).has_store)
                with pytest.raises(RejectedError) as refused:
                    async with shares.link(two.address):
                        pass
                assert refused.value.code == "unavailable"
                hello = real_hello(f"{link.route}.whatever.invalid", "vshare/1")
                with await connect(two.port, hello):
                    (await shares.visitors.get())[0].close()
                redis.start()
                await until(lambda: member(one).is_ready and member(two).is_ready)
                # Over the very connection by which the first share was registered, too.
                async with shares.link(one.address), shares.link(two.address):
                    assert link.connected.is_set()

    run(main)


def test_redis_that_lost_everything_is_told_it_again_before_names_are_given(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        shares, name = Collected(), ShareName("the-one-name")
        with redis_server(tmp_path) as redis:
            async with relays(tmp_path, redis) as (one, two):
                async with shares.link(one.address, name=name) as link:
                    await until(lambda: member(two).directory.node_of(name))
                    before = member(two).directory.records[name].fence
                    redis.kill()
                    redis.start()
                    await until(lambda: member(two).directory.records[name].fence != before)
                    with pytest.raises(RejectedError) as refused:
                        async with shares.link(two.address, name=name):
                            pass
                    assert refused.value.code == "name-taken"
                    assert link.connected.is_set()
                await until(lambda: not member(one).directory.records[name].node)
                with pytest.raises(RejectedError):  # ended, and held for its key as ever
                    async with shares.link(two.address, name=name):
                        pass

    run(main)


def test_a_node_that_is_cut_off_alone_gives_its_shares_up(tmp_path: Path) -> None:
    """Redis hears the others: so it is this node's way to it that has gone."""

    async def main() -> None:
        shares = Collected()
        timing = Timing(beat=0.1, ttl=2.0, grace=0.3)
        with redis_server(tmp_path) as redis:
            all_relays = relays(tmp_path, redis, timing=timing)
            async with all_relays as (one, two), shares.link(one.address) as link:
                name = ShareName(link.registered.name)
                await until(lambda: member(two).directory.node_of(name))
                cut_off(member(one))
                await until(lambda: two.registry.get(name))
                assert one.registry.get(name) is None
                await until(link.connected.is_set)

    run(main)


def cut_off(node: Member) -> None:
    """Nothing that it sends to Redis arrives."""

    async def lost(*_: object) -> object:
        raise StoreError("no way there")

    node._store._run = lost  # type: ignore[method-assign, assignment]


def test_a_token_of_one_node_is_good_at_all_until_it_is_revoked(tmp_path: Path) -> None:
    async def main() -> None:
        shares = Collected()
        with redis_server(tmp_path) as redis:
            configs = [
                dataclasses.replace(
                    configured(tmp_path, redis), accounts=True, state_dir=tmp_path / each
                )
                for each in ("one", "two")
            ]
            with account_book(tmp_path / "one") as book:
                book.create_user("ada", time.time())
                token = book.create_token("ada", Allowance(limits=Limits(shares=1)), time.time())
            async with Relay(configs[0]) as one, Relay(configs[1]) as two:
                await until(lambda: member(one).is_ready and member(two).is_ready)
                await until(lambda: two_knows(two, token))
                link = shares.link(two.address)
                link._token = token
                async with link:
                    another = shares.link(one.address)
                    another._token = token
                    with pytest.raises(RejectedError) as refused:
                        async with another:
                            pass
                    assert refused.value.code == "quota"  # counted at both
                    with account_book(tmp_path / "one") as book:
                        book.revoke_token(token.id, time.time())
                    assert (await link.ended).code == "token"

    run(main)


def two_knows(relay: Relay, token: RelayToken) -> bool:
    permits = relay.registry.quotas._permits
    return permits is not None and permits.get(token.id, time.time()) is not None


def test_browsers_and_newcomers_reach_a_share_at_another_node(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        came = head.lower().partition(b"x-forwarded-for: ")[2].partition(b"\r\n")[0]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(came), came))
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with redis_server(tmp_path) as redis:
            async with (
                server,
                relays(tmp_path, redis) as (one, two),
                tiny_share(one.address, port, name="the-one") as link,
            ):
                name = ShareName("the-one")
                await until(lambda: member(two).directory.node_of(name))
                await until(lambda: [each for each in one.registry.shares() if each.published])
                with await connect(two.port, ASK) as visitor:
                    answered = await receive_all(visitor)
                assert answered.startswith(b"HTTP/1.1 200 ")
                assert answered.endswith(b"127.0.0.1")
                for node in (one, two):
                    way = RelayWay(node.address)
                    identity = await join_share(way, name, CODE, "ada", lambda text: None)
                    assert identity.route == link.route
                    nobody = ShareName("no-such")
                    with pytest.raises(RefusedError):  # a decoy's answer, wherever it is
                        await join_share(way, nobody, CODE, "ada", lambda text: None)

    run(main)
