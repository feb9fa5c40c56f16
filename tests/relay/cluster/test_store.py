"""Leases in a real Redis: races, fences, what it forgets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from relay.cluster.config import ClusterConfig, Timing
from relay.cluster.records import Lease, NodeInfo, Wish
from relay.cluster.store import (
    Changed,
    Claimed,
    NotGrantedError,
    Store,
    StoreError,
    open_store,
)
from relay.cluster.store import _answered as answered
from tests.loops import run
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tunnel.errors import UsageError

pytestmark = [pytest.mark.programs, needs_redis]
NODES = [NodeInfo(f"node-{number}", f"home-{number}", "127.0.0.1", 1) for number in range(4)]
WISH = Wish(("one-name",), False, "aa", 3600.0, "5e" * 16, True, False)


@contextlib.asynccontextmanager
async def store(redis: RedisServer, grace: float = 0.0) -> AsyncIterator[Store]:
    """All nodes live."""
    found = open_store(ClusterConfig(redis.url, redis.path, timing=Timing(grace=grace)))
    try:
        for node in NODES:
            await found.beat(node)
        yield found
    finally:
        await found.aclose()


async def tried(found: Store, node: NodeInfo, wish: Wish) -> Lease | str:
    try:
        return await found.claim(node.id, wish)
    except NotGrantedError as error:
        return error.code


async def changed(found: Store, name: str, lease: Lease, what: str, lasts: float = 0.0) -> bool:
    (was,) = await found.change([Changed(name, lease.record.fence, what, lasts)])
    return was


def test_of_many_that_race_for_a_name_one_gets_it(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found, asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        tried(found, NODES[turn % 4], replace(WISH, key=f"{turn:02x}", route=""))
                    )
                    for turn in range(60)
                ]
            results = [task.result() for task in tasks]
            assert results.count("name-taken") == 59

    run(main)


def test_the_same_key_moves_at_once_and_its_old_node_can_say_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found:
                first = await found.claim(NODES[0].id, WISH)
                second = await found.claim(NODES[1].id, WISH)
                assert first.record.fence != second.record.fence
                for what in ("extend", "leave", "end"):
                    assert not await changed(found, WISH.names[0], first, what, 10)
                assert await changed(found, WISH.names[0], second, "extend", 10)
                assert await changed(found, WISH.names[0], second, "end")
                assert await tried(found, NODES[2], replace(WISH, key="bb")) == "route-taken"
                taken = replace(WISH, key="bb", route="")
                assert await tried(found, NODES[2], taken) == "name-taken"  # for a week

    run(main)


def test_many_changes_are_made_at_once_each_by_its_fence(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found:
                wishes = [
                    replace(WISH, names=(f"name-{turn}",), route=f"{turn:032x}")
                    for turn in range(3)
                ]
                leases = [await found.claim(NODES[0].id, wish) for wish in wishes]
                fences = [lease.record.fence for lease in leases]
                changes = [
                    Changed("name-0", fences[0], "leave"),
                    Changed("name-1", fences[0], "end"),  # another's fence
                    Changed("name-2", fences[2], "extend", 7200.0),
                    Changed("no-name", fences[2], "end"),
                ]
                assert await found.change(changes) == [True, False, True, False]
                records = {name: each async for part in found.names() for name, each in part}
                assert [records[lease.name].node for lease in leases] == ["", "node-0", "node-0"]
                assert records[leases[2].name].until > records[leases[1].name].until + 3e6

    run(main)


def test_a_wish_that_is_said_twice_takes_one_name(tmp_path: Path) -> None:
    """Its first answer was lost; the names that it drew are the same."""

    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found:
                drawn = replace(WISH, names=("drawn-1", "drawn-2"), drawn=True)
                first = await found.claim(NODES[0].id, drawn)
                again = await found.claim(NODES[0].id, drawn)
                assert first.name == again.name == "drawn-1"
                assert first.record.fence != again.record.fence
                other = replace(drawn, key="bb", route="another-route")
                assert (await found.claim(NODES[0].id, other)).name == "drawn-2"

    run(main)


def test_a_node_that_does_not_live_gets_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found:
                await found.leave(NODES[0].id)
                assert await tried(found, NODES[0], WISH) == "stale"
                assert isinstance(await tried(found, NODES[1], WISH), Lease)

    run(main)


def test_a_token_counts_at_all_nodes_together(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis) as found:
                wishes = [
                    Wish((f"name-{turn}",), False, f"{turn:02x}", 60.0, "", True, False, 1, "t", 2)
                    for turn in range(4)
                ]
                one = await tried(found, NODES[0], wishes[0])
                assert isinstance(one, Lease)
                assert isinstance(await tried(found, NODES[1], wishes[1]), Lease)
                assert await tried(found, NODES[2], wishes[2]) == "quota"
                renamed = replace(wishes[0], names=("name-9",))  # for a moment it is twice
                assert isinstance(await tried(found, NODES[2], renamed), Lease)
                assert await changed(found, "name-0", one, "leave")
                await found.leave(NODES[1].id)  # what it had counts no more
                assert isinstance(await tried(found, NODES[3], wishes[3]), Lease)

    run(main)


def test_after_a_restart_who_had_a_name_says_so_before_others_can_have_it(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path) as redis:
            async with store(redis, grace=3600) as found:
                # What is here is said again, whatever the grace time.
                lease = Lease(WISH.names[0], (await fresh(redis)).record)  # type: ignore[arg-type]
                redis.kill()
                with pytest.raises(StoreError):
                    await found.beat(NODES[0])
                redis.start()
                pulse = await found.beat(NODES[0])
                await found.beat(NODES[1])
                assert pulse.age < 3600
                assert await tried(found, NODES[1], replace(WISH, key="bb", route="")) == "grace"
                (fence,) = await found.say_again(
                    NODES[0].id, [Claimed(lease.name, lease.record, True)]
                )
                assert fence not in ("", "lost", lease.record.fence)
                assert await tried(found, NODES[1], replace(WISH, key="bb", route="")) == (
                    "name-taken"
                )
                assert isinstance(await tried(found, NODES[1], WISH), Lease)  # its own key may
                ghost = Claimed(lease.name, lease.record, True)
                assert await found.say_again(NODES[0].id, [ghost]) == ["lost"]

    run(main)


async def fresh(redis: RedisServer) -> Lease:
    async with store(redis) as found:
        return await found.claim(NODES[0].id, WISH)


def test_a_password_in_the_address_is_refused(tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.write_text("another\n")
    for url in ("redis://:secret@127.0.0.1/0", "http://127.0.0.1"):
        for file in (None, login):
            with pytest.raises(UsageError) as refused:
                open_store(ClusterConfig(url, tmp_path, password_file=file))
            assert "secret" not in str(refused.value)
    with pytest.raises(UsageError):  # it would be as if it were verified
        open_store(ClusterConfig("redis://127.0.0.1", tmp_path, ca_file=login))


def test_what_a_restarted_redis_has_may_be_old(tmp_path: Path) -> None:
    async def main() -> None:
        with redis_server(tmp_path, keeps=True) as redis:
            async with store(redis) as found:
                lease = await found.claim(NODES[0].id, WISH)
                before = (await found.beat(NODES[0])).since
                redis.kill()
                redis.start()
                with contextlib.suppress(StoreError):  # the connection that was lost
                    await found.beat(NODES[0])
                assert (await found.beat(NODES[0])).since > before
                assert [name async for part in found.names() for name, _ in part] == [lease.name]
                ours = Claimed(lease.name, lease.record, True)
                (fence,) = await found.say_again(NODES[0].id, [ours])
                assert fence not in ("lost", lease.record.fence)

    run(main)


@pytest.mark.parametrize("tells", [None, ConnectionError("closed")])
def test_who_is_cancelled_ends_whatever_redis_py_makes_of_it(tells: Exception | None) -> None:
    async def asked() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if tells is not None:
                raise tells from None

    async def main() -> None:
        task = asyncio.create_task(answered(asked()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StoreError):
            await answered(asyncio.sleep(60), 0.01)

    run(main)
