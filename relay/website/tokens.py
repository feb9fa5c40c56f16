"""The pages about tokens: whose there are, a new one, the end of one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.accounts.book import MAX_NOTE, AccountBook, Allowance, TokenEntry, account_book
from relay.accounts.permits import Permits
from relay.registry import MAX_SHARES
from relay.website.door import Door, Viewer
from relay.website.forms import Form
from relay.website.paging import page_of
from tunnel.errors import VshareError
from tunnel.relay_token import RelayToken

PER_PAGE = 50  # tokens
MAX_TOKENS = 200  # of one account that are not revoked: a page's button is easily pressed again
MAX_DAYS = 3_650
DAY = 86_400.0  # seconds
AT_ONCE = 2  # of the threads that wait for a disk, all that the pages may take
T = TypeVar("T")


class TokenPages:
    """The accounts are in the state directory `folder`; who changes them there is not noticed here,
    but as always by whoever watches them (relay/accounts/watch.py)."""

    def __init__(self, door: Door, permits: Permits, folder: Path) -> None:
        self._door, self._permits, self._folder = door, permits, folder
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.routes = [
            Route("/tokens", door.looking(self._list, "tokens"), methods=["GET"]),
            Route("/tokens", door.acting(self._create), methods=["POST"]),
            Route("/tokens/{id}/revoke", door.acting(self._revoke), methods=["POST"]),
        ]

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        now = time.time()
        entries = await self._in_book(lambda book: _tokens_of(book, viewer))
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
            limits=viewer.permit,
        )

    async def _create(self, request: Request, viewer: Viewer, form: Form) -> Response:
        wanted = _wanted(form, viewer, time.time())
        if isinstance(wanted, str):
            return self._door.refuse(viewer, HTTPStatus.BAD_REQUEST, "No token was made", wanted)
        if len(self._permits.tokens_of(viewer.account)) >= MAX_TOKENS:
            text = f"There are {MAX_TOKENS} tokens already: revoke some of them."
            return self._door.refuse(viewer, HTTPStatus.CONFLICT, "No token was made", text)

        def create(book: AccountBook) -> RelayToken | None:
            user = _user_of(book, viewer)
            return book.create_token(user, wanted, time.time()) if user is not None else None

        try:
            made = await self._in_book(create)
        except VshareError as error:
            text = f"{error.text}; {error.hint}"
            return self._door.refuse(viewer, HTTPStatus.BAD_REQUEST, "No token was made", text)
        if made is None:
            return self._door.not_found(viewer)
        viewer.session.fresh["token"] = made.text
        return self._door.done(viewer, f"The token {made.id} was made.", "tokens")

    async def _revoke(self, request: Request, viewer: Viewer, form: Form) -> Response:
        token = request.path_params["id"]

        def revoke(book: AccountBook) -> bool:
            """Whether it is his."""
            if all(each.id != token for each in _tokens_of(book, viewer)):
                return False
            book.revoke_token(token, time.time())
            return True

        if not await self._in_book(revoke):
            return self._door.not_found(viewer)
        return self._door.done(viewer, f"The token {token} was revoked: its shares end.", "tokens")

    async def _in_book(self, act: Callable[[AccountBook], T]) -> T:
        """What `act` gives, in a thread: no disk is waited for here. Raises VshareError."""

        def work() -> T:
            with account_book(self._folder) as book:
                return act(book)

        async with self._turns:
            return await asyncio.to_thread(work)


def _user_of(book: AccountBook, viewer: Viewer) -> str | None:
    """What his account is called."""
    return next((each.name for each in book.users() if each.id == viewer.account), None)


def _tokens_of(book: AccountBook, viewer: Viewer) -> list[TokenEntry]:
    """His, the newest first; an administrator's are everybody's."""
    entries = list(reversed(book.tokens()))
    if viewer.is_admin:
        return entries
    user = _user_of(book, viewer)
    return [each for each in entries if each.user == user]


def _wanted(form: Form, viewer: Viewer, now: float) -> Allowance | str:
    """What the form asks for, no more than who asks has himself; or what is wrong with it."""
    own = viewer.permit
    note = form.get("note", "").strip()
    if len(note) > MAX_NOTE or not note.isprintable():
        return f"A label is one line of up to {MAX_NOTE} characters."
    shares = _number(form.get("shares", ""), MAX_SHARES)
    days = _number(form.get("days", ""), MAX_DAYS)
    if shares == 0 or days == 0:
        return (
            f"Write a number (shares: up to {MAX_SHARES:,}, days: up to {MAX_DAYS:,}), or nothing."
        )
    expires_at = None if days is None else now + days * DAY
    if not viewer.is_admin:
        shares, expires_at = _lesser(shares, own.limits.shares), _lesser(expires_at, own.expires_at)
    return Allowance(shares=shares, expires_at=expires_at, note=note)


def _number(text: str, most: int) -> int | None:
    """From 1 to `most`; None: nothing is said; 0: something else."""
    text = text.strip()
    if not text:
        return None
    is_number = text.isascii() and text.isdigit() and len(text) < 9
    return int(text) if is_number and int(text) <= most else 0


Limit = TypeVar("Limit", int, float)


def _lesser(one: Limit | None, other: Limit | None) -> Limit | None:
    """None: no limit."""
    return min((each for each in (one, other) if each is not None), default=None)
