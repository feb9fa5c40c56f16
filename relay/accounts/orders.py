"""Names that are reserved and who is banned, as `vrelay name`, `ban` and `unban` change them."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from relay.accounts.bans import Ban, Kind, parse_ban
from relay.accounts.book import AccountBook
from tunnel.errors import UsageError, VshareError
from tunnel.names import parse_name

MAX_REASON = 200  # characters; whoever is banned reads it
_BEGINNING = re.compile(r"[a-z0-9][a-z0-9-]{1,38}\*")


@dataclass(frozen=True, slots=True)
class Reserved:
    """A name, or what names begin with and `*`, and whose it is. Times as in the book."""

    name: str
    user: str
    created_at: float


class Orders:
    """Of the operator of one relay, which may run meanwhile. All raise VshareError."""

    def __init__(self, book: AccountBook) -> None:
        self._book, self._db = book, book.database

    # -- names

    def reserve(self, name: str, user: str, now: float) -> None:
        """From now on shares of that user's tokens alone may have that name, or one that begins
        so: whoever has it keeps it until the share ends, or the user's asks for it."""
        if not _BEGINNING.fullmatch(name):
            parse_name(name)
        owner = self._book.user_id(user)
        try:
            self._db.execute(
                "INSERT INTO reserved_names (name, user_id, created_at) VALUES (?, ?, ?)",
                (name, owner, now),
            )
        except sqlite3.IntegrityError:
            raise VshareError(
                f"the name {name} is reserved already", "`vrelay name list` says for whom"
            ) from None

    def names(self) -> list[Reserved]:
        """All that are reserved, in their order."""
        rows = self._db.execute(
            "SELECT reserved_names.name, users.name, reserved_names.created_at FROM reserved_names"
            " JOIN users ON users.id = user_id ORDER BY reserved_names.name"
        )
        return [Reserved(*row) for row in rows]

    def free(self, name: str) -> None:
        """It is anybody's again."""
        if not self._db.execute("DELETE FROM reserved_names WHERE name = ?", (name,)).rowcount:
            raise VshareError(
                f"the name {name[:40]!r} is not reserved", "`vrelay name list` shows those that are"
            )

    # -- bans

    def ban(self, text: str, reason: str, until: float | None, now: float) -> Ban:
        """Ban what `text` means; a ban that there is gets the new reason and end."""
        if len(reason) > MAX_REASON or not reason.isprintable():
            raise UsageError(
                "that reason cannot be kept", f"write one line of up to {MAX_REASON} characters"
            )
        kind, what = parse_ban(text, self._is_token)
        self._db.execute("DELETE FROM bans WHERE until <= ?", (now,))
        self._db.execute(
            "INSERT OR REPLACE INTO bans (kind, what, reason, until, created_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (kind.value, what, reason, until, now),
        )
        return Ban(kind, what, reason, until)

    def bans(self, now: float) -> list[Ban]:
        """Those that last."""
        rows = self._db.execute(
            "SELECT kind, what, reason, until FROM bans WHERE until IS NULL OR until > ?"
            " ORDER BY created_at, what",
            (now,),
        )
        return [Ban(Kind(kind), *rest) for kind, *rest in rows]

    def unban(self, text: str) -> Ban:
        """It is served again."""
        kind, what = parse_ban(text, self._is_token)
        row = self._db.execute(
            "DELETE FROM bans WHERE kind = ? AND what = ? RETURNING reason, until",
            (kind.value, what),
        ).fetchone()
        if row is None:
            raise VshareError(
                f"the {kind.value} {what} is not banned", "`vrelay ban list` shows what is"
            )
        return Ban(kind, what, *row)

    def _is_token(self, text: str) -> bool:
        found = self._db.execute("SELECT 1 FROM tokens WHERE id = ?", (text,)).fetchone()
        return found is not None
