from __future__ import annotations

import re
from pathlib import Path

from relay.accounts.book import TokenEntry, account_book
from relay.accounts.limits import Limits
from relay.website import token_desk as tokens
from tests.relay.website.scene import Scene, act


def entries(scene: Scene) -> list[TokenEntry]:
    with account_book(scene.folder) as book:
        return list(reversed(book.tokens()))


def test_a_token_is_made_shown_once_and_revoked(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        own = scene.token()
        browser = await scene.signed_in(own)
        answer = await browser.post("/tokens", note="laptop <b>", shares="2", bandwidth="5M")
        assert (answer.status, answer.get("location")) == (303, "/tokens")
        page = (await browser.get("/tokens")).text
        made = re.search(r"vsr_[a-z2-7]{67}", page)
        assert made is not None
        assert "laptop &lt;b&gt;" in page
        assert "2 shares, 5.0 MB a second" in page
        assert made[0] not in (await browser.get("/tokens")).text
        scene.look()
        permit = scene.permits.known(made[0], 0.0)
        assert permit is not None
        assert permit.account == 1
        assert permit.scopes == {"share"}
        assert (await browser.post(f"/tokens/{permit.token}/revoke")).status == 303
        scene.look()
        assert scene.permits.get(permit.token, 0.0) is None
        assert (await browser.post(f"/tokens/{own.id}/revoke")).status == 303  # his very own
        scene.look()
        assert (await browser.get("/tokens")).get("location") == "/sign-in?next=tokens"

    act(tmp_path, main)


def test_nobody_makes_himself_more_than_he_has(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        limits = Limits(guests=7, bandwidth=1_000)
        small = scene.token("ada", "share pages names:ada-", limits=limits, expires_at=4e9)
        browser = await scene.signed_in(small)
        await browser.post("/tokens", pages="yes")
        asked = {"shares": "9", "guests": "9", "streams": "9", "bandwidth": "1G", "days": "3650"}
        await browser.post("/tokens", None, **asked, scope="admin", user="bob")
        for made in entries(scene)[:2]:
            assert made.user == "ada"
            assert "names:ada-" in made.scopes.split()
            assert "admin" not in made.scopes
            assert made.limits.guests == 7
            assert made.limits.bandwidth == 1_000
            assert made.expires_at is not None
            assert made.expires_at <= 4e9
        made = next(each for each in entries(scene) if each.limits.streams)
        assert made.limits.shares == 5  # the relay's own, for who has none
        assert made.limits.streams == 9

    act(tmp_path, main)


def test_an_administrators_tokens_are_as_he_says(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        root = scene.token("root", "admin", limits=Limits(shares=1))
        browser = await scene.signed_in(root)
        await browser.post("/tokens", shares="9")
        assert entries(scene)[0].limits.shares == 9
        assert entries(scene)[0].scopes == "share"

    act(tmp_path, main)


def test_what_cannot_be_meant_is_said(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        for field, text in (
            ("shares", "0"), ("shares", "-1"), ("shares", "٣"), ("shares", "99999999"),
            ("guests", "x"), ("days", "3651"), ("bytes_per_day", "much"), ("bandwidth", "0"),
            ("note", "two\nlines"), ("note", "x" * 201),
        ):  # fmt: skip
            answer = await browser.post("/tokens", None, **{field: text})
            assert answer.status == 400, (field, text)
            assert "No token was made" in answer.text
        assert len(entries(scene)) == 1

    act(tmp_path, main)


def test_nobody_has_new_limits_again_and_again(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        for _ in range(tokens.MAX_A_DAY - 1):  # that one signs in with is new, too
            assert (await browser.post("/tokens")).status == 303
            newest = max(entries(scene), key=lambda each: each.created_at)
            assert (await browser.post(f"/tokens/{newest.id}/revoke")).status == 303
            scene.look()
        answer = await browser.post("/tokens")
        assert answer.status == 409
        assert "in 24 hours" in answer.text
        assert len(entries(scene)) == tokens.MAX_A_DAY

    act(tmp_path, main)


def test_there_are_not_too_many(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        tokens.MAX_TOKENS, before = 1, tokens.MAX_TOKENS
        try:
            assert (await browser.post("/tokens")).status == 409
        finally:
            tokens.MAX_TOKENS = before

    act(tmp_path, main)
