"""A relay that holds the visitors of shares to its operator's limits, and bars whom it bans."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounts import rules, watch
from relay.accounts.book import account_book
from relay.accounts.limits import Limits
from relay.accounts.orders import Orders
from relay.config import RelayConfig
from relay.front import ACCESS_DENIED, QUOTA_SPENT
from relay.server import Relay
from tests.loops import run, until
from tests.relay.accounts.test_registering import Scene, make_link, refused
from tests.relay.test_gateway import Browser, Site
from tests.relay.tiny_share import tiny_share
from tests.tunnel.test_clienthello import real_hello
from tunnel.parking import Paired
from tunnel.relay_token import RelayToken
from vshare.relay_link import RelayLink

ALERT = bytes([21, 3, 3, 0, 2, 2])
LIMIT = 100_000  # bytes a day
ANYWHERE = "127.0.0.1/32"  # what a test's connections come from; no operator can ban it


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.005)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with account_book(tmp_path) as book:
        yield Scene(tmp_path, book)


class Guest:
    """A connection of somebody who knows the route, and the share's end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def alert(self) -> int:
        """What the relay refuses it with."""
        said = await self.reader.read()
        assert said[: len(ALERT)] == ALERT, said
        return said[-1]

    async def is_ended(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass
        return True


class Shares:
    """Links with a token each, and who came to them."""

    def __init__(self, relay: Relay, stack: contextlib.AsyncExitStack) -> None:
        self.relay, self._stack = relay, stack
        self.came: list[socket.socket] = []
        self.told: list[str] = []

    async def link(
        self, token: RelayToken, name: str = "", key: Ed25519PrivateKey | None = None
    ) -> RelayLink:
        link = make_link(self.relay, token, name, key, on_visitor=self._visitor)
        link._on_notice = self.told.append
        return await self._stack.enter_async_context(link)

    def _visitor(self, sock: socket.socket, paired: Paired) -> None:
        self.came.append(sock)

    async def guest(self, link: RelayLink) -> Guest:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
        self._stack.callback(writer.transport.abort)
        writer.write(real_hello(f"{link.route}.x", "vshare/1"))
        return Guest(reader, writer)

    async def guest_inside(self, link: RelayLink) -> tuple[Guest, socket.socket]:
        before = len(self.came)
        guest = await self.guest(link)
        await until(lambda: len(self.came) > before)
        sock = self.came[-1]
        self._stack.callback(sock.close)
        return guest, sock


@contextlib.asynccontextmanager
async def shares_of(scene: Scene) -> AsyncIterator[Shares]:
    async with scene.relay() as relay, contextlib.AsyncExitStack() as stack:
        yield Shares(relay, stack)


async def is_good(guest: Guest, inside: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(inside, b"still here")
    assert await guest.reader.readexactly(10) == b"still here"


def change(scene: Scene, token: RelayToken, **limits: int) -> None:
    scene.book.change_token(token.id, lambda before: replace(before, **limits))


def test_one_guest_too_many_is_told_so_and_nobody_else(scene: Scene) -> None:
    async def main() -> None:
        token, other = scene.token(guests=1), scene.token("eve")
        key = Ed25519PrivateKey.generate()
        async with shares_of(scene) as shares:
            link, second = await shares.link(token, "the-first", key), await shares.link(token)
            beside = await shares.link(other)
            first, inside = await shares.guest_inside(link)
            for each in (link, second, await shares.link(token, "renamed-it", key)):
                assert await (await shares.guest(each)).alert() == ACCESS_DENIED
            await until(lambda: any("1 connection of guests" in text for text in shares.told))
            await is_good(*await shares.guest_inside(beside))
            await is_good(first, inside)
            change(scene, token, guests=2)
            await until(lambda: shares.relay.registry.quotas._meters[f"token:{token.id}"]
                        .limits.guests == 2)  # fmt: skip
            await is_good(*await shares.guest_inside(second))

    run(main)


def test_bytes_of_a_day_end_streams_of_that_token_alone(scene: Scene) -> None:
    async def main() -> None:
        token, other = scene.token(bytes_per_day=LIMIT), scene.token("eve")
        async with shares_of(scene) as shares:
            link, beside = await shares.link(token), await shares.link(other)
            stays, staying = await shares.guest_inside(beside)
            guest, inside = await shares.guest_inside(link)
            with contextlib.suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(inside, bytes(LIMIT))
            assert await guest.is_ended()
            assert await (await shares.guest(link)).alert() == QUOTA_SPENT
            again = await shares.link(token, "by-another-name")
            assert await (await shares.guest(again)).alert() == QUOTA_SPENT
            await until(lambda: any("used up" in text for text in shares.told))
            await is_good(stays, staying)
        async with shares_of(scene) as shares:  # the relay was started again
            link = await shares.link(token)
            assert await (await shares.guest(link)).alert() == QUOTA_SPENT
            change(scene, token, bytes_per_day=10 * LIMIT)
            await until(lambda: shares.relay.registry.quotas.spent(
                shares.relay.registry.shares()[0]) is None)  # fmt: skip
            await is_good(*await shares.guest_inside(link))

    run(main)
    assert scene.book.used(scene_day(scene)) != {}


def scene_day(scene: Scene) -> int:
    (day,) = scene.book.database.execute("SELECT max(day) FROM usage").fetchone()
    assert isinstance(day, int)
    return day


def test_browsers_get_a_page_and_know_when_to_come_again(scene: Scene) -> None:
    async def main() -> None:
        token, other = scene.token(streams=1), scene.token("eve")
        site = Site()
        async with scene.relay() as relay, contextlib.AsyncExitStack() as stack:
            server = await asyncio.start_server(site.handle, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            names = [
                (await stack.enter_async_context(tiny_share(relay.address, port, token=each)))
                .registered.name
                for each in (token, other)
            ]  # fmt: skip

            async def browser(name: str) -> Browser:
                streams = await asyncio.open_connection("127.0.0.1", relay.port)
                stack.callback(streams[1].transport.abort)
                return Browser(f"{name}.localhost", *streams)

            async def head_of(visitor: Browser) -> bytes:
                visitor.send("GET /")
                return (await visitor.answer())[0]

            first = await browser(names[0])
            assert b" 200 OK" in await head_of(first)
            refusal = await head_of(await browser(names[0]))
            assert b" 503 " in refusal
            assert b"retry-after: 30\r\n" in refusal.lower()
            assert b" 200 OK" in await head_of(await browser(names[1]))
            assert b" 200 OK" in await head_of(first)
            first.writer.transport.abort()
            change(scene, token, streams=0, bytes_per_day=1)
            await until(lambda: relay.registry.quotas.spent(relay.registry.get(names[0])))  # type: ignore[arg-type]  # it is there
            refusal = await head_of(await browser(names[0]))
            assert b" 503 " in refusal
            assert b"retry-after: " in refusal.lower()
            assert b" 200 OK" in await head_of(await browser(names[1]))

    run(main)


@pytest.mark.parametrize("what", ["name", "token"])
def test_who_is_banned_is_told_why_and_nobody_else(scene: Scene, what: str) -> None:
    async def main() -> None:
        token, other = scene.token(), scene.token()
        orders, key = Orders(scene.book), Ed25519PrivateKey.generate()
        async with shares_of(scene) as shares:
            link, beside = await shares.link(token, "the-name", key), await shares.link(other)
            guest, _ = await shares.guest_inside(link)
            stays, staying = await shares.guest_inside(beside)
            text = "the-name" if what == "name" else token.id
            orders.ban(text, "it sends spam", None, 1.0)
            ended = await link.ended
            assert (ended.code, ended.text) == (
                "banned",
                f"its {what} is banned here: it sends spam",
            )
            assert await guest.is_ended()
            error = await refused(make_link(shares.relay, token, "the-name", key))
            assert error.code == "banned"
            assert "whoever runs the relay" in error.hint
            await is_good(stays, staying)
            orders.unban(text)
            await comes_back(lambda: make_link(shares.relay, token, "the-name", key))

    run(main)


async def comes_back(make: Callable[[], RelayLink]) -> None:
    """Once the relay has looked."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(Exception):
                async with make():
                    return


def test_who_comes_from_a_banned_address_is_cut_and_not_listened_to(scene: Scene) -> None:
    async def main() -> None:
        token = scene.token()
        async with shares_of(scene) as shares:
            link = await shares.link(token)
            guest, _ = await shares.guest_inside(link)
            silent, writer = await asyncio.open_connection("127.0.0.1", shares.relay.port)
            scene.book.database.execute(
                "INSERT INTO bans VALUES ('address', ?, 'a flood', NULL, 1)", (ANYWHERE,)
            )
            assert (await link.ended).text == "its address is banned here: a flood"
            assert await guest.is_ended()
            assert await silent.read() == b""
            writer.close()
            late = await shares.guest(link)
            with contextlib.suppress(ConnectionError):
                assert await late.reader.read() == b""  # no word, not even an alert
            assert shares.relay.registry.shares() == []

    run(main)


def test_a_reserved_name_is_its_users_also_where_another_has_it(scene: Scene) -> None:
    async def main() -> None:
        bobs, eves = scene.token(), scene.token("eve")
        orders = Orders(scene.book)
        async with shares_of(scene) as shares:
            theirs = await shares.link(eves, "acme-web")
            orders.reserve("acme-*", "bob", 1.0)
            await comes_back(lambda: make_link(shares.relay, bobs, "acme-web"))
            ended = await theirs.ended
            assert (ended.code, ended.text) == ("evicted", "its name is somebody else's now")
            error = await refused(make_link(shares.relay, eves, "acme-api"))
            assert error.code == "name-taken"
            assert "reserved" in error.text

    run(main)


def test_limits_of_the_relay_are_for_who_has_none_of_his_own(scene: Scene) -> None:
    async def main() -> None:
        config = replace(scene.config, limits=Limits(guests=1))
        token, more = scene.token(), scene.token(guests=2)
        async with Relay(config) as relay, contextlib.AsyncExitStack() as stack:
            shares = Shares(relay, stack)
            for each, is_bound in ((token, True), (more, False)):
                link = await shares.link(each)
                await shares.guest_inside(link)
                if is_bound:
                    assert await (await shares.guest(link)).alert() == ACCESS_DENIED
                else:
                    await is_good(*await shares.guest_inside(link))

    run(main)


def test_limits_count_where_nothing_is_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "is_loopback", lambda source: False)

    async def main() -> None:
        config = RelayConfig(limits=Limits(bytes_per_day=LIMIT))
        async with Relay(config) as relay, contextlib.AsyncExitStack() as stack:
            shares = Shares(relay, stack)
            link = await shares.link(scene.token())
            guest, inside = await shares.guest_inside(link)
            with contextlib.suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(inside, bytes(LIMIT))
            assert await guest.is_ended()

    run(main)
