"""Own domains at two relays that are one."""

from __future__ import annotations

import asyncio
import time

import pytest

from relay.cluster.seals import Seals
from relay.names import NameBook
from relay.own_domains import claims
from relay.own_domains.certificates import OwnCertificates
from relay.own_domains.cluster import TOPIC, SharedOwnDomains
from relay.own_domains.desk import OwnDomainDesk
from relay.registry import LocalRegistry, Share
from relay.routes import Site
from tests.loops import run, until
from tunnel.control import FromRelay, OwnDomains, OwnDomainStates
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_value

HOST = OwnDomain("app.example.com")


class Line:
    """A share's, which remembers how its domain is."""

    def __init__(self) -> None:
        self.state = ""

    def deliver(self, message: FromRelay) -> None:
        if isinstance(message, OwnDomainStates):
            self.state = message.domains[0].state

    def hang_up(self) -> None:
        pass


class Redis:
    """What all hear, and the one DNS."""

    def __init__(self) -> None:
        self.notices: dict[str, bytes] = {}
        self.nodes: list[Node] = []
        self.records: set[str] = set()

    async def texts(self, name: str) -> frozenset[str]:
        return frozenset(self.records)


class Node:
    """See relay.own_domains.cluster.Place."""

    def __init__(self, home: str, redis: Redis) -> None:
        self.home, self._redis = home, redis
        self.seals = Seals("secret")
        self.registry = LocalRegistry(NameBook(None))
        shown = OwnCertificates(None, None)
        self.desk = OwnDomainDesk(self.registry, redis, shown, ("relay.example",))
        self.shared = SharedOwnDomains(self, self.desk)
        redis.nodes.append(self)

    def others(self) -> list[str]:
        return [each.home for each in self._redis.nodes if each is not self]

    def post(self, text: bytes) -> None:
        self._redis.notices[self.home] = text
        for each in self._redis.nodes:
            each.shared.heard(self._redis.notices)

    def share(self, name: str) -> tuple[Share, Line]:
        line, key_hash = Line(), name.encode().ljust(32)
        share = Share(ShareName(name), key_hash, True, time.time() + 60, lambda *_: None, "", line)
        self.registry.add(share)
        self.desk.ask(share, OwnDomains([HOST]), "127.0.0.1")
        return share, line


def test_visitors_of_each_find_it_and_it_is_never_two_shares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AGAIN_HELD", "AGAIN_DOUBTED", "AGAIN_LAST"):
        monkeypatch.setattr(claims, name, 0.01)
    monkeypatch.setattr(claims, "_AGAIN", ())

    async def main() -> None:
        redis = Redis()
        one, two = Node("one", redis), Node("two", redis)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.desk.run()) for each in (one, two)]
            first, first_line = one.share("first")
            redis.records = {challenge_value(first.key_hash, HOST)}
            await until(lambda: first_line.state == "good")
            assert one.desk.find(HOST) == two.desk.find(HOST) == Site(ShareName("first"))
            second, second_line = two.share("second")
            redis.records.add(challenge_value(second.key_hash, HOST))
            await until(lambda: second_line.state == "taken")
            assert one.desk.find(HOST) == two.desk.find(HOST) == Site(ShareName("first"))
            redis.records = {challenge_value(second.key_hash, HOST)}
            await until(lambda: second_line.state == "good" and first_line.state == "unproven")
            assert one.desk.find(HOST) == two.desk.find(HOST) == Site(ShareName("second"))
            redis.nodes.remove(two)  # it is well no more
            assert one.desk.find(HOST) is None
            for task in tasks:
                task.cancel()

    run(main)


def test_what_no_relay_has_said_is_not_heard() -> None:
    async def main() -> None:
        redis = Redis()
        one, two = Node("one", redis), Node("two", redis)
        said = f'[["{HOST}","thief","{"A" * 43}=",1.0]]'.encode()
        forged = Seals("another secret").seal(TOPIC, "two", 2, said)
        broken = two.seals.seal(TOPIC, "two", 2, b'[["a"]]')
        for text in (said, forged, broken, b"", b"x" * 5_000_000):
            one.shared.heard({"two": text})
            assert one.desk.find(HOST) is None
        true = two.seals.seal(TOPIC, "two", 2, said)
        one.shared.heard({"two": true})
        assert one.desk.find(HOST) == Site(ShareName("thief"))
        one.shared.heard({"two": two.seals.seal(TOPIC, "two", 3, b"[]")})
        one.shared.heard({"two": true})  # again
        assert one.desk.find(HOST) is None

    run(main)
