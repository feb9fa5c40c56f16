"""A passcode for visitors: asked for on a small page, remembered by a signed cookie.

It opens the sites and nothing else. It is never the code that guests join with, which opens the
whole machine and must not be typed where the relay can read it.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus

from tunnel.errors import UsageError
from tunnel.http_heads import RequestHead
from tunnel.http_pages import Media, Page
from tunnel.names import parse_code
from vshare.web.access import RequestRule
from vshare.web.cookies import Cookies
from vshare.web.pages import (
    FROM_ELSEWHERE,
    FULL,
    NO_FORM,
    TOO_MANY,
    form_of,
    page_reply,
    redirect,
)
from vshare.web.rules import Form, Reply
from vshare.web.tickets import PARAMETER, Tickets
from vshare.web.tries import TooManyTriesError, Tries
from vshare.web.visit import (
    HOME,
    OURS,
    form_fields,
    host_of,
    is_from_elsewhere,
    media_of,
    place_of,
    safe_place,
    source_of_visit,
)

PATH = OURS + b"passcode"
HEADER = b"x-vshare-passcode"
COOKIE = b"vshare"
MADE_OF = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is taken for another
MADE_SIZE = 8  # characters: 39 bits
MIN_SIZE, MAX_SIZE = 8, 64  # characters of one that was chosen
_FIELD = (
    '<label>Passcode <input name="passcode" type="password" required autofocus'
    f' maxlength="{MAX_SIZE}" autocomplete="off" autocapitalize="none" spellcheck="false">'
    "</label> <button>Open the site</button>"
)


def make_passcode(below: Callable[[int], int]) -> str:
    """A fresh one such as `k7mq-2xdp`; no join code looks like it. `below`: see names.Below."""
    characters = [MADE_OF[below(len(MADE_OF))] for _ in range(MADE_SIZE)]
    half = MADE_SIZE // 2
    return "".join((*characters[:half], "-", *characters[half:]))


def check_passcode(text: str) -> str:
    """`text`, if it can be a passcode. Raises UsageError, which does not repeat it."""
    if not MIN_SIZE <= len(text) <= MAX_SIZE or not text.isprintable():
        raise UsageError(
            f"a passcode has {MIN_SIZE} to {MAX_SIZE} printable characters",
            "leave the file out and share with --http-passcode: then one is made",
        )
    if is_like_join_code(text):
        raise UsageError(
            "this passcode looks like a join code, and the relay sees what visitors type",
            "choose another, or share with --http-passcode: then one is made",
        )
    return text


def is_like_join_code(text: str) -> bool:
    """Whether it could be what opens the whole machine."""
    try:
        parse_code(text)
    except UsageError:
        return False
    return True


class Passcode(RequestRule):
    """Lets in who has the passcode: by a form, then by cookie; programs by a field of the head.

    `cookies` have a key that belongs to this passcode, unless `came` is given. `about` is said
    above the form. `tickets` let in who was let in elsewhere. `came` enters who gave the passcode
    here, for `tickets.still_in`, and gives its number; None: there is no room.
    """

    def __init__(
        self,
        passcode: str,
        cookies: Cookies,
        tries: Tries,
        about: Sequence[str] = (),
        tickets: Tickets | None = None,
        came: Callable[[RequestHead], str | None] = lambda head: "",
    ) -> None:
        self._tickets, self._came = tickets, came
        self._expected = _digest(passcode)
        self._cookies, self._tries, self._about = cookies, tries, about

    def change(self, passcode: str) -> None:
        """It is this one from now on. Cookies that were given are as good as before."""
        self._expected = _digest(passcode)

    def owner_of(self, head: RequestHead) -> str | None:
        """Who asks, by its cookie, which is left where it is; see Cookies.take_owner."""
        return self._cookies.take_owner(replace(head, fields=list(head.fields)))

    def request(self, head: RequestHead) -> Reply | Form | None:
        """See Rule.request."""
        is_in = self._is_in(head)
        given = head.values(HEADER)
        head.drop(HEADER)
        if head.path == PATH and head.method == b"POST":
            return Form(lambda data: self._answer(head, data))
        owner = self._ticket_of(head)
        if owner is not None:
            return redirect(HOME, [self._cookies.make(head, owner)])
        if is_in:
            return redirect(HOME, []) if head.path == PATH else None
        if not given:
            return self._ask(head, place_of(head))
        try:
            if self._is_right(head, given[0].decode("utf-8", "replace")):
                return None
        except TooManyTriesError:
            return page_reply(head, TOO_MANY)
        return self._ask(head, place_of(head), "That was not the passcode.")

    def _is_in(self, head: RequestHead) -> bool:
        """Whether it has a cookie that is good, of nobody who was put out since."""
        owner = self._cookies.take_owner(head)
        if not owner or self._tickets is None:
            return owner is not None
        return self._tickets.still_in(owner, host_of(head))

    def _ticket_of(self, head: RequestHead) -> str | None:
        """Whose ticket it comes with, if that is good."""
        query = head.target.partition(b"?")[2]
        if self._tickets is None or head.path != PATH or not query.startswith(PARAMETER + b"="):
            return None
        return self._tickets.maybe_redeem(query[len(PARAMETER) + 1 :], host_of(head))

    def _answer(self, head: RequestHead, data: bytes) -> Reply:
        """To the form."""
        if is_from_elsewhere(head):
            return page_reply(head, FROM_ELSEWHERE)
        fields = form_fields(head, data)
        if fields is None or "passcode" not in fields:
            return page_reply(head, NO_FORM)
        to = safe_place(fields.get("to", "/").encode())
        try:
            is_right = self._is_right(head, fields["passcode"])
        except TooManyTriesError:
            return page_reply(head, TOO_MANY)
        if is_right:
            owner = self._came(head)
            if owner is None:
                return page_reply(head, FULL)
            return redirect(to, [self._cookies.make(head, owner)])
        if is_like_join_code(fields["passcode"]):
            return self._ask(
                head,
                to,
                "That looks like the code that guests join with. It opens the whole machine, and"
                " this page is not for it: tell who shares the site, who can change it with"
                " vshare code --rotate.",
            )
        return self._ask(head, to, "That was not the passcode.")

    def _is_right(self, head: RequestHead, text: str) -> bool:
        """Whether it is; counted as a try. Raises TooManyTriesError."""
        right = hmac.compare_digest(_digest(text), self._expected)
        return self._tries.count(source_of_visit(head), right=right)

    def _ask(self, head: RequestHead, to: bytes, error: str = "") -> Reply:
        page = Page(
            HTTPStatus.FORBIDDEN,
            "This site asks for a passcode",
            [*([error] if error else self._about),
             "Who shares the site can tell you." if media_of(head) is Media.HTML
             else "Send it as X-Vshare-Passcode. Who shares the site can tell you."],
            form=form_of(PATH.decode(), to, _FIELD),
        )  # fmt: skip
        return page_reply(head, page)


def _digest(text: str) -> bytes:
    """What is compared: as long for all; what a keyboard adds or composes makes no difference."""
    return hashlib.sha256(unicodedata.normalize("NFC", text.strip()).encode()).digest()
