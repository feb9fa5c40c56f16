from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from tunnel.http_pages import Media, Page, body_of, fields_of, negotiate

FIREFOX = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROME = FIREFOX + b",image/avif,application/signed-exchange;v=b3;q=0.7"
PAGE = Page(503, "<b> is away", ["It \x1b[31msleeps.", "Wait <i>."], "a foot & more", 30)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (FIREFOX, Media.HTML),
        (CHROME, Media.HTML),
        (b"*/*", Media.TEXT),  # curl, fetch()
        (b"", Media.TEXT),
        (b"image/avif,image/webp,*/*;q=0.8", Media.TEXT),
        (b"application/json", Media.JSON),
        (b"Application/JSON; charset=utf-8", Media.JSON),
        (b"application/json, text/plain, */*", Media.JSON),  # axios
        (b"application/problem+json", Media.JSON),
        (b"application/vnd.api+json;q=0.2,*/*", Media.JSON),
        (b"text/html;q=0.5, application/json", Media.JSON),
        (b"text/html, application/json;q=0.9", Media.HTML),
        (b"text/plain, text/html", Media.TEXT),
        (b"text/html;q=0", Media.TEXT),
        (b"text/html;q=0.000,application/json;q=0.001", Media.JSON),
        (b"text/html;level=1 ; Q=0.1, text/plain ;q=0.2", Media.TEXT),
        (b"text/html;q=1.5,application/json", Media.HTML),
        (b"text/html;q=x", Media.HTML),
        (b",;=,/,text,html,+json,application/+json", Media.TEXT),
    ],
)
def test_what_a_program_wants(accept: bytes, media: Media) -> None:
    assert negotiate(accept) is media


def test_html_has_nothing_of_others_in_it() -> None:
    text = body_of(PAGE, Media.HTML).decode()
    assert "<h1>&lt;b&gt; is away</h1>" in text
    assert "<p>Wait &lt;i&gt;.</p>" in text
    assert "a foot &amp; more" in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "{" not in text.replace(re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0], "")


def test_only_the_pages_own_style_is_applied() -> None:
    fields = dict(fields_of(PAGE, Media.HTML))
    policy = fields[b"Content-Security-Policy"].decode()
    style = re.findall(r"<style>(.*?)</style>", body_of(PAGE, Media.HTML).decode(), re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'none'" in policy


def test_a_form_is_put_in_as_it_is_and_may_be_sent() -> None:
    page = Page(403, "title", form="<form></form>")
    assert b"\n<form></form>\n" in body_of(page, Media.HTML)
    assert b"form-action" not in dict(fields_of(page, Media.HTML))[b"Content-Security-Policy"]
    assert b"form" not in body_of(page, Media.TEXT) + body_of(page, Media.JSON)


def test_text_is_for_terminals() -> None:
    assert body_of(PAGE, Media.TEXT) == b"<b> is away.\nIt ?[31msleeps.\nWait <i>.\n"


def test_json() -> None:
    said = json.loads(body_of(PAGE, Media.JSON))
    assert said == {
        "status": 503,
        "title": "<b> is away",
        "detail": "It \x1b[31msleeps. Wait <i>.",
        "retry_after": 30,
    }
    assert "retry_after" not in json.loads(body_of(Page(404, "no"), Media.JSON))


@pytest.mark.parametrize("media", list(Media))
def test_fields(media: Media) -> None:
    fields = dict(fields_of(PAGE, media))
    assert fields[b"Content-Type"] == media.value
    assert fields[b"Cache-Control"] == b"no-store"
    assert fields[b"X-Content-Type-Options"] == b"nosniff"
    assert fields[b"Retry-After"] == b"30"
    assert b"Retry-After" not in dict(fields_of(Page(404, "no"), media))
