"""Keeps a running relay as its accounts are: whoever changes them is another process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from relay.accounts.bans import Ban, Bans, Kind
from relay.accounts.database import open_accounts, unusable
from relay.accounts.limits import FIELDS, Limits
from relay.accounts.permits import Permit, Permits, ReservedNames
from relay.accounts.quotas import Quotas, Usage
from relay.accounts.revocations import Revocation, keep_revocations, news, revocations

LOOK_EVERY = 0.5  # seconds; a revocation is to be felt within a second or so
SAVE_EVERY = 10  # looks between writes of what was used: as much may be lost with the process
KEEP_USAGE = 31  # days
RENEW_EVERY = 120  # looks between those at revocations whose tokens are still heard of
_TOKENS = ", ".join(f"tokens.{field}" for field in FIELDS)
_USERS = ", ".join(f"users.{field}" for field in FIELDS)
_READ = (
    f"SELECT tokens.id, user_id, hash, scopes, expires_at, {_TOKENS}, {_USERS}"
    " FROM tokens JOIN users ON users.id = user_id"
    " WHERE revoked_at IS NULL"
)
_SAVE = (
    "INSERT INTO usage (day, holder, bytes) VALUES (?, ?, ?)"
    " ON CONFLICT (day, holder) DO UPDATE SET bytes = bytes + excluded.bytes"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accounts:
    """What is in one database: permits of tokens that are not revoked, bans, reserved names with
    their accounts, and tokens that are void wherever they were made."""

    permits: list[Permit]
    bans: list[Ban]
    names: list[tuple[str, int]]
    revoked: list[Revocation] = field(default_factory=list)


class AccountWatch:
    """The accounts in one database. `run` reads it in threads: no disk is waited for by others.

    `quotas`, where they are set, are told of what was used today, looked at, and saved. What is
    read is `own`, and `on_change(own)` is called when that changed; what was heard of others
    counts, too.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._in_use = threading.Lock()  # SQLite's objects may not go while another thread reads
        self._version = -1
        self._fails = self._saves_not = False
        self._looks = 0
        self.permits = Permits()
        self.bans = Bans()
        self.reserved = ReservedNames()
        self._quotas: Quotas | None = None
        self.own = Accounts([], [], [])
        self.on_change: Callable[[Accounts], None] = lambda own: None
        self._others: Sequence[Accounts] = ()
        self._heard = asyncio.Event()
        self._renew_in = 0  # looks

    def hear(self, others: Sequence[Accounts]) -> None:
        """What other relays have that are one with this."""
        self._others = others
        self._heard.set()

    def load(self) -> bool:
        """Read what has changed; whether anything has. Raises sqlite3.Error."""
        with self._in_use:
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            found = [_permit(row) for row in self._db.execute(_READ)]
            bans = self._db.execute("SELECT kind, what, reason, until FROM bans").fetchall()
            names = self._db.execute("SELECT name, user_id FROM reserved_names").fetchall()
            void = revocations(self._db)
            bans = [Ban(Kind(kind), *rest) for kind, *rest in bans]
            self.own = Accounts(found, bans, names, void)
            self._use()
            self._version = version
            return True

    def _use(self) -> None:
        """Let what is known count; of what two relays have, this one's does."""
        all_of_them = (*self._others, self.own)
        self.bans.replace(ban for each in all_of_them for ban in each.bans)
        self.reserved.replace(entry for each in all_of_them for entry in each.names)
        permits = {permit.token: permit for each in all_of_them for permit in each.permits}
        for token in {token for each in all_of_them for token, _ in each.revoked}:
            permits.pop(token, None)
        self.permits.replace(permits)

    def count_for(self, quotas: Quotas) -> None:
        """From now on `quotas` are looked at; they are told what was used today. Raises
        sqlite3.Error."""
        with self._in_use:
            rows = self._db.execute(
                "SELECT holder, bytes FROM usage WHERE day = ?", (quotas.day,)
            ).fetchall()
        quotas.load(rows)
        self._quotas = quotas

    def close(self) -> None:
        """What still reads comes to its end first; what was used is saved."""
        usage = self._quotas.unsaved() if self._quotas else []
        with self._in_use:
            with contextlib.suppress(sqlite3.Error):
                self._write(usage)
            self._db.close()

    async def run(
        self,
        end_without: Callable[[Callable[[str], bool]], None],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """Until cancelled. `end_without(is_good)` is called at each look, in the loop's thread:
        tokens become void by a change, and by the clock; `is_good` tells it of a token's ID.
        `look()`, for the rest, comes before it."""
        while True:
            try:
                if await asyncio.to_thread(self.load):
                    self.on_change(self.own)
            except sqlite3.Error as error:
                if not self._fails:
                    log.warning("the accounts cannot be read (%s): they stay as they were", error)
                self._fails = True
            else:
                self._fails = False
            if self._heard.is_set():
                self._heard.clear()
                self._use()
                self._renew_in = 0
            await self._keep_revocations()
            look()
            end_without(self._is_good)
            if self._quotas is not None:
                self._quotas.look()
                await self._save(self._quotas)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._heard.wait()

    async def _keep_revocations(self) -> None:
        """What was heard of is kept, also when who said it is gone."""
        self._renew_in -= 1
        if not self._others or self._renew_in > 0:
            return
        self._renew_in = RENEW_EVERY
        try:
            await asyncio.to_thread(self._keep_now, self._others)
        except sqlite3.Error as error:
            log.warning("revocations that were heard of cannot be kept on disk (%s)", error)

    def _keep_now(self, others: Sequence[Accounts]) -> None:
        now, own = time.time(), self.own
        heard = [each for other in others for each in other.revoked]
        elsewhere = (permit.token for other in others for permit in other.permits)
        here = {permit.token for permit in own.permits}
        new = news(own.revoked, heard, elsewhere, here, now)
        if not new:
            return
        with self._in_use, self._changing():
            keep_revocations(self._db, new, now)
            self._version = -1  # SQLite tells of others' changes alone

    async def _save(self, quotas: Quotas) -> None:
        self._looks += 1
        if self._looks % SAVE_EVERY:
            return
        usage = quotas.unsaved()
        if not usage:
            return
        try:
            await asyncio.to_thread(self._save_now, usage)
        except sqlite3.Error as error:
            quotas.give_back(usage)
            if not self._saves_not:
                log.warning("what is used today cannot be kept on disk (%s)", error)
            self._saves_not = True
        else:
            self._saves_not = False

    def _save_now(self, usage: Usage) -> None:
        with self._in_use:
            self._write(usage)

    def _write(self, usage: Usage) -> None:
        if not usage:
            return
        with self._changing():
            self._db.executemany(_SAVE, usage)
            oldest = max(day for day, _, _ in usage) - KEEP_USAGE
            self._db.execute("DELETE FROM usage WHERE day < ?", (oldest,))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """All of what is done inside, or nothing. Raises sqlite3.Error."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")

    def _is_good(self, token: str) -> bool:
        now = time.time()
        return self.permits.is_good(token, now) and self.bans.of_token(token, now) is None


def _permit(row: tuple[str, int, bytes, str, float | None, *tuple[int | None, ...]]) -> Permit:
    token, account, hash_, scopes, expires_at, *limits = row
    own, all_of_them = Limits(*limits[: len(FIELDS)]), Limits(*limits[len(FIELDS) :])
    scope_words = frozenset(scopes.split())
    return Permit(token, account, hash_, scope_words, own, expires_at, all_of_them)


@contextlib.contextmanager
def watched_accounts(folder: Path) -> Iterator[AccountWatch]:
    """The accounts in the state directory `folder`, read once. Raises VshareError."""
    watch = AccountWatch(open_accounts(folder))
    try:
        try:
            watch.load()
        except sqlite3.Error as error:
            raise unusable(folder, error) from error
        yield watch
    finally:
        watch.close()
