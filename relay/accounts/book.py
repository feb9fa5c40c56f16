"""Users and tokens, as `vrelay user` and `vrelay token` make, list and end them."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from relay.accounts.database import open_accounts
from relay.accounts.permits import SHARE
from tunnel.errors import UsageError, VshareError
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, RelayToken, make_token

MAX_NAME = 64  # characters
MAX_NOTE = 200  # characters
MAX_ID = 12  # characters of what is no ID: it may be half a token
_USERS = (
    "SELECT id, name, created_at, (SELECT count(*) FROM tokens"
    " WHERE user_id = users.id AND revoked_at IS NULL) FROM users"
)
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@+-]{{0,{MAX_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with tokens. Times are seconds since the epoch."""

    id: int
    name: str
    created_at: float
    tokens: int  # that are not revoked


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """What is known of a token; the token itself is not. None: no limit, not ever."""

    id: str
    user: str
    scopes: str
    shares: int | None
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
    """What a new token is for. `shares` at once; None: no limit, not ever."""

    scope: str = SHARE
    shares: int | None = None
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
        return [User(*row) for row in self._db.execute(f"{_USERS} ORDER BY name")]

    def remove_user(self, name: str) -> int:
        """The user is gone, with its tokens, whose shares end; how many were not revoked before."""
        user = self._user(name)
        self._db.execute("DELETE FROM users WHERE id = ?", (user.id,))
        return user.tokens

    def create_token(self, user: str, allowance: Allowance, now: float) -> RelayToken:
        """A new token of `user`; nobody will be able to tell it again."""
        if len(allowance.note) > MAX_NOTE or not allowance.note.isprintable():
            raise UsageError(
                "that note cannot be kept", f"write one line of up to {MAX_NOTE} characters"
            )
        owner = self._user(user)
        token = make_token(secrets.token_bytes(ID_SIZE), secrets.token_bytes(SECRET_SIZE))
        self._db.execute(
            "INSERT INTO tokens (id, user_id, hash, scopes, shares, note, created_at, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                token.id,
                owner.id,
                token.hash,
                allowance.scope,
                allowance.shares,
                allowance.note,
                now,
                allowance.expires_at,
            ),
        )
        return token

    def tokens(self) -> list[TokenEntry]:
        """All of them, the oldest first."""
        rows = self._db.execute(
            "SELECT tokens.id, users.name, scopes, shares, note, tokens.created_at, expires_at,"
            " revoked_at FROM tokens JOIN users ON users.id = user_id"
            " ORDER BY tokens.created_at, tokens.id"
        )
        return [TokenEntry(*row) for row in rows]

    def revoke_token(self, token: str, now: float) -> bool:
        """The token is good for nothing from now on, and its shares end; False: it was so."""
        changed = self._db.execute(
            "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, token)
        )
        if changed.rowcount:
            return True
        if self._db.execute("SELECT 1 FROM tokens WHERE id = ?", (token,)).fetchone() is None:
            raise VshareError(
                f"there is no token {token[:MAX_ID]!r}",
                "`vrelay token list` shows their IDs: the 8 characters behind vsr_",
            )
        return False

    def _user(self, name: str) -> User:
        row = self._db.execute(f"{_USERS} WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise VshareError(
                f"there is no user {name[:MAX_NAME]!r}", "`vrelay user create NAME` makes one"
            )
        return User(*row)


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
