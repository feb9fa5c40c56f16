"""Three relays as programs, and a Redis: killed, drained, started again under load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.relay.cluster.redis_server import RedisServer, needs_redis, redis_server
from tests.relay.test_relay import connect, receive_all
from tests.tunnel.test_clienthello import real_hello
from tunnel.address import RelayAddress, parse_relay
from tunnel.names import ShareName
from tunnel.parking import Paired
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink

pytestmark = [pytest.mark.programs, pytest.mark.timed, needs_redis]
SHARES = 6
# Seconds for a share whose relay was killed; more where others work, too.
MOVED_WITHIN = 1.0 + float(os.environ.get("VSHARE_RECOVERS", "2"))
ASK_AGAIN = 0.02  # seconds between tries
VISIT_WITHIN = 2.0  # seconds
REDIS_AWAY = 8.0  # seconds
KEPT = 100  # visitors' sockets


class Node:
    """`vrelay serve --cluster ...`, at the same port each time."""

    def __init__(self, folder: Path, redis: str, name: str) -> None:
        self._redis, self._secret = redis, folder / "cluster-key"
        self._state, self._port = folder / name, 0
        self.address: RelayAddress
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Run until `process` ends."""
        command = [sys.executable, "-m", "relay.cli", "serve", "--json", "--open"]
        command += ["--listen", f"127.0.0.1:{self._port}", "--state-dir", str(self._state)]
        command += ["--cluster", self._redis, "--cluster-key", str(self._secret)]
        command += ["--node-address", "127.0.0.1:0", "--drain", "5"]
        self.process = process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        with process.stdout as said:
            self.address = parse_relay(json.loads(said.readline())["relay"])
        self._port = self.address.port

    def kill(self) -> None:
        """As by a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class Way:
    """One node's way to Redis, which can be cut as by a firewall that drops what comes."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self._path, self._redis = folder / "way.sock", redis
        self.url = f"unix://{self._path}"
        self._open = asyncio.Event()
        self._open.set()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            carried: list[asyncio.Task[None]] = []

            def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                carried.append(group.create_task(self._carry(reader, writer)))

            async with await asyncio.start_unix_server(carry, self._path) as server:
                yield
                server.close()
                for task in carried:
                    task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            redis_reader, redis_writer = await asyncio.open_unix_connection(self._redis.path)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, redis_writer))
                group.create_task(self._pump(redis_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._open.wait()
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self) -> None:
        """Nothing passes."""
        self._open.clear()

    def mend(self) -> None:
        """It passes again, what waited as well: as TCP sends again what was lost."""
        self._open.set()


@contextlib.contextmanager
def nodes(folder: Path, redis: RedisServer, way: str = "") -> Iterator[list[Node]]:
    """Three, which know each other soon. They are started, but for the first where its `way` to
    Redis is given."""
    secret = folder / "cluster-key"
    secret.write_text(secrets.token_hex(32))
    secret.chmod(0o600)
    names = {"one": way or redis.url, "two": redis.url, "three": redis.url}
    found = [Node(folder, url, name) for name, url in names.items()]
    with contextlib.ExitStack() as stack:
        for node in found:
            stack.callback(node.kill)
            if node is not found[0] or not way:
                node.start()
        yield found


class World:
    """Shares, spread over the nodes; a visitor of one is told which it is."""

    def __init__(self, all_of_them: list[Node]) -> None:
        self.nodes = all_of_them
        self.links: list[RelayLink] = []
        self._visitors: deque[socket.socket] = deque()

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """While the block runs."""
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._forget_visitors)
            for number in range(SHARES):
                node = self.nodes[number % len(self.nodes)]
                self.links.append(await stack.enter_async_context(self.link(number, node)))
            yield

    def _forget_visitors(self) -> None:
        for sock in self._visitors:
            sock.close()

    def link(self, number: int, node: Node) -> RelayLink:
        """A share of that number, registered by way of that node."""

        def answer(sock: socket.socket, paired: Paired) -> None:
            with contextlib.suppress(OSError):
                sock.send(f"share {number}".encode())
                sock.shutdown(socket.SHUT_WR)
            self._visitors.append(sock)
            if len(self._visitors) > KEPT:  # else what the visitor sent would reset it
                self._visitors.popleft().close()

        return RelayLink(
            node.address,
            Ed25519PrivateKey.generate(),
            ShareName(f"share-{number}"),
            on_visitor=answer,
            expires_at=time.time() + 3600,
            route=secrets.token_hex(16),
        )

    def at(self, node: Node) -> list[int]:
        """The numbers of the shares that are registered there."""
        port = node.address.port
        return [n for n, link in enumerate(self.links) if link.places.current.dialled.port == port]

    async def visit(self, number: int, node: Node) -> bool:
        """Whether one visit of a share by way of a node comes about. It reaches no other one."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(VISIT_WITHIN):
                hello = real_hello(f"{self.links[number].route}.x", "vshare/1")
                with await connect(node.address.port, hello) as sock:
                    answer = await receive_all(sock)
            if answer.startswith(b"share"):
                assert answer == f"share {number}".encode()
                return True
        return False

    async def reached(self, numbers: Iterable[int], by: Iterable[Node]) -> float:
        """Wait until each can be visited by each of the nodes; seconds that it took."""
        began = time.monotonic()
        by = list(by)
        for number in numbers:
            for node in by:
                while not await self.visit(number, node):  # noqa: ASYNC110  # nobody announces it
                    await asyncio.sleep(ASK_AGAIN)
        return time.monotonic() - began


def run(main: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), 100))


@contextlib.contextmanager
def cluster(folder: Path, *, keeps: bool) -> Iterator[tuple[RedisServer, World]]:
    with redis_server(folder, keeps=keeps) as redis, nodes(folder, redis) as found:
        yield redis, World(found)


def tell(what: str, seconds: float) -> None:
    print(f"{what}: {seconds:.2f} s")  # seen with -s, and where a test fails


def test_a_node_that_is_killed_and_one_after_another_drained(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(90), world.shared():
            await world.reached(range(SHARES), world.nodes)
            one, two, three = world.nodes
            lost = world.at(one)
            assert lost
            one.kill()
            took = await world.reached(lost, (two, three))
            tell("shares of a killed node are back", took)
            assert took < MOVED_WITHIN
            one.start()
            for node in (two, three):  # a rolling upgrade
                others = [each for each in world.nodes if each is not node]
                moved = world.at(node)
                process = node.process
                assert process is not None
                process.send_signal(signal.SIGTERM)
                tell("shares of a drained node are back", await world.reached(moved, others))
                assert not world.at(node)
                await asyncio.to_thread(process.wait, 30)
                node.start()
                await world.reached(range(SHARES), world.nodes)
            names = [link.registered.name for link in world.links]
            assert names == [f"share-{number}" for number in range(SHARES)]

    with cluster(tmp_path, keeps=True) as (_, world):
        run(main)


@pytest.mark.parametrize("keeps", [True, False], ids=["kept", "lost"])
def test_redis_is_killed_and_comes_back(tmp_path: Path, keeps: bool) -> None:
    async def main() -> None:
        async with asyncio.timeout(90), world.shared():
            await world.reached(range(SHARES), world.nodes)
            redis.kill()
            await asyncio.sleep(REDIS_AWAY)  # longer than leases last
            took = await world.reached(range(SHARES), world.nodes)  # as before
            tell("all shares reached without Redis", took)
            with pytest.raises(RejectedError) as refused:
                async with world.link(99, world.nodes[0]):
                    pass
            assert refused.value.code == "unavailable"
            redis.start()
            began = time.monotonic()
            while True:
                with contextlib.suppress(RejectedError):
                    async with world.link(99, world.nodes[0]):
                        break
                await asyncio.sleep(ASK_AGAIN)
            tell("new shares register again", time.monotonic() - began)
            with pytest.raises(RejectedError) as refused:  # another key, whatever Redis forgot
                async with world.link(0, world.nodes[1]):
                    pass
            assert refused.value.code == "name-taken"
            await world.reached(range(SHARES), world.nodes)

    with cluster(tmp_path, keeps=keeps) as (redis, world):
        run(main)


def test_a_node_is_cut_off_from_redis_and_the_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        way = Way(tmp_path, redis)
        async with asyncio.timeout(90), way.run():
            one, two, three = world.nodes
            await asyncio.to_thread(one.start)
            async with world.shared():
                await world.reached(range(SHARES), world.nodes)
                lost = world.at(one)
                assert lost
                way.cut()
                began = time.monotonic()
                while world.at(one):  # noqa: ASYNC110  # nobody announces it
                    await asyncio.sleep(ASK_AGAIN)
                await world.reached(lost, (two, three))
                tell("shares of a node that was cut off are back", time.monotonic() - began)
                with pytest.raises(RejectedError) as refused:
                    async with world.link(99, one):
                        pass
                assert refused.value.code == "unavailable"
                way.mend()
                await world.reached(range(SHARES), world.nodes)
                assert [link.registered.name for link in world.links] == [
                    f"share-{number}" for number in range(SHARES)
                ]

    with (
        redis_server(tmp_path) as redis,
        nodes(tmp_path, redis, f"unix://{tmp_path}/way.sock") as found,
    ):
        world = World(found)
        run(main)
