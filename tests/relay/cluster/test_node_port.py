"""The port for other nodes, and who gets in there."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
from collections.abc import AsyncIterator

import pytest

from relay.cluster import questions
from relay.cluster.node_port import NodeDialler, NodePort
from relay.cluster.questions import Questions
from relay.cluster.records import NodeInfo
from relay.cluster.trust import ClusterTrust
from relay.front import Visitor
from relay.limits import Admission, Budget
from relay.routes import Answerer, Sites
from tests.loops import run, until
from tunnel.errors import LostError, RemoteProtocolError, UsageError

NOW = datetime.datetime.now(datetime.UTC)
SECRET, OTHER = "s" * 32, "t" * 32
HEAD = b"GET / HTTP/1.1\r\nHost: the-share.localhost\r\n\r\n"


class Port:
    """A node's, and who came there."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.banned = ""
        self.admission = Admission(Budget(9, 1, 9, 9, 9))
        self.node: NodeInfo
        self.questions = Questions()

    async def _answer(self, visitor: Visitor) -> None:
        self.came.append(visitor.address)
        data = await asyncio.get_running_loop().sock_recv(visitor.sock, 1000)
        await asyncio.get_running_loop().sock_sendall(visitor.sock, data[::-1])

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Port]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.node = NodeInfo("n", "h", "127.0.0.1", listener.getsockname()[1])
        port = NodePort(
            listener,
            self.admission,
            Sites("localhost"),
            {Answerer.GATEWAY: self._answer},
            lambda address: address == self.banned,
            trust=ClusterTrust(SECRET, "n", NOW),
            asked=self.questions,
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(port.run())
            yield self
            task.cancel()
        listener.close()


def dialler(secret: str) -> NodeDialler:
    return NodeDialler(ClusterTrust(secret, "another", NOW))


def test_a_visitor_arrives_with_its_address_and_its_first_bytes_unread() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Port().run() as port:
            with await dialler(SECRET).carry(port.node, "203.0.113.7", 40_000) as sock:
                await loop.sock_sendall(sock, HEAD)
                assert await loop.sock_recv(sock, 1000) == HEAD[::-1]
            assert port.came == ["203.0.113.7"]
            await until(lambda: not port.admission.connections)

    run(main)


def test_who_has_another_secret_is_no_node() -> None:
    async def main() -> None:
        async with Port().run() as port:
            with pytest.raises(LostError):
                await dialler(OTHER).carry(port.node, "203.0.113.7", 40_000)
            with pytest.raises(LostError):
                await dialler(OTHER).ask(port.node, "any", b"")
            await until(lambda: not port.admission.connections)
            assert not port.came

    run(main)


def test_another_node_than_the_one_that_is_meant_is_none() -> None:
    async def main() -> None:
        async with Port().run() as port:
            meant = NodeInfo("m", "h", port.node.host, port.node.port)
            with pytest.raises(LostError):
                await dialler(SECRET).carry(meant, "203.0.113.7", 40_000)

    run(main)


def test_who_is_banned_does_not_come_in_by_another_node() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with Port().run() as port:
            port.banned = "203.0.113.7"
            sock = await dialler(SECRET).carry(port.node, "203.0.113.7", 40_000)
            with sock, contextlib.suppress(OSError):
                assert await loop.sock_recv(sock, 10) == b""
            await until(lambda: not port.admission.connections)
            assert not port.came

    run(main)


def test_a_question_is_answered_and_what_is_too_much_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async def turned(question: bytes) -> bytes:
            return question[::-1]

        async def endless(question: bytes) -> bytes:
            return bytes(questions.MAX_ANSWER + 1)

        async def broken(question: bytes) -> bytes:
            raise OSError("the disk is full")

        async with Port().run() as port:
            for answer in (turned, endless, broken):
                port.questions.answer(answer.__name__, answer)
            asking = dialler(SECRET)
            assert await asking.ask(port.node, "turned", b"") == b""
            long = b"ab" * (questions.MAX_QUESTION // 2)
            assert await asking.ask(port.node, "turned", long) == long[::-1]
            with pytest.raises(LostError):
                await asking.ask(port.node, "turned", long + b"c")
            for topic in ("endless", "broken", "unheard of"):
                with pytest.raises(RemoteProtocolError, match="does not answer"):
                    await asking.ask(port.node, topic, b"")
            gone = NodeInfo("m", "h", port.node.host, port.node.port)
            answers = dict(await asking.ask_all([port.node, gone], "turned", b"ab"))
            assert answers == {port.node: b"ba", gone: None}
            monkeypatch.setattr(questions, "AT_ONCE", 0)
            with pytest.raises(RemoteProtocolError, match="does not answer"):
                await asking.ask(port.node, "turned", b"")
            assert not port.came
            await until(lambda: not port.admission.connections)

    run(main)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(UsageError):
        ClusterTrust("s" * 31, "n", NOW)
