"""Who is carried on to other nodes."""

from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from relay.cluster.directory import Directory
from relay.cluster.elsewhere import JOINS, Elsewhere
from relay.cluster.node_port import NodeDialler
from relay.cluster.records import NodeInfo, Record
from relay.cluster.trust import ClusterTrust
from relay.front import Visitor
from relay.limits import Admission, Budget
from relay.names import NameBook
from relay.registry import LocalRegistry
from relay.routes import Answerer, Route
from tests.loops import run, until
from tests.tls_pair import tcp_pair
from tunnel.names import ShareName

GONE = NodeInfo("n", "h", "127.0.0.1", 0)  # nothing can be dialled there


class Moving(Elsewhere):
    """Brings visitors to `there` alone; other nodes have gone. `on_gone` is then called."""

    there: NodeInfo
    on_gone: Callable[[], None]

    async def _carry(self, visitor: Visitor, node: NodeInfo) -> bool:
        if node != self.there:
            self.on_gone()
        return node == self.there


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_visitor_waits_for_a_share_whose_node_has_gone(
    monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    monkeypatch.setattr("relay.cluster.elsewhere.LOOK_EVERY", 0.01)
    monkeypatch.setattr("relay.cluster.elsewhere.MOVES_WITHIN", 30.0 if comes_back else 0.1)

    async def main() -> None:
        directory, name = Directory("own", b"secret"), ShareName("some-name")
        there = replace(GONE, id="there")
        directory.living([GONE, there])
        record = Record("aa", 1e12, node=GONE.id)
        directory.note(name, replace(record, version=f"{1:016}"))
        dialler = NodeDialler(ClusterTrust("s" * 32, "own", datetime.datetime.now(datetime.UTC)))
        here: list[Visitor] = []

        async def answer(visitor: Visitor) -> None:
            here.append(visitor)

        def move() -> None:
            news = replace(record, node=there.id, version=f"{2:016}")
            asyncio.get_running_loop().call_later(0.05, directory.note, name, news)

        with NameBook(None) as book:
            admission = Admission(Budget(9, 1, 9, 9, 9))
            elsewhere = Moving(LocalRegistry(book), directory, dialler, admission)
            elsewhere.there, elsewhere.on_gone = there, move if comes_back else lambda: None
            answers = elsewhere.around({Answerer.GATEWAY: answer})
            ours, theirs = tcp_pair()
            with ours, theirs:
                route = Route(Answerer.GATEWAY, True, name)
                await answers[Answerer.GATEWAY](Visitor(ours, route, "203.0.113.7"))
        assert len(here) == (not comes_back)

    run(main)


@pytest.mark.parametrize("answerer", [Answerer.GATEWAY, Answerer.SHARE])
def test_a_visitor_waits_for_a_share_at_a_node_that_is_new(
    monkeypatch: pytest.MonkeyPatch, answerer: Answerer
) -> None:
    """Its shares may be heard of before it is."""
    monkeypatch.setattr("relay.cluster.elsewhere.LOOK_EVERY", 0.01)
    monkeypatch.setattr("relay.cluster.elsewhere.MOVES_WITHIN", 30.0)

    async def main() -> None:
        directory, name, share_route = Directory("own", b"secret"), ShareName("some-name"), "5e" * 8
        there = replace(GONE, id="there")
        directory.note(name, Record("aa", 1e12, node=there.id, route=share_route))
        dialler = NodeDialler(ClusterTrust("s" * 32, "own", datetime.datetime.now(datetime.UTC)))
        here: list[Visitor] = []

        async def answer(visitor: Visitor) -> None:
            here.append(visitor)

        with NameBook(None) as book:
            admission = Admission(Budget(9, 1, 9, 9, 9))
            elsewhere = Moving(LocalRegistry(book), directory, dialler, admission)
            elsewhere.there = there
            ours, theirs = tcp_pair()
            with ours, theirs:
                is_guest = answerer is Answerer.SHARE
                route = Route(answerer, True, None if is_guest else name, None, share_route)
                asyncio.get_running_loop().call_later(0.05, directory.living, [there])
                await elsewhere.around({answerer: answer})[answerer](
                    Visitor(ours, route, "203.0.113.7")
                )
        assert not here

    run(main)


def test_one_source_has_others_dialled_for_joins_so_often_and_no_more() -> None:
    async def main() -> None:
        directory = Directory("own", b"secret")
        directory.living([GONE])
        names = (ShareName(f"some-name-{number}") for number in range(10_000))
        name = next(each for each in names if directory.node_for_nobody(each) == GONE)
        dialler = NodeDialler(ClusterTrust("s" * 32, "own", datetime.datetime.now(datetime.UTC)))
        here: list[Visitor] = []

        async def answer(visitor: Visitor) -> None:
            here.append(visitor)

        with NameBook(None) as book:
            admission = Admission(Budget(9, 1, 9, 9, 9))
            elsewhere = Elsewhere(LocalRegistry(book), directory, dialler, admission)
            answers = elsewhere.around({Answerer.JOIN: answer})
            for _ in range(JOINS):
                ours, theirs = tcp_pair()
                with ours, theirs:
                    route = Route(Answerer.JOIN, True, name)
                    await answers[Answerer.JOIN](Visitor(ours, route, "203.0.113.7"))
            assert len(here) == JOINS  # the node has gone: a decoy of this one's
            ours, theirs = tcp_pair()
            with ours, theirs:
                theirs.send(b"what it begins with")
                await answers[Answerer.JOIN](Visitor(ours, route, "203.0.113.7"))
                await until(lambda: theirs.recv(1, socket.MSG_PEEK))
                assert theirs.recv(7)[-1] == 49  # access_denied
            assert len(here) == JOINS

    run(main)
