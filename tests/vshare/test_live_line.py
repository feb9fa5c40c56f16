from __future__ import annotations

import asyncio

from tests.loops import run, until
from tests.share_pair import share_pair, socket_to, tcp_service
from tunnel.identity import Role
from vshare.expiry import Expiry
from vshare.live_line import LiveLine

NOW = 1_000_000.0


class Scene:
    """A line of a share that ends in two hours; `now` is the clock that rates go by."""

    def __init__(self, guests: object, streams: object, *, with_url: bool = True) -> None:
        self.now = 100.0
        self.browsers: list[bool] = []
        self.line = LiveLine(
            guests,  # type: ignore[arg-type]
            streams,  # type: ignore[arg-type]
            Expiry(NOW + 7200, lambda: NOW),
            with_url=with_url,
            browsers=lambda: list(self.browsers),
            clock=lambda: NOW,
            since=lambda: self.now,
        )

    def after(self, seconds: float) -> str:
        self.now += seconds
        return self.line.text()


def test_guests_requests_and_what_is_left() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            scene = Scene(pair.guests, pair.streams)
            assert scene.after(0) == "0 guests | 2 h left | 0 requests | idle"
            pair.streams.visits.requests = 1
            assert scene.after(0.5) == "0 guests | 2 h left | 1 request, 2/s | idle"
            for _ in range(4):
                last = scene.after(0.5)
            assert last == "0 guests | 2 h left | 1 request | idle"
            here, _ = (
                pair.guests.add(Role.GUEST, name, name, "203.0.113.1") for name in ("ann", "bob")
            )
            pair.guests.add(Role.GATEWAY, "gateway", "gateway", "the relay").connections = 1
            here.connections = 2
            without = Scene(pair.guests, pair.streams, with_url=False)
            assert without.after(0) == "1 guest, 1 away | 2 h left | idle"
            without.browsers += [True, False]
            assert without.after(0) == "2 guests, 2 away | 2 h left | idle"

    run(main)


def test_rates_are_of_the_last_two_seconds() -> None:
    async def main() -> None:
        async with share_pair() as pair:
            scene = Scene(pair.guests, pair.streams)
            scene.after(0)
            shown = []
            for count in (100, 200, 300, 400, 400, 400, 400, 400):
                pair.streams.visits.requests = count
                shown.append(scene.after(0.5).split(" | ")[2])
            assert shown == [
                "100 requests, 200/s",
                "200 requests, 200/s",
                "300 requests, 200/s",
                "400 requests, 200/s",
                "400 requests, 150/s",
                "400 requests, 100/s",
                "400 requests, 50/s",
                "400 requests",
            ]

    run(main)


def test_throughput_of_what_is_open_and_of_what_has_ended() -> None:
    async def main() -> None:
        async with share_pair() as pair, tcp_service() as port, pair.client() as client:
            scene = Scene(pair.guests, pair.streams)
            scene.after(0)
            sock, task = await socket_to(client, port)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"x" * 3000)
            got = 0
            while got < 3000:
                got += len(await loop.sock_recv(sock, 65_536))
            expected = "1 guest | 2 h left | 0 requests | 1.5 kB/s in, 1.5 kB/s out"
            assert scene.after(2) == expected
            sock.close()
            await task
            await until(lambda: pair.told("stream"))
            assert scene.after(0) == expected

    run(main)
