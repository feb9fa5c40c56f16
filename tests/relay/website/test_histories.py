"""Pages of a relay that has others beside it; what those say is said by the test."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from relay.control import Urls
from relay.website.app import Parts, make_website
from relay.website.asking import ListAsked, Place, TokensAsked, parse_asked, serialize
from tests.relay.website.browser import Browser
from tests.relay.website.rows import add_session, history
from tests.relay.website.scene import Scene, act
from tunnel.names import ShareName
from tunnel.relay_token import RelayToken

HERE, THERE = Place("0" * 16, "one.example:443"), Place("1" * 16, "two.example:443")


class Others:
    """One relay, which answers `answer`; None: nothing. At its home is the account there is."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.is_home = True
        self.asked: list[object] = []

    def here(self) -> Place:
        return HERE

    def places(self) -> list[Place]:
        return [THERE]

    def home_of(self, account: int) -> tuple[Place, int] | None:
        return (THERE, 1) if self.is_home else None

    def place_of(self, name: ShareName) -> Place | None:
        return None

    async def ask(self, places: Collection[Place], question: bytes) -> dict[str, bytes]:
        if places:
            self.asked.append(parse_asked(question))
        return {THERE.home: self.answer} if places and self.answer is not None else {}


async def browser_of(scene: Scene, others: Others, token: RelayToken) -> Browser:
    parts = Parts(
        scene.registry,
        scene.permits,
        Urls("shares.example", 7443),
        scene.folder,
        lambda share: None,
        histories=others,
    )
    browser = Browser(make_website("pages.example", parts))
    assert (await browser.sign_in(token.text)).status == 303
    return browser


def test_who_did_not_tell_the_tokens_is_not_asked_again(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        others, token = Others(None), scene.token()
        with history(tmp_path) as database:
            add_session(database, 1, "mine", token.id)
        page = (await (await browser_of(scene, others, token)).get("/history")).text
        assert f"{THERE.name} did not answer" in page
        assert ">mine</a>" in page
        assert others.asked == [TokensAsked(1)]

    act(tmp_path, main)


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"null", b"[1]", b'["abcdefgh"]', b"[" * 100_000, serialize([]) + b"x"],
)
def test_what_cannot_be_read_is_no_answer(tmp_path: Path, answer: bytes) -> None:
    async def main(scene: Scene) -> None:
        others, token = Others(answer), scene.token()
        others.is_home = False
        browser = await browser_of(scene, others, token)
        for target in ("/history", "/log", "/log?of=connections"):
            assert f"{THERE.name} did not answer" in (await browser.get(target)).text
        told = await browser.get(f"/history/{THERE.home}-1")
        assert told.status == (404 if answer == b"null" else 503)
        assert isinstance(others.asked[0], ListAsked)
        assert others.asked[0].tokens == [token.id]

    act(tmp_path, main)


def test_no_address_is_too_strange(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        others, token = Others(serialize([])), scene.token()
        browser = await browser_of(scene, others, token)
        for text in (
            "x",
            "-",
            f"{THERE.home}-",
            f"{THERE.home}-{'9' * 40}",
            f"{'2' * 16}-1",
            "9" * 40,
        ):
            assert (await browser.get(f"/history/{text}")).status == 404
            for target in ("/history", "/log"):
                assert (await browser.get(f"{target}?before={text}")).status == 200

    act(tmp_path, main)
