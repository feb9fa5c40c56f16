"""Shares at a relay with accounts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay import new_names, registry
from relay.accounts import watch
from relay.accounts.book import AccountBook, Allowance, account_book
from relay.accounts.limits import Limits
from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import run, until
from tests.tunnel.test_clienthello import real_hello
from tunnel.names import ShareName
from tunnel.parking import Paired
from tunnel.relay_token import RelayToken, make_token
from vshare.refusals import RejectedError
from vshare.relay_link import RelayLink


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.005)


def make_link(
    relay: Relay,
    token: RelayToken | None,
    name: str = "",
    key: Ed25519PrivateKey | None = None,
    on_visitor: Callable[[socket.socket, Paired], None] = lambda sock, paired: sock.close(),
) -> RelayLink:
    return RelayLink(
        relay.address,
        key or Ed25519PrivateKey.generate(),
        ShareName(name) if name else None,
        on_visitor=on_visitor,
        expires_at=time.time() + 600,
        route=secrets.token_hex(16),
        token=token,
    )


class Scene:
    """The accounts of a relay."""

    def __init__(self, folder: Path, book: AccountBook) -> None:
        self.folder, self.book = folder, book

    def token(
        self, user: str = "bob", *, expires_at: float | None = None, **limits: int
    ) -> RelayToken:
        if user not in {each.name for each in self.book.users()}:
            self.book.create_user(user, 1.0)
        allowance = Allowance(limits=Limits(**limits), expires_at=expires_at)
        return self.book.create_token(user, allowance, 1.0)

    @property
    def config(self) -> RelayConfig:
        return RelayConfig(state_dir=self.folder, accounts=True)

    def relay(self) -> AbstractAsyncContextManager[Relay]:
        return Relay(self.config)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with account_book(tmp_path) as book:
        yield Scene(tmp_path, book)


async def refused(link: RelayLink) -> RejectedError:
    with pytest.raises(RejectedError) as caught:
        async with link:
            pass
    return caught.value


def test_a_share_needs_a_token_that_is_good(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.INFO)  # as tunnel/console.py has it
    good, void, over = scene.token(), scene.token(), scene.token(expires_at=1.0)
    scene.book.revoke_token(void.id, 2.0)
    unknown = make_token(bytes(5), bytes(32))

    async def main() -> None:
        async with scene.relay() as relay:
            said = set()
            for token in (None, void, over, unknown):
                error = await refused(make_link(relay, token))
                assert error.code == "token"
                assert "vshare login" in error.hint
                said.add(error.text)
            assert len(said) == 1
            assert len(relay.registry) == 0
            async with make_link(relay, good) as link:
                (share,) = relay.registry.shares_of(good.id)
                assert share.name == link.registered.name
            await until(lambda: not relay.registry.shares_of(good.id))

    run(main)
    assert "registered, token" in caplog.text
    assert not any(token.text in caplog.text for token in (good, void, over, unknown))


def test_a_token_that_is_revoked_ends_its_shares_and_no_others(scene: Scene) -> None:
    async def main() -> None:
        one, other = scene.token(), scene.token()
        async with (
            scene.relay() as relay,
            make_link(relay, one) as link,
            make_link(relay, other) as stays,
        ):
            scene.book.revoke_token(one.id, 2.0)
            ended = await link.ended
            assert ended.code == "token"
            assert "revoked" in ended.text
            await until(lambda: not relay.registry.shares_of(one.id))
            assert len(relay.registry) == 1
            assert not stays.ended.done()
            scene.book.remove_user("bob", 1.0)
            assert (await stays.ended).code == "token"

    run(main)


def test_a_share_that_does_not_end_loses_its_streams(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CUT_AFTER", 0.0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        token, other = scene.token(), scene.token()
        kept: list[socket.socket] = []
        async with scene.relay() as relay, contextlib.AsyncExitStack() as stack:
            visitors = []
            for each in (token, other):
                link = make_link(relay, each, on_visitor=lambda sock, paired: kept.append(sock))
                await stack.enter_async_context(link)
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                stack.callback(writer.transport.abort)
                writer.write(real_hello(f"{link.route}.x", "vshare/1"))
                visitors.append((reader, writer))
                await until(lambda: len(kept) == len(visitors))
            scene.book.revoke_token(token.id, 2.0)
            with contextlib.suppress(ConnectionError):
                assert await visitors[0][0].read() == b""
            stays = kept[1]
            await loop.sock_sendall(stays, b"still here")
            assert await visitors[1][0].readexactly(10) == b"still here"
            for sock in kept:
                sock.close()
            await until(lambda: not relay.registry._carried_by_token.keys())

    run(main)


def test_a_quota_refuses_and_touches_nobody(scene: Scene) -> None:
    async def main() -> None:
        token, key = scene.token(shares=2), Ed25519PrivateKey.generate()
        other = scene.token("eve")
        async with (
            scene.relay() as relay,
            make_link(relay, token, "the-first", key) as first,
            make_link(relay, token) as second,
            make_link(relay, other),
        ):
            error = await refused(make_link(relay, token))
            assert error.code == "quota"
            assert "2 shares at once" in error.text
            assert error.hint
            assert len(relay.registry) == 3
            assert not first.ended.done()
            # the same share again is no other
            async with make_link(relay, token, "the-first", key):
                await until(lambda: first.ended.done())
                assert not second.ended.done()

    run(main)


def test_a_share_that_changes_its_name_is_one_and_no_more(scene: Scene) -> None:
    async def main() -> None:
        token, key = scene.token(shares=1), Ed25519PrivateKey.generate()
        async with (
            scene.relay() as relay,
            make_link(relay, token, "the-old", key),
            make_link(relay, token, "the-new", key),
        ):
            error = await refused(make_link(relay, token, "a-third", key))
            assert error.code == "quota"

    run(main)


def test_a_name_is_its_accounts(scene: Scene) -> None:
    async def main() -> None:
        key, bobs, again, eves = (
            Ed25519PrivateKey.generate(), scene.token(), scene.token(), scene.token("eve"),
        )  # fmt: skip
        async with scene.relay() as relay:
            async with make_link(relay, bobs, "the-name", key):
                pass
            error = await refused(make_link(relay, eves, "the-name", key))
            assert error.code == "name-taken"
            async with make_link(relay, again, "the-name", key):
                pass

    run(main)


def test_an_open_relay_is_shown_no_token(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    parse = __import__("tunnel.control").control.parse_from_share

    def spy(text: bytes) -> object:
        message = parse(text)
        seen.append(getattr(message, "token", ""))
        return message

    monkeypatch.setattr("tunnel.control.parse_from_share", spy)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay, make_link(relay, scene.token()):
            assert seen == [""]

    run(main)


@contextmanager
def from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(new_names, "BURST", 2)
        patch.setattr("relay.control.source_of", lambda address: "192.0.2.1")
        yield


@pytest.mark.parametrize("accounts", [False, True])
def test_nobody_leases_names_without_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, accounts: bool
) -> None:
    async def main() -> None:
        token, key = scene.token(), Ed25519PrivateKey.generate()
        async with Relay(RelayConfig(state_dir=scene.folder, accounts=accounts)) as relay:
            for _ in range(2):  # the second time the name is no new one
                async with make_link(relay, token, "mine-and-mine", key):
                    pass
            async with make_link(relay, token):
                pass
            error = await refused(make_link(relay, token))
            assert error.code == "full"
            assert "too many new names" in error.text
            async with make_link(relay, token, "mine-and-mine", key):
                pass

    with from_elsewhere(monkeypatch):
        run(main)
