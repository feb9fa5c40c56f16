"""Three relays in this process, and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.cluster.config import ClusterConfig, Timing
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run, until
from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.test_relay import Collected, connect, receive_all
from tests.tunnel.test_clienthello import real_hello
from tunnel.parking import Paired

pytestmark = [pytest.mark.programs, needs_redis]
QUICK = Timing(beat=0.1, ttl=3.0, grace=0.3)


def configured(folder: Path, redis: RedisServer, timing: Timing = QUICK) -> RelayConfig:
    secret = folder / "secret"
    if not secret.exists():
        secret.write_text(secrets.token_hex(32))
    return RelayConfig(cluster=ClusterConfig(redis.url, secret, timing=timing))


@contextlib.asynccontextmanager
async def relays(
    folder: Path, redis: RedisServer, count: int = 2, timing: Timing = QUICK
) -> AsyncIterator[list[Relay]]:
    """That many, which know each other."""
    config = configured(folder, redis, timing)
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Relay(config)) for _ in range(count)]
        await until(lambda: all(len(member(each).directory.nodes) == count for each in nodes))
        await until(lambda: all(member(each).is_ready for each in nodes))
        yield nodes


def member(relay: Relay):
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
