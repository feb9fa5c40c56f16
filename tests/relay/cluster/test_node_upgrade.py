"""A node of a cluster whose place another process takes, while visitors ask it and another node."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from pathlib import Path

import pytest

from tests.commands import end, started, wait_for
from tests.loops import until
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.test_take_over import Tally, answered, ask_each_time, keep_asking, machine, request
from tests.relay.tiny_share import tiny_share
from tunnel.address import RelayAddress, parse_relay

pytestmark = [pytest.mark.programs, needs_redis]
SHARES = 2
WITHIN = 100.0  # seconds, on a busy machine


def test_a_node_is_upgraded_under_load(tmp_path: Path) -> None:
    key = tmp_path / "cluster-key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)

    def serving(name: str, *options: str) -> list[str]:
        where = ["--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / name), "--drain", "60"]
        cluster = ["--cluster", redis.url, "--cluster-key", str(key)]
        return ["serve", *where, *cluster, "--node-address", "127.0.0.1:0", *options]

    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(tmp_path))
        old = stack.enter_context(started("relay.cli", *serving("one")))
        one = said_address(wait_for(old, "relay address", on_stdout=True))
        other = stack.enter_context(started("relay.cli", *serving("two")))
        two = said_address(wait_for(other, "relay address", on_stdout=True))

        async def main() -> None:
            tally, stop = Tally(), asyncio.Event()
            async with contextlib.AsyncExitStack() as shares, asyncio.TaskGroup() as group:
                port = await shares.enter_async_context(machine())
                names = [f"share-{number}" for number in range(SHARES)]
                links = [
                    await shares.enter_async_context(tiny_share(one, port, name=name))
                    for name in names
                ]
                places = [
                    (at.port, f"{name}.localhost:{at.port}") for at in (one, two) for name in names
                ]
                for place in places:
                    await answers(*place)
                    group.create_task(keep_asking(*place, tally, stop))
                    group.create_task(ask_each_time(*place, tally, stop))
                await answered(tally, 50)
                stack.enter_context(started("relay.cli", *serving("one", "--take-over")))
                await asyncio.to_thread(wait_for, old, "has taken over")
                await until(lambda: all(link.connected.is_set() for link in links))
                await answered(tally, 100)
                await until(lambda: old.poll() is not None)
                await answered(tally, 50)
                stop.set()
                for place in places:
                    await answers(*place)
                assert [link.registered.name for link in links] == names
            # While a share moves, a visitor at the other node may still be told that it is away.
            lost = [each for each in tally.failures if " 503 " not in each]
            assert not lost, (len(lost), tally.answers, lost[:10])
            assert len(tally.failures) < tally.answers / 4  # 2 of 376 were seen

        asyncio.run(asyncio.wait_for(main(), WITHIN))
        assert old.wait(WITHIN) == 0
        assert end(other, signal.SIGTERM).code == 0


def said_address(said: list[str]) -> RelayAddress:
    return parse_relay(said[-1].partition("relay address: ")[2].strip())


async def answers(port: int, host: str) -> None:
    """Wait until the share is known at that node."""
    is_known = False
    while not is_known:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head, _ = await request(reader, writer, host)
        writer.close()
        is_known = head.startswith(b"HTTP/1.1 200 ")
