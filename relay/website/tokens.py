"""The pages about tokens: whose there are, a new one, the end of one."""

from __future__ import annotations

import logging
import time
from dataclasses import fields
from http import HTTPStatus
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.accounts.book import MAX_NOTE, AccountBook, Allowance
from relay.accounts.limits import Limits, parse_size
from relay.accounts.permits import NAMES, PAGES, SHARE, Permits
from relay.operation.events import Event, tell
from relay.registry import MAX_SHARES
from relay.website.door import Door, Viewer
from relay.website.forms import Form
from relay.website.paging import page_of
from relay.website.records import Records, tokens_of, user_of
from tunnel.errors import UsageError
from tunnel.relay_token import RelayToken

log = logging.getLogger(__name__)

PER_PAGE = 50  # tokens
MAX_TOKENS = 200  # of one account that are not revoked: a page's button is easily pressed again
# Of one account in 24 hours, those that were revoked since among them: with each come new limits,
# of bytes a day too. An administrator makes any number.
MAX_A_DAY = 20
MAX_DAYS = 3_650
MAX_COUNT = 1_000_000  # of guests and streams
DAY = 86_400.0  # seconds
NOT_MADE = "No token was made"
_MOST = {"shares": MAX_SHARES, "guests": MAX_COUNT, "streams": MAX_COUNT, "days": MAX_DAYS}
Limit = TypeVar("Limit", int, float)


class _TooManyError(Exception):
    """More new tokens in a day than anybody needs."""


class TokenPages:
    """`defaults` are the limits of each token that has none of its own."""

    def __init__(self, door: Door, permits: Permits, records: Records, defaults: Limits) -> None:
        self._door, self._permits, self._records = door, permits, records
        self._defaults = defaults
        self.routes = [
            Route("/tokens", door.looking(self._list, "tokens"), methods=["GET"]),
            Route("/tokens", door.acting(self._create), methods=["POST"]),
            Route("/tokens/{id}/revoke", door.acting(self._revoke), methods=["POST"]),
        ]

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        now = time.time()
        entries = await self._records.accounts(lambda book: tokens_of(book, viewer))
        alive = [each for each in entries if each.state(now) == "good"]
        rest = [each for each in entries if each.state(now) != "good"]
        part = page_of([*alive, *rest], request.query_params.get("page", ""), PER_PAGE)
        made = viewer.session.fresh.pop("token", "")
        return self._door.show(
            request,
            viewer,
            "tokens.html",
            at="/tokens",
            page=part,
            now=now,
            made=made,
            own=viewer.permit.limits.or_else(self._defaults),
        )

    async def _create(self, request: Request, viewer: Viewer, form: Form) -> Response:
        try:
            wanted = wanted_by(form, viewer, self._defaults, time.time())
        except UsageError as error:
            text = f"{error.text}; {error.hint}"
            return self._door.refuse(viewer, HTTPStatus.BAD_REQUEST, NOT_MADE, text)
        if len(self._permits.tokens_of(viewer.account)) >= MAX_TOKENS:
            text = f"There are {MAX_TOKENS} tokens already: revoke some of them."
            return self._door.refuse(viewer, HTTPStatus.CONFLICT, NOT_MADE, text)

        def create(book: AccountBook) -> RelayToken | None:
            user, now = user_of(book, viewer), time.time()
            if user is None:
                return None
            if not viewer.is_admin:
                new = [each for each in tokens_of(book, viewer) if each.created_at > now - DAY]
                if len(new) >= MAX_A_DAY:
                    raise _TooManyError
            return book.create_token(user, wanted, now)

        try:
            made = await self._records.accounts(create)
        except _TooManyError:
            text = f"{MAX_A_DAY} tokens were made in 24 hours: make another tomorrow."
            return self._door.refuse(viewer, HTTPStatus.CONFLICT, NOT_MADE, text)
        if made is None:
            return self._door.not_found(viewer)
        _note(Event.TOKEN_MADE, "made", made.id, viewer)
        viewer.session.fresh["token"] = made.text
        return self._door.done(viewer, f"The token {made.id} was made.", "tokens")

    async def _revoke(self, request: Request, viewer: Viewer, form: Form) -> Response:
        token = request.path_params["id"]

        def revoke(book: AccountBook) -> bool:
            """Whether it is his."""
            if all(each.id != token for each in tokens_of(book, viewer)):
                return False
            book.revoke_token(token, time.time())
            return True

        if not await self._records.accounts(revoke):
            return self._door.not_found(viewer)
        _note(Event.TOKEN_REVOKED, "revoked", token, viewer)
        return self._door.done(viewer, f"The token {token} was revoked: its shares end.", "tokens")


def _note(event: Event, done: str, token: str, viewer: Viewer) -> None:
    by = viewer.permit.token
    text = f"the token {token} was {done} from the pages, with the token {by}"
    tell(log, logging.INFO, event, text, token=token, by=by)


def wanted_by(form: Form, viewer: Viewer, defaults: Limits, now: float) -> Allowance:
    """What the form asks for, and no more than who asks has himself. Raises UsageError."""
    own = viewer.permit
    note = form.get("note", "").strip()
    if len(note) > MAX_NOTE or not note.isprintable():
        raise UsageError("that is no label", f"write one line of up to {MAX_NOTE} characters")
    wanted = Limits(
        _count(form, "shares"),
        _count(form, "guests"),
        _count(form, "streams"),
        _size(form, "bytes_per_day"),
        _size(form, "bandwidth"),
    )
    days = _count(form, "days")
    expires_at = None if days is None else now + days * DAY
    scopes = [SHARE, PAGES] if form.get("pages") else [SHARE]
    if not viewer.is_admin:
        scopes += sorted(scope for scope in own.scopes if scope.startswith(NAMES))
        wanted = _within(wanted, own.limits, defaults)
        expires_at = _lesser(expires_at, own.expires_at)
    return Allowance(" ".join(scopes), wanted, expires_at, note)


def _within(wanted: Limits, own: Limits, defaults: Limits) -> Limits:
    """Of each limit the lesser; what nothing is said of is as it is for who asks."""
    most = own.or_else(defaults)
    return Limits(
        **{
            field.name: (
                getattr(own, field.name)
                if (asked := getattr(wanted, field.name)) is None
                else _lesser(asked, getattr(most, field.name) or None)
            )
            for field in fields(Limits)
        }
    )


def _count(form: Form, name: str) -> int | None:
    """A number from 1; None: nothing is said. Raises UsageError."""
    text, most = form.get(name, "").strip(), _MOST[name]
    if not text:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) < 9
    if not is_number or not 0 < int(text) <= most:
        raise UsageError(f"not a number of {name}: {text[:20]!r}", f"write 1 to {most:,}")
    return int(text)


def _size(form: Form, name: str) -> int | None:
    text = form.get(name, "").strip()
    return parse_size(text) if text else None


def _lesser(one: Limit | None, other: Limit | None) -> Limit | None:
    """None: no limit."""
    return min((each for each in (one, other) if each is not None), default=None)
