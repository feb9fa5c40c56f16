"""Small pages of our own, in the form that the visitor's program asks for. Pure.

Browsers get HTML that loads nothing from anywhere, programs plain text or JSON (RFC 9110 12.5.1).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tunnel.http_heads import Fields

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #fafbfc; --dim: #667080;
--line: #ccd3db; --field: #fff; --key: #2456c8 }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --paper: #14171c; --dim: #98a1ae;
--line: #3a424e; --field: #1c2128; --key: #7fa6ff } }
* { box-sizing: border-box }
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 14vh auto 2rem;
padding: 0 1.5rem; color: var(--ink); background: var(--paper); overflow-wrap: break-word }
h1 { font-size: 1.6rem; line-height: 1.25; text-wrap: balance } small { color: var(--dim) }
form { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; margin: 1.5rem 0 2rem }
label { flex: 1 1 14rem } input { display: block; width: 100%; margin-top: .25rem }
input, button { font: inherit; padding: .5rem .8rem; border: 1px solid var(--line);
border-radius: .4rem; color: var(--ink); background: var(--field) }
button { color: var(--paper); background: var(--key); border-color: var(--key); cursor: pointer }
"""
_HTML = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style></head>
<body><main><h1>{title}</h1>
{middle}
<p><small>{foot}</small></p></main></body></html>
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
)
# Not where there is a form: browsers hold it against the places that the answer leads on to, too.
_NO_FORMS = "; form-action 'none'"


class Media(enum.Enum):
    """What a page can be written as: its Content-Type."""

    HTML = b"text/html; charset=utf-8"
    TEXT = b"text/plain; charset=utf-8"
    JSON = b"application/json"


_MEDIA = {
    b"text/html": Media.HTML,
    b"application/xhtml+xml": Media.HTML,
    b"text/plain": Media.TEXT,
    b"application/json": Media.JSON,
}
_JSON = re.compile(rb"application/[^/]+\+json")
_WEIGHT = re.compile(rb"q=((?:0|1)(?:\.\d{0,3})?)")  # RFC 9110 12.4.2


@dataclass(frozen=True, slots=True)
class Page:
    """What is said. The texts are plain, sentences; `title` and `foot` without their full stop."""

    status: int
    title: str
    paragraphs: Sequence[str] = ()
    foot: str = ""
    retry_after: int | None = None  # seconds
    form: str = ""  # HTML that is put in as it is, for browsers alone


def negotiate(accept: bytes) -> Media:
    """What a program wants that sends `accept` (several fields joined by commas; none: empty).

    Only what it names counts: with `*/*` alone, as curl sends it, it gets plain text. Of what it
    likes equally the first.
    """
    best, weight = Media.TEXT, 0.0
    for member in accept.lower().split(b","):
        name, *parameters = (part.strip(b" \t") for part in member.split(b";"))
        media = Media.JSON if _JSON.fullmatch(name) else _MEDIA.get(name)
        if media is not None and (liked := _weight(parameters)) > weight:
            best, weight = media, liked
    return best


def _weight(parameters: Sequence[bytes]) -> float:
    matches = (_WEIGHT.fullmatch(each) for each in parameters)
    return next((min(1.0, float(match[1])) for match in matches if match), 1.0)


def fields_of(page: Page, media: Media) -> Fields:
    """The header fields that belong to a page, but for its length."""
    fields = [
        (b"Content-Type", media.value),
        (b"Cache-Control", b"no-store"),
        (b"Vary", b"Accept"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Robots-Tag", b"noindex"),
    ]
    if media is Media.HTML:
        policy = _POLICY if page.form else _POLICY + _NO_FORMS
        fields.append((b"Content-Security-Policy", policy.encode()))
        fields.append((b"Referrer-Policy", b"same-origin"))  # with less, forms have no Origin
    if page.retry_after is not None:
        fields.append((b"Retry-After", b"%d" % page.retry_after))
    return fields


def body_of(page: Page, media: Media) -> bytes:
    """The page itself."""
    if media is Media.HTML:
        return _html(page)
    if media is Media.TEXT:
        lines = [f"{page.title}.", *page.paragraphs]
        return "".join(f"{_printable(line)}\n" for line in lines).encode()
    said = {"status": page.status, "title": page.title, "detail": " ".join(page.paragraphs)}
    late = {"retry_after": page.retry_after} if page.retry_after is not None else {}
    return msgspec.json.encode(said | late) + b"\n"


def _html(page: Page) -> bytes:
    paragraphs = [f"<p>{html.escape(text)}</p>" for text in page.paragraphs]
    middle = "\n".join((*paragraphs, page.form))
    title, foot = html.escape(page.title), html.escape(page.foot)
    return _HTML.format(title=title, style=_STYLE, middle=middle, foot=foot).encode()


def _printable(text: str) -> str:
    """Without what a terminal obeys: texts can have words of other programs in them."""
    return "".join(each if each.isprintable() else "?" for each in text)
