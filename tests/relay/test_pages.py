"""The relay's own pages: what they say, and to whom in what form."""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from pathlib import Path

import pytest

from relay import expected
from relay.config import RelayConfig
from relay.names import NameBook
from relay.pages import answer_with, error_page, front_page
from relay.server import Relay
from tests.loops import run
from tunnel.names import ShareName

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("status", "seconds"),
    [(429, b"60"), (502, b"10"), (503, b"30"), (504, b"30"), (404, None), (421, None)],
)
def test_when_to_ask_again(status: int, seconds: bytes | None) -> None:
    page = error_page(HTTPStatus(status), "it is so", "do this", "relay.example")
    assert dict(answer_with(page, b"")[0]).get(b"Retry-After") == seconds


def test_what_is_said() -> None:
    page = error_page(HTTPStatus.NOT_FOUND, "<x> is not here", "Ask & look.", "relay.example")
    html = answer_with(page, BROWSER.encode())[1].decode()
    assert "<h1>&lt;x&gt; is not here</h1>" in html
    assert "<p>Ask &amp; look.</p>" in html
    assert "404 Not Found, relay relay.example" in html
    fields, text = answer_with(page, b"*/*")
    assert text == b"<x> is not here.\nAsk & look.\n"
    assert dict(fields)[b"Content-Length"] == b"%d" % len(text)
    assert b"relay.example" in answer_with(front_page("relay.example"), b"text/html")[1]


async def _ask(port: int, host: str, fields: str, method: str = "GET") -> tuple[str, str]:
    """Head and body of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = f"{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n"
        writer.write(request.encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return head.lower(), body


def test_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By each of the three that write pages: the gateway, for what is away and for what is not
    there, and the application at the relay's own name."""
    monkeypatch.setattr(expected, "WAIT_AT_MOST", 0.01)  # for what may come back soon

    async def main() -> None:
        with NameBook(tmp_path / "names.sqlite") as names:
            names.claim(ShareName("away-site"), b"one", 0.0, time.time() + 60)
        async with Relay(RelayConfig(state_dir=tmp_path)) as relay:
            for host, status in (
                ("away-site.localhost", 503),
                ("no-such-site.localhost", 404),
                ("localhost", 200),
            ):
                head, body = await _ask(relay.port, host, f"Accept: {BROWSER}\r\n")
                assert head.startswith(f"http/1.1 {status} ")
                assert "content-type: text/html; charset=utf-8" in head
                assert "content-security-policy: default-src 'none'" in head
                assert body.startswith("<!doctype html>")
                assert ("retry-after: 30" in head) is (status == 503)

                head, body = await _ask(relay.port, host, "Accept: application/json\r\n")
                assert "content-type: application/json" in head
                assert json.loads(body)["status"] == status

                for fields in ("", "Accept: */*\r\n"):
                    head, body = await _ask(relay.port, host, fields)
                    assert "content-type: text/plain; charset=utf-8" in head
                    assert "<" not in body

                head, body = await _ask(relay.port, host, f"Accept: {BROWSER}\r\n", "HEAD")
                assert "content-type: text/html" in head
                assert not body

            head, body = await _ask(
                relay.port, "no-such-site.localhost", f"Accept: {BROWSER}\r\n{UPGRADE}"
            )
            assert "content-type: text/plain" in head

    run(main)
