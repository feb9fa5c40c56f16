"""A name that is not shared is answered as one that is: no stranger can tell them apart."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from connect_vm.join_share import join_share
from relay import decoy, join_limits, join_line
from relay.config import RelayConfig
from relay.decoy import Decoys
from relay.server import Relay
from tests.loops import run
from tests.relay.test_relay import Collected
from tests.relay.tiny_share import CODE, tiny_share
from tests.tunnel.test_clienthello import real_hello
from tunnel import join
from tunnel.address import RelayAddress
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.identity import join_client_context, make_key, make_request
from tunnel.join_server import JoinServer
from tunnel.names import JoinCode, ShareName
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake

WRONG = JoinCode("zoo-zoo-zoo")
UNKNOWN = ShareName("no-such-name")
ROUNDS = 9
FAR_ROUNDS = 5
FARS = (0.03, 0.1)  # seconds, one way: one of them is much more than the noise
TRIES = 3  # of a comparison, which others on the machine may have spoilt
NOISE = 2.5  # one median may be so many times the other: the machine has others to serve
HANDSHAKE, MESSAGE_2, ANSWER, END = range(4)  # the steps of a stranger's join


@pytest.fixture(autouse=True)
def _no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is what joins look like, not how many there may be."""
    monkeypatch.setattr("relay.join_limits.SPACING", 0.0)
    monkeypatch.setattr("tunnel.attempts.BUCKET", 10_000)


async def dial(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


@dataclass
class Seen:
    """What a stranger sees of one join: each step with what came and when."""

    steps: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    certificate: bytes = b""


async def stranger(port: int, name: str) -> Seen:
    """Join `name` with a wrong code, by hand, to see every message."""
    seen, began = Seen(), time.perf_counter()

    def saw(what: str) -> None:
        seen.steps.append(what)
        seen.times.append(time.perf_counter() - began)

    context = join_client_context(join.ALPN)
    tls = await handshake(await dial(port), context, server_hostname=f"{name}.x")
    seen.certificate = tls.peer_certificate or b""
    saw(f"TLS {tls.alpn}")
    messages = TlsMessages(tls)
    request = make_request(make_key(), "x")
    attempt = join.GuestJoin(name, "x", request, WRONG, seen.certificate, os.urandom)
    try:
        messages.send(attempt.first())
        began = time.perf_counter()  # our own arithmetic is not what is measured
        second = await messages.receive()
        saw(f"message of {len(second)}")
        messages.send(attempt.second(second))
        began = time.perf_counter()
        answer = await messages.receive()
        saw(f"message {answer!r}")
        await messages.receive()
    except VshareError as error:
        saw(f"end: {error.text}, {error.__cause__!r}")
    messages.close()
    return seen


@dataclass
class Compared:
    """Joins at a share and at names that are not shared, taken in turns."""

    real: list[Seen] = field(default_factory=list)
    unknown: list[Seen] = field(default_factory=list)

    async def take(self, port: int, name: str, rounds: int) -> None:
        for number in range(rounds):
            self.real.append(await stranger(port, name))
            self.unknown.append(await stranger(port, f"no-such-name-{number:04d}"))

    def ratio(self, step: int) -> float:
        """How many times the slower one's median is the other's."""
        one, other = (
            statistics.median(each.times[step] for each in many)
            for many in (self.real, self.unknown)
        )
        return max(one, other) / min(one, other)

    def same_steps(self) -> bool:
        seen = {tuple(each.steps) for each in (*self.real, *self.unknown)}
        return len(seen) == 1 and len(self.real[0].steps) == 4


async def compare_near(rounds: int) -> Compared:
    compared = Compared()
    async with Relay(RelayConfig()) as relay, tiny_share(relay.address, None) as link:
        await compared.take(relay.port, link.registered.name, rounds)
    return compared


@contextlib.asynccontextmanager
async def far_away(relay: RelayAddress, far: float) -> AsyncIterator[RelayAddress]:
    """The relay's address for somebody `far` away from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(_forward(listener, relay.port, group, far))
            yield RelayAddress(relay.host, listener.getsockname()[1], relay.fingerprint)
            accepting.cancel()


async def _forward(
    listener: socket.socket, port: int, group: asyncio.TaskGroup, far: float
) -> None:
    while True:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        group.create_task(join_line.connect(sock, await dial(port), far))


async def compare_far(rounds: int, far: float) -> Compared:
    compared = Compared()
    async with (
        Relay(RelayConfig()) as relay,
        far_away(relay.address, far) as address,
        tiny_share(address, None) as link,
    ):
        await compared.take(relay.port, link.registered.name, rounds)
    return compared


@pytest.mark.programs  # it takes its time
def test_the_same_messages_and_the_same_arithmetic() -> None:
    async def main() -> None:
        for _ in range(TRIES):
            compared = await compare_near(ROUNDS)
            assert compared.same_steps()
            if compared.ratio(MESSAGE_2) < NOISE:
                return
        pytest.fail("the arithmetic takes another time")

    run(main)


@pytest.mark.programs
def test_as_far_away_as_a_share() -> None:
    async def main() -> None:
        for far in FARS:
            compared = await compare_far(FAR_ROUNDS, far)
            assert compared.same_steps()
            ratios = [compared.ratio(step) for step in (HANDSHAKE, MESSAGE_2, ANSWER)]
            if max(ratios) < NOISE:
                return
        pytest.fail(f"one of them is nearer: {ratios}")

    run(main)


@pytest.mark.programs
def test_the_stopwatch_sees_a_decoy_without_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hasty(join.ShareJoin):
        def answer(self, message: bytes) -> bytes:
            return msgspec.msgpack.encode([b"B" + os.urandom(32)])

    class HastyServer(JoinServer):
        async def serve(self, *arguments: object) -> None:
            with monkeypatch.context() as patched:
                patched.setattr(join, "ShareJoin", Hasty)
                await super().serve(*arguments)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(decoy, "JoinServer", HastyServer)

    async def main() -> None:
        for _ in range(TRIES):
            if (await compare_near(ROUNDS // 3)).ratio(MESSAGE_2) > NOISE:
                return
        pytest.fail("it was not seen")

    run(main)


@pytest.mark.programs
def test_the_stopwatch_sees_a_decoy_that_is_too_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoy, "SHORT", 1e9)

    async def main() -> None:
        for far in FARS:
            compared = await compare_far(FAR_ROUNDS, far)
            if min(compared.ratio(step) for step in (HANDSHAKE, ANSWER)) > NOISE:
                return
        pytest.fail("it was not seen")

    run(main)


def test_a_guest_is_told_that_it_may_be_either() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tiny_share(relay.address, None) as link:
            texts = []
            for name in (link.registered.name, UNKNOWN):
                with pytest.raises(RefusedError) as caught:
                    await join_share(lambda: dial(relay.port), ShareName(name), WRONG, "bob")
                assert caught.value.code is Code.WRONG_CODE
                texts.append((caught.value.text.replace(name, "NAME"), caught.value.hint))
            assert texts[0] == texts[1]
            identity = await join_share(
                lambda: dial(relay.port), ShareName(link.registered.name), CODE, "bob"
            )
            assert identity.certificate

    run(main)


def test_a_share_that_is_away_has_a_decoy(tmp_path: Path) -> None:
    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig(state_dir=tmp_path)) as relay:
            port = relay.port
            link = shares.link(relay.address, name="goes-away")
            await link.__aenter__()
        async with Relay(RelayConfig(state_dir=tmp_path, port=port)) as relay:
            assert relay.registry.is_away(ShareName("goes-away"))
            away, unknown = await stranger(port, "goes-away"), await stranger(port, UNKNOWN)
            assert away.steps == unknown.steps
            await link.__aexit__(None, None, None)

    run(main)


def test_its_certificate_stays_and_looks_like_one_of_some_age() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            seen = [(await stranger(relay.port, name)).certificate for name in (UNKNOWN, UNKNOWN)]
            assert seen[0] == seen[1]
            other = (await stranger(relay.port, "another-name")).certificate
            assert other != seen[0]
            made = [x509.load_der_x509_certificate(each) for each in (seen[0], other)]
            assert [each.issuer.rfc4514_string() for each in made] == [
                f"CN={UNKNOWN} CA",
                "CN=another-name CA",
            ]
            now = datetime.datetime.now(datetime.UTC)
            for each in made:
                age = now - each.not_valid_before_utc
                assert datetime.timedelta(days=1) <= age <= datetime.timedelta(days=1, hours=9)
            assert made[0].not_valid_before_utc != made[1].not_valid_before_utc

    run(main)


def test_its_attempts_are_limited_as_a_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.attempts.BUCKET", 3)
    monkeypatch.setattr("tunnel.attempts.REFILL_SECONDS", 3600.0)  # the machine may be busy
    monkeypatch.setattr("tunnel.attempts.RESERVED", 0)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            for _ in range(3):
                assert (
                    "the code is not right" in (await stranger(relay.port, UNKNOWN)).steps[ANSWER]
                )
            with pytest.raises(RefusedError, match="try again in a minute"):
                await join_share(lambda: dial(relay.port), UNKNOWN, WRONG, "bob")
            with pytest.raises(RefusedError, match="the code is not right"):
                await join_share(lambda: dial(relay.port), ShareName("another"), WRONG, "bob")

    run(main)


def test_too_many_joins_are_refused_whatever_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.source_buckets.is_loopback", lambda source: False)
    monkeypatch.setattr(join_limits, "JOIN_BURST", 2)
    monkeypatch.setattr(join_limits, "JOIN_REFILL_SECONDS", 3600.0)  # the machine may be busy

    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tiny_share(relay.address, None) as link:
            for name in (link.registered.name, UNKNOWN):
                await stranger(relay.port, name)
            for name in (link.registered.name, UNKNOWN):
                with await dial(relay.port) as sock:
                    loop = asyncio.get_running_loop()
                    await loop.sock_sendall(sock, real_hello(f"{name}.x", join.ALPN))
                    assert await loop.sock_recv(sock, 100) == b"\x15\x03\x03\x00\x02\x02\x31"

    run(main)


def test_what_a_decoy_showed_before_a_share_came_does_not_come_back() -> None:
    """Who looks at a name now and then sees another certificate, as when shares follow another."""

    async def main() -> None:
        shares = Collected()
        async with Relay(RelayConfig()) as relay:
            before = (await stranger(relay.port, "my-share")).certificate
            async with shares.link(relay.address, name="my-share"):
                pass
            after = (await stranger(relay.port, "my-share")).certificate
            assert before != after

    run(main)


def test_a_decoy_lasts_some_hours_as_shares_do() -> None:
    async def main() -> None:
        decoys = Decoys(dict)
        now = asyncio.get_running_loop().time()
        lasts = [decoys._decoy(ShareName(f"name-{number}")).ends_at - now for number in range(50)]
        assert all(0 < each <= decoy.LONGEST for each in lasts)
        assert len({round(each) for each in lasts}) > 40
        one = decoys._decoy(UNKNOWN)
        assert decoys._decoy(UNKNOWN) is one
        one.ends_at = now - 1
        assert decoys._decoy(UNKNOWN) is not one

    run(main)


def test_the_table_of_decoys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoy, "MAX_DECOYS", 3)

    async def main() -> None:
        decoys = Decoys(dict)
        first = decoys._decoy(UNKNOWN)
        for number in range(20):
            decoys._decoy(ShareName(f"name-{number}"))
            assert decoys._decoy(UNKNOWN) is first  # in use: it stays
        assert len(decoys._decoys) == 3

    run(main)


def test_a_decoy_is_as_far_away_as_one_share_as_long_as_that_is_there() -> None:
    async def main() -> None:
        trips: dict[ShareName, list[float]] = {}
        decoys = Decoys(lambda: trips)
        one = decoys._decoy(UNKNOWN)
        assert one.delay(trips) == 0  # nobody is connected
        near, far = ShareName("near"), ShareName("far")
        trips |= {near: [0.01, 0.01, 0.5], far: [0.2, 0.2, 0.9]}
        seen = {
            name: {decoys._decoy(ShareName(name)).delay(trips) for _ in range(20)}
            for name in (f"name-{number}" for number in range(50))
        }
        assert all(len(each) == 1 for each in seen.values())  # and none of the slow halves
        assert {min(each) for each in seen.values()} == {0.005, 0.1}
        kept = one.delay(trips)
        trips.clear()
        assert one.delay(trips) == kept

    run(main)


def test_nothing_is_left_open() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            for _ in range(3):
                await stranger(relay.port, UNKNOWN)
            with await dial(relay.port) as sock:  # one that goes in the middle
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(sock, real_hello(f"{UNKNOWN}.x", join.ALPN))
                await loop.sock_recv(sock, 100)

    run(main)
    before = sorted(os.listdir("/proc/self/fd"))
    run(main)
    assert sorted(os.listdir("/proc/self/fd")) == before
