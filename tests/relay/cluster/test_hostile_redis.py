"""Relays whose Redis somebody else writes to: it decides about names, and about nothing else."""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from pathlib import Path
from typing import cast

import msgspec
import pytest
import redis.asyncio

from relay.accounts.limits import UNLIMITED
from relay.accounts.permits import ADMIN, SHARE, Permit
from relay.accounts.watch import Accounts, AccountWatch
from relay.cluster.accounts import TOPIC, SharedAccounts
from relay.cluster.member import Heard, Member
from relay.cluster.records import NodeInfo, serialize
from relay.cluster.seals import Seals
from relay.cluster.store import PREFIX
from relay.server import Relay
from tests.loops import run, until
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.test_relay import Collected
from tunnel.names import ShareName
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, make_token

pytestmark = [pytest.mark.programs, needs_redis]

JUNK = [b"", b"\xff", b"[", b"{}", b'{"k":"no hex","u":1}', b'{"k":"aa","u":1,"a":"-1"}']


async def write_junk(client: redis.asyncio.Redis) -> None:
    for number, junk in enumerate(JUNK):
        name = f"junk-name-{number}"
        await client.hset(f"{PREFIX}names", name, junk)
        await client.hset(f"{PREFIX}names", junk, b'{"k":"aa","u":1}')
        await client.publish(f"{PREFIX}changes", junk)
        change = b'{"name":"' + name.encode() + b'","record":' + junk + b"}"
        await client.publish(f"{PREFIX}changes", change)
        await client.hset(f"{PREFIX}notices:{TOPIC}", f"home-{number}", junk)


def forged(token: str, hash_: bytes) -> bytes:
    scopes = frozenset({SHARE, ADMIN})
    return msgspec.json.encode(
        Accounts([Permit(token, 1 << 40, hash_, scopes, UNLIMITED, None)], [], [])
    )


def test_a_redis_that_lies_ends_no_relay_and_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    token = make_token(secrets.token_bytes(ID_SIZE), secrets.token_bytes(SECRET_SIZE))

    async def lie(server: RedisServer) -> None:
        async with redis.asyncio.Redis(unix_socket_path=str(server.path)) as client:
            await write_junk(client)
            info = NodeInfo("evil", "evil", "127.0.0.1", 1, "evil.example:443")
            said = {"until": (time.time() + 3600) * 1000, "home": "evil"}
            node = msgspec.json.encode({**said, "info": serialize(info).decode()})
            await client.hset(f"{PREFIX}nodes", "evil", node)
            junk = msgspec.json.encode({**said, "info": "{"})
            await client.hset(f"{PREFIX}nodes", "worse", junk)
            await client.hset(f"{PREFIX}notices:{TOPIC}", "evil", forged(token.id, token.hash))
            await client.hincrby(f"{PREFIX}revisions", TOPIC, 1)
            await client.publish(f"{PREFIX}changes", b'{"topic":"accounts"}')

    async def main() -> None:
        with redis_server(tmp_path) as server:
            config = dataclasses.replace(
                configured(tmp_path, server), accounts=True, state_dir=tmp_path / "one"
            )
            async with Relay(config) as relay:
                await until(lambda: member(relay).is_ready)
                await lie(server)
                await until(lambda: "accounts of node evil are not" in caplog.text)
                await until(lambda: caplog.text.count("none of ours") >= 4)
                await member(relay)._sync()
                assert member(relay).is_ready
                assert "evil" not in member(relay).directory.nodes
                permits = relay.registry.quotas._permits
                assert permits is not None
                assert permits.get(token.id, time.time()) is None

    run(main)


def test_a_node_whose_redis_lies_still_registers_shares(tmp_path: Path) -> None:
    async def main() -> None:
        shares = Collected()
        with redis_server(tmp_path) as server:
            async with Relay(configured(tmp_path, server)) as relay:
                await until(lambda: member(relay).is_ready)
                async with redis.asyncio.Redis(unix_socket_path=str(server.path)) as client:
                    await write_junk(client)
                async with shares.link(relay.address) as link:
                    assert relay.registry.get(ShareName(link.registered.name))

    run(main)


def test_what_a_node_said_before_is_not_heard_again() -> None:
    class Told:
        """A node's member, and the watch of its accounts."""

        def __init__(self) -> None:
            self.info, self.seals = NodeInfo("one-id", "one", "127.0.0.1", 1), Seals("a" * 64)
            self.own = Accounts([], [], [])
            self.posted: list[bytes] = []
            self.heard: list[list[Accounts]] = []

        def listen(self, topic: str, heard: Heard) -> None:
            self.tell = heard

        def post(self, topic: str, text: bytes) -> None:
            self.posted.append(text)

        def hear(self, others: list[Accounts]) -> None:
            self.heard.append(others)

    told = Told()
    shared = SharedAccounts(cast(Member, told), cast(AccountWatch, told))
    nobody = msgspec.json.encode(told.own)
    older = told.seals.seal(TOPIC, "two", 1, forged("id", b"hash"))
    newer = told.seals.seal(TOPIC, "two", 2, nobody)
    for notices in ({}, {"two": older}, {"two": b"?"}, {}, {"two": newer}, {"two": older}):
        told.tell(notices)
    counts = [[len(each.permits) for each in heard] for heard in told.heard]
    assert counts == [[], [1], [1], [1], [0], [0]]  # nor is what was lost taken for nothing
    with pytest.MonkeyPatch.context() as patched:  # what is there still is not read again
        patched.setattr(shared, "_parse", lambda home, sealed: pytest.fail("it was"))
        told.tell({"two": newer})
    # What it said itself when its clock was later is said again, so that the others hear it.
    future = time.time_ns() + 10**18
    told.tell({"one": told.seals.seal(TOPIC, "one", future, nobody)})
    assert told.seals.open(TOPIC, "one", told.posted[-1]) == (future + 1, nobody)
