"""What the pages do with the tokens in a relay's own book, for who has signed in here, or at
another relay of the cluster."""

from __future__ import annotations

import logging
import time
from dataclasses import fields, replace
from typing import TypeVar

from relay.accounts.book import MAX_NOTE, AccountBook, Allowance, TokenEntry
from relay.accounts.limits import Limits, parse_size
from relay.accounts.permits import ADMIN, NAMES, PAGES, SHARE, Permit, Permits
from relay.accounts.revocations import revocations
from relay.operation.events import Event, tell
from relay.registry import MAX_SHARES
from relay.website.door import Asker
from relay.website.forms import Form
from relay.website.records import Records, tokens_of, user_of
from relay.website.token_asking import (
    FIELDS,
    ListAsked,
    Made,
    MakeAsked,
    Refused,
    listed,
    parse_asked,
    serialize,
)
from tunnel.errors import UsageError
from tunnel.relay_token import RelayToken

MAX_TOKENS = 200  # of one account that are not revoked: a page's button is easily pressed again
# Of one account in 24 hours, those that were revoked since among them: with each come new limits,
# of bytes a day too. An administrator makes any number.
MAX_A_DAY = 20
MAX_DAYS = 3_650
MAX_COUNT = 1_000_000  # of guests and streams
DAY = 86_400.0  # seconds
NOT_HERE = "Your account is not known there any more."
_MOST = {"shares": MAX_SHARES, "guests": MAX_COUNT, "streams": MAX_COUNT, "days": MAX_DAYS}
Limit = TypeVar("Limit", int, float)

log = logging.getLogger(__name__)


class NotMadeError(Exception):
    """No token was made; `text` says why, `is_wish` whether because of what was asked for."""

    def __init__(self, text: str, *, is_wish: bool = False) -> None:
        super().__init__(text)
        self.text, self.is_wish = text, is_wish


class TokenDesk:
    """`defaults` are the limits of each token that has none of its own."""

    def __init__(self, permits: Permits, records: Records, defaults: Limits) -> None:
        self._permits, self._records, self._defaults = permits, records, defaults

    async def entries(self, asker: Asker) -> list[TokenEntry]:
        """His tokens that are in this relay's book, those that are good first."""
        return self.sorted(await self._records.accounts(lambda book: tokens_of(book, asker)))

    def sorted(self, entries: list[TokenEntry]) -> list[TokenEntry]:
        """Those that are good first, otherwise as they come."""
        now = time.time()
        return sorted(entries, key=lambda each: each.state(now) != "good")

    async def as_known_here(self, entries: list[TokenEntry]) -> list[TokenEntry]:
        """What another relay says, with what was revoked here and is not known there yet."""
        void = await self._records.accounts(lambda book: dict(revocations(book.database)))
        return [
            replace(each, revoked_at=each.revoked_at or void[each.id]) if each.id in void else each
            for each in entries
        ]

    def known_entries(self, asker: Asker) -> list[TokenEntry]:
        """What is known of his tokens without asking anybody: those that are good."""
        now = time.time()
        permits = [self._permits.get(each, now) for each in self._permits.tokens_of(asker.account)]
        return [
            TokenEntry(
                each.token, "", " ".join(sorted(each.scopes)), each.limits, "", 0.0,
                each.expires_at, None,
            )
            for each in permits
            if each is not None
        ]  # fmt: skip

    async def make(self, asker: Asker, form: Form) -> RelayToken:
        """A new one, as the form says. Raises NotMadeError, VshareError."""
        try:
            wanted = wanted_by(form, asker.permit, self._defaults, time.time())
        except UsageError as error:
            raise NotMadeError(f"{error.text}; {error.hint}", is_wish=True) from error
        if len(self._permits.tokens_of(asker.account)) >= MAX_TOKENS:
            raise NotMadeError(f"There are {MAX_TOKENS} tokens already: revoke some of them.")

        def create(book: AccountBook) -> RelayToken:
            user, now = user_of(book, asker.account), time.time()
            if user is None:
                raise NotMadeError(NOT_HERE)
            if not asker.is_admin:
                new = [each for each in tokens_of(book, asker) if each.created_at > now - DAY]
                if len(new) >= MAX_A_DAY:
                    raise NotMadeError(
                        f"{MAX_A_DAY} tokens were made in 24 hours: make another tomorrow."
                    )
            return book.create_token(user, wanted, now)

        made = await self._records.accounts(create)
        _note(Event.TOKEN_MADE, "made", made.id, asker)
        return made

    async def revoke(self, asker: Asker, token: str) -> bool:
        """Whether it is his: then it is void, at all relays; one that another relay has made, also
        if that is away."""
        found = self._permits.get(token, time.time())
        is_known = found is not None and (asker.is_admin or found.account == asker.account)

        def revoke(book: AccountBook) -> bool:
            if any(each.id == token for each in tokens_of(book, asker)):
                book.revoke_token(token, time.time())
            elif is_known:
                book.revoke_everywhere(token, time.time())
            else:
                return False
            return True

        done = await self._records.accounts(revoke)
        if done:
            _note(Event.TOKEN_REVOKED, "revoked", token, asker)
        return done

    async def answer(self, question: bytes) -> bytes:
        """What another relay of the cluster is told that asks. Raises VshareError."""
        asked = parse_asked(question)
        permit = self._permits.get(asked.token, time.time())
        if permit is None or not permit.scopes & {PAGES, ADMIN}:
            return serialize(Refused("That token is not good there.", is_wish=False))
        asker = Asker(permit)
        match asked:
            case ListAsked():
                return serialize(listed(await self.entries(asker)))
            case MakeAsked():
                form = {name: asked.form[name] for name in FIELDS if name in asked.form}
                try:
                    return serialize(Made((await self.make(asker, form)).text))
                except NotMadeError as error:
                    return serialize(Refused(error.text, is_wish=error.is_wish))


def _note(event: Event, done: str, token: str, asker: Asker) -> None:
    by = asker.permit.token
    text = f"the token {token} was {done} from the pages, with the token {by}"
    tell(log, logging.INFO, event, text, token=token, by=by)


def wanted_by(form: Form, own: Permit, defaults: Limits, now: float) -> Allowance:
    """What the form asks for, and no more than who asks has himself. Raises UsageError."""
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
    if ADMIN not in own.scopes:
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
