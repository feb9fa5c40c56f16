"""The pages of either relay show what was at both."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from html import unescape
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from relay.accounting import Kind
from relay.accounts.book import Allowance, account_book
from relay.accounts.permits import Permits
from relay.cluster import histories
from relay.config import HistoryConfig
from relay.control import Urls
from relay.server import Relay
from relay.website.app import Parts, make_website
from tests.loops import run, until
from tests.relay.cluster.redis_server import needs_redis, redis_server
from tests.relay.cluster.test_cluster import configured, member
from tests.relay.website.browser import HOST, Browser
from tests.relay.website.rows import BEGAN, add_request, add_session, history
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken
from vshare.relay_link import RelayLink

pytestmark = [pytest.mark.programs, needs_redis]
NAME = ShareName("the-first-name")


class Two:
    """Two relays. The accounts are at the second: `ada`'s token, one that was revoked (`old`),
    `bob`'s, an administrator's (`root`)."""

    def __init__(self, folder: Path, relays: list[Relay]) -> None:
        self.folder, self.relays = folder, relays
        with account_book(self.folders[1]) as book:
            for user in ("ada", "bob", "root"):
                book.create_user(user, 1.0)
            self.old, self.ada = (self._token(book, "ada") for _ in range(2))
            self.bob = self._token(book, "bob")
            self.root = self._token(book, "root", "admin")
            book.revoke_token(self.old.id, 2.0)

    @staticmethod
    def _token(book: object, user: str, scope: str = "share pages") -> RelayToken:
        return book.create_token(user, Allowance(scope), 1.0)  # type: ignore[attr-defined,no-any-return]  # a book

    @property
    def folders(self) -> list[Path]:
        return [self.folder / "one", self.folder / "two"]

    def place(self, at: int) -> str:
        return f"127.0.0.1:{self.relays[at].port}"

    def home(self, at: int) -> str:
        return member(self.relays[at]).info.home

    def permits(self, at: int) -> Permits:
        permits = self.relays[at].registry.quotas._permits
        assert permits is not None
        return permits

    async def browser(self, at: int, token: RelayToken) -> Browser:
        """Who is signed in at the pages of that relay."""
        permits, relay = self.permits(at), self.relays[at]
        await until(lambda: permits.get(token.id, time.time()))
        urls = Urls("localhost", 7443)
        parts = Parts(
            relay.registry,
            permits,
            urls,
            self.folders[at],
            lambda share: None,
            elsewhere=relay._elsewhere,
            histories=relay._histories,
        )
        browser = Browser(make_website(HOST, parts))
        assert (await browser.sign_in(token.text)).status == 303
        return browser


def with_two(folder: Path, act: Callable[[Two], Awaitable[None]], **options: object) -> None:
    async def main() -> None:
        with redis_server(folder) as redis:
            config = dataclasses.replace(configured(folder, redis), accounts=True, **options)  # type: ignore[arg-type]  # a table of keywords
            async with AsyncExitStack() as stack:
                relays = [
                    await stack.enter_async_context(
                        Relay(dataclasses.replace(config, state_dir=folder / name))
                    )
                    for name in ("one", "two")
                ]
                await until(lambda: all(member(each).directory.others() for each in relays))
                await until(lambda: all(member(each).is_ready for each in relays))
                await act(Two(folder, relays))

    run(main)


def fill(two: Two) -> None:
    """Sessions at both, in turn; some begin at one time. Bob has one at each."""
    for at, folder in enumerate(two.folders):
        with history(folder) as database:
            for number in range(1, 36):
                token = (two.ada, two.old)[number % 2]
                name = f"ada-{at}-{number:03}"
                add_session(database, number, name, token.id, began=BEGAN + number // 3)
                add_request(database, number, number, f"/{at}/{number}", 200 + number % 3 * 100)
            add_session(database, 99, f"bobs-{at}", two.bob.id)
            add_request(database, 99, 99, "/bobs")


async def all_pages(browser: Browser, target: str, pattern: str) -> list[str]:
    """What is found on a list's pages, one after the other."""
    found, (path, _, query) = [], target.partition("?")
    for _ in range(20):
        page = (await browser.get(f"{path}?{query}")).text
        assert "did not answer" not in page
        found += re.findall(pattern, page)
        older = re.search(r'<a rel="next" href="\?([^"]*)"', page)
        if older is None:
            return found
        query = unescape(older[1])
        assert len(query.partition("before=")[2]) < 50
    raise AssertionError(f"{target} has no end")


def test_the_pages_show_what_was_at_all_relays(tmp_path: Path) -> None:
    async def main(two: Two) -> None:
        fill(two)
        expected = [(at, number) for number in range(35, 0, -1) for at in (0, 1)]
        for at in (0, 1):
            browser = await two.browser(at, two.ada)
            names = await all_pages(browser, "/history", r">(ada-[^<]*|bobs-.)</a>")
            assert sorted(names, reverse=True) == sorted(
                (f"ada-{where}-{number:03}" for where, number in expected), reverse=True
            )
            began = [int(name[-3:]) // 3 for name in names]
            assert began == sorted(began, reverse=True)  # the newest first, wherever it was
            visits = await all_pages(browser, "/log?of=connections", r">(ada-[^<]*|bobs-.)</a>")
            assert len(visits) == 3 * len(expected)
            assert all(visits.count(name) == 3 for name in names)
            paths = await all_pages(browser, "/log", r'class="path">([^<]*)<')
            assert paths == [f"/{where}/{n}" for n, where in sorted(
                ((n, where) for where, n in expected), key=lambda it: (it[0], two.home(it[1])),
                reverse=True,
            )]  # fmt: skip
            errors = await all_pages(browser, "/log?status=4", r'class="path">([^<]*)<')
            assert sorted(errors) == sorted(f"/{w}/{n}" for w, n in expected if n % 3 == 2)
            page = (await browser.get("/log?q=/0/7")).text
            assert "/0/7" in page
            assert f"<td>{two.place(0)}</td>" in page
            assert two.place(1) not in page
            for where in (0, 1):  # a row's link leads to its story, wherever that is
                row = (await browser.get(f"/history?q=ada-{where}-007")).text
                link = re.search(r'href="(/history/[^"]*)"', row)
                assert link is not None
                assert link[1] == f"/history/{two.home(where)}-7"
                story = (await browser.get(link[1])).text
                for text in (f"ada-{where}-007", "<svg", "somebody joined from 192.0.2.7",
                             f"/{where}/7<"):  # fmt: skip
                    assert text in story

    with_two(tmp_path, main)


def test_nobody_sees_what_is_anothers_at_another_relay(tmp_path: Path) -> None:
    async def main(two: Two) -> None:
        fill(two)
        for at in (0, 1):
            ada, bob = await two.browser(at, two.ada), await two.browser(at, two.bob)
            root = await two.browser(at, two.root)
            for where in (0, 1):
                target = f"/history/{two.home(where)}-99"
                answer = await ada.get(target)
                nothing = await ada.get(f"/history/{two.home(where)}-1234")
                unknown = await ada.get("/history/0123456789abcdef-99")
                assert answer.status == nothing.status == unknown.status == 404
                assert answer.text == nothing.text == unknown.text
                assert f"bobs-{where}" in (await bob.get(target)).text
                assert f"bobs-{where}" in (await root.get(target)).text
            for target in ("/history?q=bobs", "/log?q=bobs", "/log?of=connections&q=bobs"):
                assert "nothing like that" in (await ada.get(target)).text
                for browser in (bob, root):
                    page = (await browser.get(target)).text
                    assert "bobs-0" in page
                    assert "bobs-1" in page
            assert two.bob.id in (await root.get("/history?q=bobs")).text

    with_two(tmp_path, main)


def test_a_relay_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "MAX_WAITING", 0)  # none answers another

    async def stuck(question: bytes) -> bytes:
        return await asyncio.Future()

    async def main(two: Two) -> None:
        fill(two)
        for at, other in ((1, 0), (0, 1)):
            browser = await two.browser(at, two.ada)
            for target in ("/history", "/log", "/log?of=connections"):
                page = (await browser.get(target)).text
                assert f"{two.place(other)} did not answer: what it knows is missing" in page
                assert f"{two.place(at)} did not answer" not in page
                assert f"ada-{at}-034" in page
                assert f"ada-{other}-" not in page
            answer = await browser.get(f"/history/{two.home(other)}-7")
            assert answer.status == 503
            assert f"{two.place(other)} did not answer" in answer.text
            assert (await browser.get(f"/history/{two.home(at)}-8")).status == 200
        monkeypatch.setattr(histories, "WITHIN", 0.2)
        member(two.relays[1]).questions.answer(histories.TOPIC, stuck)
        assert f"{two.place(1)} did not answer" in (await browser.get("/history")).text

    with_two(tmp_path, main)


def test_a_share_elsewhere_is_shown_as_at_home(tmp_path: Path) -> None:
    async def main(two: Two) -> None:
        browser = await two.browser(1, two.ada)
        await until(lambda: two.permits(0).get(two.ada.id, time.time()))
        link = RelayLink(
            two.relays[0].address,
            Ed25519PrivateKey.generate(),
            NAME,
            on_visitor=lambda sock, paired: sock.close(),
            expires_at=time.time() + 3_600,
            route=secrets.token_hex(16),
            token=two.ada,
        )
        async with link:
            accounting = two.relays[0].registry.accounting
            share = two.relays[0].registry.get(NAME)
            assert share is not None
            await until(lambda: member(two.relays[1]).directory.node_of(NAME))
            with accounting.visit(share, Kind.JOIN, "192.0.2.9"):
                page = ""
                while "somebody joined from 192.0.2.9" not in page:  # it is written soon
                    page = (await browser.get(f"/shares/{NAME}")).text
                for text in (f"another relay of this cluster, {two.place(0)}, since",
                             "1 connection now", f"https://{NAME}.localhost:7443",
                             f"connected to {two.place(0)}"):  # fmt: skip
                    assert text in page
            assert "0 connections now" in (await browser.get(f"/shares/{NAME}")).text
            stranger = await two.browser(1, two.bob)
            assert (await stranger.get(f"/shares/{NAME}")).status == 404

    with_two(tmp_path, main, history=HistoryConfig())
