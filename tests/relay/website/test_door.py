"""Signing in, and what is held against forms from elsewhere."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from relay.operation.events import Event
from relay.website import door, forms, sessions
from relay.website.sessions import COOKIE
from tests.relay.website.browser import FAR, HOST
from tests.relay.website.scene import Scene, act
from tunnel.relay_token import make_token

NAME = "frosty-weasel-0857"


def test_one_signs_in_with_a_token_and_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main(scene: Scene) -> None:
        token = scene.token()
        browser = scene.browser()
        assert "Sign in" in (await browser.get("/")).text
        answer = await browser.sign_in(token.text, "/sign-in?next=tokens")
        assert (answer.status, answer.get("location")) == (303, "/tokens")
        cookies = {each.partition("=")[0]: each for each in answer.all("set-cookie")}
        for attribute in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"):
            assert attribute in cookies[COOKIE].split("; ")
        assert "Domain" not in cookies[COOKIE]
        page = await browser.get("/tokens")
        assert (page.status, page.get("cache-control")) == (200, "no-store")
        assert token.id in page.text
        cookie = browser.cookies[COOKIE]
        assert (await browser.post("/sign-out")).get("location") == "/"
        assert COOKIE not in browser.cookies
        browser.cookies[COOKIE] = cookie
        assert (await browser.get("/tokens")).get("location") == "/sign-in?next=tokens"
        for text in (page.text, str(page.headers), str(answer.headers), caplog.text):
            assert token.text not in text
            assert token.text[12:64] not in text
        (told,) = [vars(each) for each in caplog.records if hasattr(each, "event")]
        assert told["event"] is Event.SIGNED_IN
        assert told["fields"] == {"token": token.id, "source": FAR}  # by what is no secret
        assert FAR not in caplog.text  # a log may have to be without addresses

    act(tmp_path, main)


def test_a_token_that_is_not_good_lets_nobody_in(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        revoked, over = scene.token(), scene.token(expires_at=1.0)
        scene.revoke(revoked)
        good = scene.token()
        forged = make_token(bytes(5), bytes(32)).text
        for text in ("", "x", revoked.text, over.text, forged, good.id, good.text[:-1]):
            browser = scene.browser(f"198.51.100.{len(text)}")
            answer = await browser.sign_in(text)
            assert answer.status == 403
            assert "not good here" in answer.text
            assert COOKIE not in browser.cookies
            assert (await browser.get("/shares")).status == 303
        answer = await scene.browser().sign_in(scene.token(scope="share").text)
        assert answer.status == 403
        assert "for sharing alone" in answer.text

    act(tmp_path, main)


def test_a_session_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token, other = scene.token(), scene.token()
        one, another = await scene.signed_in(token), await scene.signed_in(other)
        scene.revoke(token)
        assert (await one.get("/shares")).get("location") == "/sign-in?next=shares"
        assert (await one.post("/tokens")).get("location") == "/sign-in"
        assert (await another.get("/shares")).status == 200

    act(tmp_path, main)


def test_a_session_is_never_one_that_the_browser_brought(tmp_path: Path) -> None:
    """Session fixation: what was planted before is worth nothing after."""

    async def main(scene: Scene) -> None:
        token = scene.token()
        browser = scene.browser()
        browser.cookies[COOKIE] = "planted"
        await browser.sign_in(token.text)
        first = browser.cookies[COOKIE]
        assert first != "planted"
        await browser.sign_in(token.text)
        assert browser.cookies[COOKIE] not in ("planted", first)
        for old in ("planted", first):  # signing in again ends what was, wherever it is kept
            stale = scene.browser()
            stale.cookies[COOKIE] = old
            assert (await stale.get("/shares")).status == 303

    act(tmp_path, main)


def test_nobody_is_sent_elsewhere(tmp_path: Path) -> None:
    """Open redirects, and fields of an answer that a request wrote."""

    async def main(scene: Scene) -> None:
        token = scene.token()
        for wanted in ("https://evil.example", "//evil.example", "/tokens", "x\r\nX-Evil: 1"):
            browser = scene.browser()
            await browser.get("/sign-in?next=" + quote(wanted))
            answer = await browser.post("/sign-in", token=token.text, next=wanted)
            assert answer.get("location") == "/shares"
        for target in ("/%0d%0aX-Evil:%201", "/shares/x\r\nX-Evil: 1", "/history/\r\nX-Evil: 1"):
            answer = await browser.get(target)
            assert answer.status == 404
            assert not answer.get("x-evil")
            assert "\r" not in str(answer.headers)

    act(tmp_path, main)


def test_a_cookie_of_before_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replayed after an hour, while its owner clicked on; and after the end of the day."""
    real, later = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: real() + later)

    async def main(scene: Scene) -> None:
        nonlocal later
        browser = await scene.signed_in(scene.token())
        first = browser.cookies[COOKIE]
        await browser.get("/shares")
        assert browser.cookies[COOKIE] == first  # it is new enough
        for _ in range(3):
            later += sessions.IDLE - 60
            answer = await browser.get("/shares", **{door.LIVE: "1"})  # nobody has clicked
            assert (answer.status, answer.all("set-cookie")) == (200, [])
            assert (await browser.get("/shares")).all("set-cookie")
        thief = scene.browser()
        thief.cookies[COOKIE] = first
        assert (await thief.get("/shares")).status == 303
        later += sessions.IDLE
        assert (await browser.get("/shares")).status == 303

    act(tmp_path, main)


FROM_ELSEWHERE = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": f"https://{HOST}"},
    {"sec-fetch-site": "none", "origin": ""},
    {"sec-fetch-site": "", "origin": "https://evil.example"},
    {"sec-fetch-site": "", "origin": f"http://{HOST}"},
    {"sec-fetch-site": "", "origin": f"https://{HOST}0"},
    {"sec-fetch-site": "", "origin": "null"},
    {"sec-fetch-site": "", "origin": ""},
]


def test_forms_of_other_pages_do_nothing(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        line = scene.share(token, NAME)
        browser, stranger = await scene.signed_in(token), scene.browser()
        await stranger.get("/sign-in")
        changes = (f"/shares/{NAME}/end", "/tokens", f"/tokens/{token.id}/revoke", "/sign-out")
        for fields in FROM_ELSEWHERE:
            for target in changes:
                assert (await browser.post(target, fields)).status == 403
            assert (await stranger.post("/sign-in", fields, token=token.text)).status == 403
        scene.look()
        assert not line.ended()
        assert scene.permits.tokens_of(1) == [token.id]
        assert (await browser.get("/shares")).status == 200
        assert COOKIE not in stranger.cookies

    act(tmp_path, main)


def test_a_form_has_the_sessions_own_word_in_it(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        line = scene.share(token, NAME)
        browser, other = await scene.signed_in(token), await scene.signed_in(token)
        own = browser.csrf
        assert own
        for csrf in ("", "x", other.csrf, browser.cookies[COOKIE], own[:-1]):
            browser.csrf = csrf
            for target in (f"/shares/{NAME}/end", "/tokens", f"/tokens/{token.id}/revoke"):
                assert (await browser.post(target)).status == 403
            assert (await browser.post("/sign-out")).status == 403
        assert not line.ended()
        browser.csrf = own
        assert (await browser.post(f"/shares/{NAME}/end")).status == 303
        assert line.ended() == "page"
        stranger, third = scene.browser(), scene.browser()
        await stranger.get("/sign-in")
        await third.get("/sign-in")
        stranger.csrf = third.csrf  # another browser's form: one is signed in as somebody else
        assert (await stranger.post("/sign-in", token=token.text)).status == 403
        stranger.cookies.clear()
        assert (await stranger.post("/sign-in", token=token.text)).status == 403

    act(tmp_path, main)


def test_nothing_is_changed_by_a_look(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        line = scene.share(token, NAME)
        browser = await scene.signed_in(token)
        for target in (f"/shares/{NAME}/end", f"/tokens/{token.id}/revoke", "/sign-out"):
            for method in ("GET", "HEAD", "PUT", "DELETE"):
                assert (await browser.ask(method, target)).status == 405
        assert not line.ended()
        assert (await browser.get("/shares")).status == 200

    act(tmp_path, main)


def test_wrong_tokens_fill_no_log_and_lock_nobody_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(scene: Scene) -> None:
        token, sharing = scene.token(), scene.token("bob", "share")
        browser = scene.browser("203.0.113.77")
        with caplog.at_level("INFO"):
            for _ in range(door.FAILURES):
                assert (await browser.sign_in("wrong")).status == 403
            logged = len(caplog.records)
            for _ in range(3):
                answer = await browser.sign_in("wrong")
                assert (answer.status, answer.get("retry-after")) == (429, "60")
            assert len(caplog.records) == logged
        assert (await browser.sign_in(sharing.text)).status == 403  # and not 429: it is no guess
        assert (await scene.browser("203.0.113.77").sign_in(token.text)).status == 303
        assert (await scene.browser("203.0.113.78").sign_in("wrong")).status == 403

    act(tmp_path, main)


def test_forms_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        assert (await browser.post("/tokens", note="x" * forms.MAX_FORM)).status == 413
        many = {f"field{number}": "x" for number in range(forms.MAX_FIELDS)}
        assert (await browser.post("/tokens", None, **many)).status == 400
        for kind in ("multipart/form-data; boundary=x", "text/plain", "application/json"):
            assert (await browser.post("/tokens", {"content-type": kind})).status == 415
        plain = {"content-type": forms.KIND, "origin": f"https://{HOST}"}
        for body in (b"csrf=%ff", b"\xff=x"):
            assert (await browser.ask("POST", "/tokens", plain, body)).status == 400

    act(tmp_path, main)


def test_without_tls_there_is_nothing(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = scene.browser()
        for target in ("/", "/shares", "//evil.example/", "/sign-in"):
            answer = await browser.ask("GET", target, scheme="http")
            assert (answer.status, answer.get("location")) == (308, "https://pages.example:7443/")
            assert not answer.get("set-cookie")
        answer = await browser.ask("POST", "/sign-in", scheme="http")
        assert answer.status == 403

    act(tmp_path, main)


def test_what_each_answer_says_to_browsers(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = await scene.signed_in(scene.token())
        for target in (
            "/",
            "/shares",
            "/nothing",
            "/static/site.js",
            "/tokens",
            "/shares/x-y-0000",
        ):
            answer = await browser.get(target)
            policy = answer.get("content-security-policy")
            for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
                assert part in policy
            assert "unsafe" not in policy
            assert answer.get("x-content-type-options") == "nosniff"
            assert answer.get("referrer-policy") == "same-origin"
            if "static" not in target:
                assert answer.get("cache-control") == "no-store"
                assert "style=" not in answer.text
                assert "<style" not in answer.text
                assert " onclick" not in answer.text

    act(tmp_path, main)


def test_files_are_those_of_a_table(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        browser = scene.browser()
        assert (await browser.get("/static/site.css")).get("content-type").startswith("text/css")
        for path in (
            "../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/server.py", "/etc/passwd", "site.css/", "",
            "x", "..\\app.py", "site.css%00.png", "....//app.py",
        ):  # fmt: skip
            answer = await browser.get(f"/static/{path}")
            assert answer.status == 404
            assert "import" not in answer.text

    act(tmp_path, main)
