"""The guest page's door: a name and the visitors' passcode, then a session.

The passcode opens this page, and what the sharer lets visitors have there. It is not the code that
guests join with: it makes no certificate, opens no port, and must not look like one, since where
the relay ends TLS it sees what is typed.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Sequence
from http import HTTPStatus

from tunnel.http_heads import RequestHead
from tunnel.http_pages import Page
from vshare.guest_page.origins import is_own_origin
from vshare.guest_page.sessions import Sessions
from vshare.guest_page.visitors import NAMELESS
from vshare.guests import clean_name
from vshare.web.access import RequestRule
from vshare.web.pages import FROM_ELSEWHERE, FULL, NO_FORM, TOO_MANY, page_reply, redirect
from vshare.web.passcode import MAX_SIZE, is_like_join_code
from vshare.web.rules import Form, Reply
from vshare.web.tries import TooManyTriesError, Tries
from vshare.web.visit import HOME, OURS, form_fields, is_navigation, source_of_visit

PATH = OURS + b"join"
MAX_NAME = 24  # characters of a visitor's name
_PUNCTUATION = " ._-"
_FIELDS = f"""<form method="post" action="{PATH.decode()}">
<label>Your name, for the others here <input name="name" maxlength="{MAX_NAME}"
 autocomplete="nickname"></label>
<label>Passcode <input name="passcode" type="password" required autofocus maxlength="{MAX_SIZE}"
 autocomplete="off" autocapitalize="none" spellcheck="false"></label>
<button>Come in</button></form>"""
_WRONG = "That was not the passcode."
_LOOKS_LIKE_A_CODE = (
    "That looks like the code that guests join with. It opens the whole machine, and this page is"
    " not for it: tell who shares the machine, who can change it with vshare code --rotate."
)


class Door(RequestRule):
    """Lets in who has the passcode; all others see the form. `about` is said above it, given the
    request."""

    def __init__(
        self,
        passcode: str,
        sessions: Sessions,
        tries: Tries,
        about: Callable[[RequestHead], Sequence[str]],
    ) -> None:
        self._expected = _digest(passcode)
        self._sessions, self._tries, self._about = sessions, tries, about

    def change(self, passcode: str) -> None:
        """It is this one from now on; who is in stays."""
        self._expected = _digest(passcode)

    def request(self, head: RequestHead) -> Reply | Form | None:
        """See Rule.request."""
        if head.path == PATH and head.method == b"POST":
            return Form(lambda data: self._answer(head, data))
        if self._sessions.find(head) is None:
            return self._ask(head)
        return redirect(HOME, []) if head.path == PATH else None

    def _answer(self, head: RequestHead, data: bytes) -> Reply:
        """To the form."""
        if not is_own_origin(head):
            return page_reply(head, FROM_ELSEWHERE)
        fields = form_fields(head, data)
        if fields is None or "passcode" not in fields:
            return page_reply(head, NO_FORM)
        given = fields["passcode"]
        right = hmac.compare_digest(_digest(given), self._expected)
        try:
            right = self._tries.count(source_of_visit(head), right=right)
        except TooManyTriesError:
            return page_reply(head, TOO_MANY)
        if not right:
            like_code = is_like_join_code(given)
            return self._ask(
                head, _LOOKS_LIKE_A_CODE if like_code else "That was not the passcode."
            )
        begun = self._sessions.begin(head, visitors_name(fields.get("name", "")))
        if begun is None:
            return page_reply(head, FULL)
        return redirect(HOME, [begun[1]])

    def _ask(self, head: RequestHead, error: str = "") -> Reply:
        page = Page(
            HTTPStatus.FORBIDDEN,
            "This page asks for a passcode",
            [*([error] if error else []), *self._about(head)],
            form=_FIELDS,
        )
        # Who follows a link in a chat comes without the cookie (SameSite=Strict), though it may
        # be in: the page asks for itself again, which is a request of its own.
        from_elsewhere = head.values(b"sec-fetch-site") == [b"cross-site"]
        again = [(b"Refresh", b"0")] if from_elsewhere and is_navigation(head) else []
        return page_reply(head, page, again)


def visitors_name(wanted: str) -> str:
    """`wanted` without what means something to terminals, shells and pages."""
    return clean_name(wanted, _PUNCTUATION)[:MAX_NAME].strip() or NAMELESS


def _digest(text: str) -> bytes:
    """What is compared: as long for all; what a keyboard adds or composes makes no difference."""
    return hashlib.sha256(unicodedata.normalize("NFC", text.strip()).encode()).digest()
