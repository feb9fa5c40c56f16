from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from tests.loops import BOTH, Factory, both_loops, run
from tests.ports import refusing, silent
from tunnel.codes import Code
from tunnel.dialler import (
    MAX_REMEMBERED,
    Address,
    LastGood,
    dial,
    race,
    resolve,
    tune,
)
from tunnel.errors import RefusedError

V4, V6 = socket.AF_INET, socket.AF_INET6


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def listening(family: socket.AddressFamily = V4, host: str = "127.0.0.1") -> Iterator[int]:
    with socket.create_server((host, 0), family=family) as listener:
        yield listener.getsockname()[1]


@both_loops
def test_dials_and_tunes(factory: Factory) -> None:
    async def main() -> None:
        with listening() as port, await dial("127.0.0.1", port, 5) as sock:
            assert sock.getpeername() == ("127.0.0.1", port)
            assert not sock.getblocking()
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    run(main, factory)


@both_loops
def test_the_open_family_wins_when_the_other_is_refused(factory: Factory) -> None:
    async def main() -> None:
        files = open_files()
        with listening() as port:
            places: list[Address] = [(V6, ("::1", port, 0, 0)), (V4, ("127.0.0.1", port))]
            for addresses in (places, places[::-1]):
                with await race(addresses) as sock:
                    assert sock.family == V4
            with await dial("localhost", port, 5) as sock:
                assert sock.family == V4
        assert open_files() == files

    run(main, factory)


@both_loops
def test_a_silent_address_delays_by_one_step_and_leaks_nothing(factory: Factory) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        files = open_files()
        with silent() as hole, listening() as port:
            started = loop.time()
            with await race([(V4, hole), (V4, ("127.0.0.1", port))]) as sock:
                assert sock.getpeername()[1] == port
            assert 0.2 < loop.time() - started < 2
        assert open_files() == files

    run(main, factory)


@both_loops
def test_refused_says_so_in_the_systems_words(factory: Factory) -> None:
    async def main() -> None:
        port = refusing()
        with pytest.raises(RefusedError) as caught:
            await dial("localhost", port, 5)
        assert caught.value.code is Code.CONNECTION_REFUSED
        assert caught.value.text == f"cannot connect to localhost:{port}: connection refused"

    run(main, factory)


def test_refused_counts_more_than_unreachable() -> None:
    async def main() -> None:
        places: list[Address] = [
            (V4, ("255.255.255.255", 9)),  # a broadcast: the kernel says no at once
            (V4, ("127.0.0.1", refusing())),
        ]
        with pytest.raises(ConnectionRefusedError):
            await race(places)
        with pytest.raises(OSError, match="no address") as caught:
            await race([])
        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main)


@both_loops
def test_out_of_time_and_cancelled_leak_nothing(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        files = open_files()
        with silent() as hole:
            with pytest.raises(
                RefusedError, match=r"no answer from 127.0.0.1:\d+ in 0.1 s"
            ) as caught:
                await dial(*hole, 0.1)
            assert caught.value.code is Code.TIMED_OUT
            for pauses in range(12):  # cancelled at whatever step it has reached by then
                with listening() as port:
                    places: list[Address] = [(V4, hole), (V4, ("127.0.0.1", port))] * 2
                    monkeypatch.setattr("tunnel.dialler.ATTEMPT_DELAY", 0.0)
                    async with asyncio.TaskGroup() as group:
                        task = group.create_task(race(places))
                        for _ in range(pauses):
                            await asyncio.sleep(0)
                        task.cancel()
                    if not task.cancelled():
                        task.result().close()
        assert open_files() == files

    run(main, factory)


def test_unknown_host() -> None:
    async def main() -> None:
        for host in ("nowhere.invalid", "bad..name", "x" * 300):
            with pytest.raises(RefusedError, match="cannot resolve") as caught:
                await dial(host, 80, 5)
            assert caught.value.code is Code.UNKNOWN_HOST
            assert "Errno" not in caught.value.text

    run(main)


@pytest.mark.parametrize("host", ["localhost", "frosty-weasel-0857.localhost", "A.LocalHost."])
def test_localhost_names_are_loopback(host: str) -> None:
    async def main() -> None:
        found = await resolve(host, 80)
        assert {place[0] for _, place in found} <= {"127.0.0.1", "::1"}
        assert found

    run(main)


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        sixes: list[Address] = [(V6, (f"2001:db8::{last}", 80, 0, 0)) for last in range(1, 5)]
        fours: list[Address] = [(V4, (f"192.0.2.{last}", 80)) for last in range(1, 3)]

        async def answer(*_: object, **__: object) -> list[tuple[object, ...]]:
            return [(family, 1, 6, "", place) for family, place in [*sixes, *fours]]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
        assert await resolve("relay.example", 80) == [
            sixes[0], fours[0], sixes[1], fours[1], sixes[2], sixes[3]
        ]  # fmt: skip

    run(main, BOTH["asyncio"])


def test_what_was_good_last_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with silent() as hole, listening() as port:
            places: list[Address] = [(V4, hole), (V4, ("127.0.0.1", port))]

            async def answer(*_: object) -> list[Address]:
                return list(places)

            monkeypatch.setattr("tunnel.dialler.resolve", answer)
            last_good = LastGood()
            (await dial("relay.example", 443, 5, last_good)).close()
            assert last_good.sort("relay.example", 443, places) == places[::-1]
            assert last_good.sort("relay.example", 444, places) == places
            assert last_good.sort("relay.example", 443, places[:1]) == places[:1]
            monkeypatch.setattr("tunnel.dialler.ATTEMPT_DELAY", 60.0)  # the second's turn: never
            (await dial("relay.example", 443, 5, last_good)).close()

    run(main)


def test_what_is_remembered_is_bounded() -> None:
    last_good = LastGood()
    for number in range(MAX_REMEMBERED + 1):
        last_good.remember(f"host{number}", 1, (V4, ("127.0.0.1", number)))
    known = [last_good.sort(f"host{n}", 1, [(V4, ("x", 1)), (V4, ("127.0.0.1", n))])[0][1][0]
             for n in range(MAX_REMEMBERED + 1)]  # fmt: skip
    assert known.count("127.0.0.1") == MAX_REMEMBERED
    assert known[0] == "x"


def test_what_is_silent_is_kept_alive_before_middle_boxes_forget_it() -> None:
    with socket.socket() as sock:
        tune(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) < 30


@both_loops
def test_a_zone_is_kept(factory: Factory) -> None:
    async def main() -> None:
        scope = socket.if_nametoindex("lo")
        assert await resolve("fe80::1%lo", 80) == [(V6, ("fe80::1%lo", 80, 0, scope))]
        with pytest.raises(RefusedError, match="cannot resolve 'fe80::1%nowhere0'"):
            await resolve("fe80::1%nowhere0", 80)

    run(main, factory)
