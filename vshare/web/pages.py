"""Answers of the share's own: its small pages, and the way back from them. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

from tunnel.http_heads import Fields, RequestHead
from tunnel.http_pages import Media, Page, body_of, fields_of
from vshare.web.rules import Reply
from vshare.web.tries import RETRY_AFTER
from vshare.web.visit import media_of

FROM_ELSEWHERE = Page(
    HTTPStatus.FORBIDDEN,
    "That form was sent by a page of another site",
    ["Open the address itself, and try again."],
)
NO_FORM = Page(HTTPStatus.BAD_REQUEST, "That is not the form of this page", ["Open it again."])
TOO_MANY = Page(
    HTTPStatus.TOO_MANY_REQUESTS,
    "Too many wrong ones were tried",
    ["Try again in a minute."],
    retry_after=RETRY_AFTER,
)
FULL = Page(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "As many browsers are here as this share takes",
    ["Try again when somebody has left."],
    retry_after=RETRY_AFTER,
)


def page_reply(head: RequestHead, page: Page, fields: Sequence[tuple[bytes, bytes]] = ()) -> Reply:
    """`page` as the sender of this request wants it, with more fields."""
    media, phrase = media_of(head), HTTPStatus(page.status).phrase
    page = replace(page, foot=f"{page.status} {phrase}, answered by vshare, not by the machine")
    return Reply(page.status, phrase, [*fields_of(page, media), *fields], body_of(page, media))


def form_of(action: str, to: bytes, inside: str) -> str:
    """A form that comes back with `to`, where the visitor wants to go; `inside` is HTML."""
    place = html.escape(to.decode("ascii"))
    hidden = f'<input type="hidden" name="to" value="{place}">'
    return f'<form method="post" action="{action}">{hidden}\n{inside}</form>'


def redirect(to: bytes, fields: Fields) -> Reply:
    """303: the browser goes to `to` with GET. `to` is as from `safe_place`."""
    kind = (b"Content-Type", Media.TEXT.value)
    own = [(b"Location", to), (b"Cache-Control", b"no-store"), kind]
    return Reply(HTTPStatus.SEE_OTHER, "See Other", [*own, *fields])
