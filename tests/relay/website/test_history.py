from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from relay.history.tables import FILE
from tests.relay.website.rows import add_request, add_session, history
from tests.relay.website.scene import Scene, act

NAME = "frosty-weasel-0857"


def test_without_a_history_the_pages_say_so(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        for target in ("/history", "/log", "/log?of=connections"):
            assert "keeps no history" in (await browser.get(target)).text
        assert (await browser.get("/history/1")).status == 404

    act(tmp_path, main)


def test_what_was_is_listed_searched_and_told(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        with history(tmp_path) as database:
            for number in range(1, 61):
                add_session(database, number, f"frosty-weasel-{number:04}", token.id)
            for number in range(60):
                add_request(database, number, 7, f"/item/{number}", 404 if number == 9 else 200)
            add_request(database, 99, 7, "/<script>alert(1)</script>%_")
        browser = await scene.signed_in(token)
        page = (await browser.get("/history")).text
        assert "weasel-0060" in page
        assert "weasel-0010" not in page
        older = re.search(r'href="(\?[^"]*before=\d+)"', page)
        assert older is not None
        assert "weasel-0010" in (await browser.get("/history" + unescape(older[1]))).text
        assert "weasel-0042" in (await browser.get("/history?q=0042")).text
        assert "nothing like that" in (await browser.get("/history?q=%25")).text
        page = (await browser.get("/history/7")).text
        for text in ("<svg", "somebody joined from 192.0.2.7", "by its owner", "/item/59"):
            assert text in page
        page = (await browser.get("/log?q=/item/9&status=4")).text
        assert "/item/9<" in page
        assert page.count("<tr>") == 2
        assert "nothing like that" in (await browser.get("/log?q=/item/9&status=2")).text
        assert "2001:db8::7" in (await browser.get("/log?of=connections&q=0033")).text
        page = (await browser.get("/log")).text
        assert "&lt;script&gt;" in page
        assert "<script>alert" not in page

    act(tmp_path, main)


def test_no_number_is_too_strange(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        with history(tmp_path) as database:
            add_session(database, 1, NAME, token.id)
        browser = await scene.signed_in(token)
        for text in (
            "0",
            "-1",
            "9" * 15,
            "9" * 40,
            "9" * 5_000,
            "%D9%A3",
            "1e3",
            "x",
            "1%20OR%201",
        ):
            assert (await browser.get(f"/history/{text}")).status == 404
            for target in ("/history", "/log"):
                answer = await browser.get(f"{target}?before={text}&status={text}&of={text}")
                assert answer.status == 200
        answer = await browser.get(f"/log?q={'%27%22%25_' * 300}")
        assert answer.status == 200

    act(tmp_path, main)


def test_a_history_that_cannot_be_read_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        scene.share(token, NAME)
        browser = await scene.signed_in(token)
        scene.folder.joinpath(FILE).write_bytes(b"this is no database, and is as long as one" * 9)
        for target in ("/history", "/log", "/history/1"):
            answer = await browser.get(target)
            assert answer.status == 503
            assert "cannot read or write" in answer.text
        assert (await browser.get("/shares")).status == 200
        assert (await browser.get(f"/shares/{NAME}")).status == 200
        assert "history cannot be read" in caplog.text

    act(tmp_path, main)
