"""Users and tokens, as `vrelay user` and `vrelay token` make, list and end them."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.accounts.database import open_accounts
from relay.accounts.limits import FIELDS, UNLIMITED, Limits
from relay.accounts.permits import NAMES, SCOPES, SHARE
from relay.accounts.revocations import Revocation, keep_revocations, revocations
from tunnel.errors import UsageError, VshareError
from tunnel.relay_token import ID_FORM, ID_SIZE, SECRET_SIZE, RelayToken, make_token

MAX_NAME = 64  # characters
MAX_NOTE = 200  # characters
MAX_ID = 12  # characters of what is no ID: it may be half a token
_LIMITS = ", ".join(FIELDS)
_SET_LIMITS = ", ".join(f"{field} = ?" for field in FIELDS)
_USERS = (
    "SELECT id, name, created_at, (SELECT count(*) FROM tokens"
    f" WHERE user_id = users.id AND revoked_at IS NULL), {_LIMITS} FROM users"
)
_TOKENS = (
    "SELECT tokens.id, users.name, scopes, note, tokens.created_at, expires_at, revoked_at, "
    + ", ".join(f"tokens.{field}" for field in FIELDS)
    + " FROM tokens JOIN users ON users.id = user_id"
)
_ORDER = "tokens.created_at, tokens.id"
_BEGINNING = re.compile(r"[a-z0-9][a-z0-9-]{0,38}")
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@+-]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with tokens. Times are seconds since the epoch."""

    id: int
    name: str
    created_at: float
    tokens: int  # that are not revoked
    limits: Limits  # of all of them together


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """What is known of a token; the token itself is not. None: not ever."""

    id: str
    user: str
    scopes: str
    limits: Limits
    note: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def state(self, now: float) -> str:
        """What it is good for, in a word."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "good"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a new token is for: words with spaces between them. None: not ever."""

    scope: str = SHARE
    limits: Limits = UNLIMITED
    expires_at: float | None = None
    note: str = ""


class AccountBook:
    """The accounts of one relay, whether it runs or not. All raise VshareError."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def create_user(self, name: str, now: float) -> None:
        """A user without tokens."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"not a user's name: {name[:MAX_NAME]!r}",
                f"write up to {MAX_NAME} letters, digits and . _ @ + -",
            )
        try:
            self._db.execute("INSERT INTO users (name, created_at) VALUES (?, ?)", (name, now))
        except sqlite3.IntegrityError:
            raise VshareError(
                f"there is a user {name!r} already", "`vrelay user list` shows them"
            ) from None

    def users(self) -> list[User]:
        """All of them, by their names."""
        return [_user(row) for row in self._db.execute(f"{_USERS} ORDER BY name")]

    def limit_user(self, name: str, change: Callable[[Limits], Limits]) -> Limits:
        """Give all tokens of a user together other limits: a running relay has them at once."""
        user = self._user(name)
        limits = change(user.limits)
        self._db.execute(
            f"UPDATE users SET {_SET_LIMITS} WHERE id = ?", (*limits.values(), user.id)
        )
        return limits

    def remove_user(self, name: str, now: float) -> int:
        """The user is gone, with its tokens, whose shares end; how many were not revoked before."""
        user = self._user(name)
        found = self._db.execute("SELECT id FROM tokens WHERE user_id = ?", (user.id,)).fetchall()
        keep_revocations(self._db, [(token, now) for (token,) in found], now)
        self._db.execute("DELETE FROM users WHERE id = ?", (user.id,))
        return user.tokens

    def create_token(self, user: str, allowance: Allowance, now: float) -> RelayToken:
        """A new token of `user`; nobody will be able to tell it again."""
        if len(allowance.note) > MAX_NOTE or not allowance.note.isprintable():
            raise UsageError(
                "that note cannot be kept", f"write one line of up to {MAX_NOTE} characters"
            )
        check_scopes(allowance.scope)
        owner = self._user(user)
        token = make_token(secrets.token_bytes(ID_SIZE), secrets.token_bytes(SECRET_SIZE))
        self._db.execute(
            "INSERT INTO tokens"
            f" (id, user_id, hash, scopes, note, created_at, expires_at, {_LIMITS})"
            f" VALUES (?, ?, ?, ?, ?, ?, ?{', ?' * len(FIELDS)})",
            (
                token.id,
                owner.id,
                token.hash,
                allowance.scope,
                allowance.note,
                now,
                allowance.expires_at,
                *allowance.limits.values(),
            ),
        )
        return token

    def tokens(self) -> list[TokenEntry]:
        """All of them, the oldest first."""
        return [_entry(row) for row in self._db.execute(f"{_TOKENS} ORDER BY {_ORDER}")]

    def token(self, token: str) -> TokenEntry:
        """The token with that ID."""
        row = self._db.execute(f"{_TOKENS} WHERE tokens.id = ?", (token,)).fetchone()
        if row is None:
            raise _no_token(token)
        return _entry(row)

    def change_token(
        self, token: str, change: Callable[[Limits], Limits], scope: str = ""
    ) -> TokenEntry:
        """Give it other limits, and another `scope` where one is given: a running relay has them
        at once."""
        before = self.token(token)
        if scope:
            check_scopes(scope)
        limits = change(before.limits)
        self._db.execute(
            f"UPDATE tokens SET scopes = ?, {_SET_LIMITS} WHERE id = ?",
            (scope or before.scopes, *limits.values(), token),
        )
        return self.token(token)

    def used(self, day: int) -> dict[str, int]:
        """The bytes of that day (counted from the epoch), by holder (relay/accounts/quotas.py)."""
        return dict(self._db.execute("SELECT holder, bytes FROM usage WHERE day = ?", (day,)))

    def revoke_token(self, token: str, now: float) -> bool:
        """The token is good for nothing from now on, and its shares end; False: it was so."""
        found = self._db.execute("SELECT revoked_at FROM tokens WHERE id = ?", (token,)).fetchone()
        if found is None:
            raise VshareError(
                f"there is no token {token[:MAX_ID]!r} at this relay",
                "`vrelay token list` shows its IDs; if another relay of the cluster made it,"
                " add --everywhere",
            )
        if found[0] is not None:
            return False
        keep_revocations(self._db, [(token, now)], now)
        return True

    def revoke_everywhere(self, token: str, now: float) -> bool:
        """The same for a token of any relay of the cluster; False: it is known to be revoked."""
        if not ID_FORM.fullmatch(token):
            raise UsageError(
                f"not a token's ID: {token[:MAX_ID]!r}", "it is the 8 characters behind vsr_"
            )
        was = token in dict(revocations(self._db))
        keep_revocations(self._db, [(token, now)], now)
        return not was

    def revoked_elsewhere(self) -> list[Revocation]:
        """Revocations of tokens that are not of this relay, or were of a user who is gone."""
        own = {token for (token,) in self._db.execute("SELECT id FROM tokens")}
        return [each for each in revocations(self._db) if each[0] not in own]

    @property
    def database(self) -> sqlite3.Connection:
        """Where all is kept."""
        return self._db

    def user_id(self, name: str) -> int:
        """The number of that user."""
        return self._user(name).id

    def _user(self, name: str) -> User:
        row = self._db.execute(f"{_USERS} WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise VshareError(
                f"there is no user {name[:MAX_NAME]!r}", "`vrelay user create NAME` makes one"
            )
        return _user(row)


def check_scopes(text: str) -> None:
    """Raise UsageError unless these are scopes."""
    for word in text.split():
        begin = word.removeprefix(NAMES)
        if word not in SCOPES and (begin == word or not _BEGINNING.fullmatch(begin)):
            raise UsageError(
                f"not a scope: {word[:MAX_NAME]!r}",
                f"there are {', '.join(SCOPES)}, and {NAMES}BEGINNING (of names: a-z, 0-9, -)",
            )
    words = text.split()
    if any(word.startswith(NAMES) for word in words) and SHARE not in words:
        raise UsageError(f"{NAMES} is about the scope {SHARE}", f"add --scope {SHARE}")
    if not words:
        raise UsageError("a token without a scope is for nothing", f"there is {SHARE}, to share")


def _user(row: tuple[int, str, float, int, *tuple[int | None, ...]]) -> User:
    id_, name, created_at, tokens, *limits = row
    return User(id_, name, created_at, tokens, Limits(*limits))


def _entry(
    row: tuple[str, str, str, str, float, float | None, float | None, *tuple[int | None, ...]],
) -> TokenEntry:
    id_, user, scopes, note, created_at, expires_at, revoked_at, *limits = row
    return TokenEntry(id_, user, scopes, Limits(*limits), note, created_at, expires_at, revoked_at)


def _no_token(token: str) -> VshareError:
    return VshareError(
        f"there is no token {token[:MAX_ID]!r}",
        "`vrelay token list` shows their IDs: the 8 characters behind vsr_",
    )


@contextmanager
def account_book(folder: Path) -> Iterator[AccountBook]:
    """The accounts in the state directory `folder`. Raises VshareError, also for what SQLite
    cannot do inside."""
    database = open_accounts(folder)
    try:
        yield AccountBook(database)
    except sqlite3.Error as error:
        raise VshareError(
            f"the accounts in {folder} cannot be changed: {error}", "see whether its disk is full"
        ) from error
    finally:
        database.close()
