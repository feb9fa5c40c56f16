"""A page that a browser sees once, before the site: who shares what.

No protection, but a word to people who came by a link: it is not shown to programs, and not to who
has an invite link, whose token says that the sharer gave it out.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from http import HTTPStatus

from tunnel.http_heads import RequestHead
from tunnel.http_pages import Page
from vshare.web.access import RequestRule
from vshare.web.cookies import Cookies
from vshare.web.pages import FROM_ELSEWHERE, NO_FORM, form_of, page_reply, redirect
from vshare.web.rules import Form, Reply
from vshare.web.visit import (
    OURS,
    form_fields,
    is_from_elsewhere,
    is_navigation,
    place_of,
    safe_place,
)

PATH = OURS + b"continue"
COOKIE = b"vshare-seen"
PARAMETER = b"vshare"  # of an invite link's query
TOKEN = 12  # bytes
_BUTTON = "<button>Go on to the site</button>"


def about(sharer: str, machine: str, name: str) -> list[str]:
    """Who shares what, in sentences."""
    return [
        f"{sharer} shares {machine} with you for a while, as {name}. What you see and send is"
        " between you, the relay that brings you there, and that machine.",
        "Go on if you know who sent you here, and type no password that you use elsewhere.",
    ]


class Interstitial(RequestRule):
    """Shown in place of the first page that a browser opens. `sentences` are as from `about`."""

    def __init__(self, sharer: str, sentences: list[str], key: bytes, cookies: Cookies) -> None:
        self._sharer, self._sentences, self._cookies = sharer, sentences, cookies
        digest = hmac.digest(key, b"invite link", hashlib.sha256)[:TOKEN]
        self._token = PARAMETER + b"=" + base64.urlsafe_b64encode(digest)

    def invite_link(self, url: str) -> str:
        """`url` (of one of the sites, without a query) for people who are not to see the page."""
        return f"{url}?{self._token.decode()}"

    def request(self, head: RequestHead) -> Reply | Form | None:
        """See Rule.request."""
        has_seen = self._cookies.take(head)
        is_invited = self._take_token(head)
        if head.path == PATH and head.method == b"POST":
            return Form(lambda data: self._answer(head, data))
        if not is_navigation(head):
            return None
        if is_invited:
            return redirect(safe_place(head.target), [self._cookies.make(head)])
        if has_seen:
            return None
        page = Page(
            HTTPStatus.OK,
            f"{self._sharer} shares this site",
            self._sentences,
            form=form_of(PATH.decode(), place_of(head), _BUTTON),
        )
        return page_reply(head, page)

    def _take_token(self, head: RequestHead) -> bool:
        """Whether the target has the invite links' token, which is dropped from it then."""
        path, _, query = head.target.partition(b"?")
        kept = query.split(b"&")
        if not any(hmac.compare_digest(each, self._token) for each in kept):
            return False
        kept = [each for each in kept if each != self._token]
        head.target = path + b"?" + b"&".join(kept) if kept else path
        return True

    def _answer(self, head: RequestHead, data: bytes) -> Reply:
        """To the button."""
        if is_from_elsewhere(head):
            return page_reply(head, FROM_ELSEWHERE)
        fields = form_fields(head, data)
        if fields is None:
            return page_reply(head, NO_FORM)
        to = safe_place(fields.get("to", "/").encode())
        return redirect(to, [self._cookies.make(head)])
