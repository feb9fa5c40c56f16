"""Keeps a running relay's permits as the accounts are: whoever changes them is another process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from relay.accounts.database import open_accounts, unusable
from relay.accounts.permits import Permit, Permits

LOOK_EVERY = 0.5  # seconds; a revocation is to be felt within a second or so
_READ = (
    "SELECT tokens.id, user_id, hash, scopes, shares, expires_at FROM tokens"
    " WHERE revoked_at IS NULL"
)

log = logging.getLogger(__name__)


class AccountWatch:
    """The accounts in one database. `run` reads it in threads: no disk is waited for by others."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._in_use = threading.Lock()  # SQLite's objects may not go while another thread reads
        self._version = -1
        self._fails = False
        self.permits = Permits()

    def load(self) -> bool:
        """Read what has changed; whether anything has. Raises sqlite3.Error."""
        with self._in_use:
            (version,) = self._db.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return False
            found = [_permit(row) for row in self._db.execute(_READ)]
            self.permits.replace({permit.token: permit for permit in found})
            self._version = version
            return True

    def close(self) -> None:
        """What still reads comes to its end first."""
        with self._in_use:
            self._db.close()

    async def run(self, end_without: Callable[[Callable[[str], bool]], None]) -> None:
        """Until cancelled. `end_without(is_good)` is called at each look, in the loop's thread:
        tokens become void by a change, and by the clock; `is_good` tells it of a token's ID."""
        while True:
            try:
                await asyncio.to_thread(self.load)
            except sqlite3.Error as error:
                if not self._fails:
                    log.warning("the accounts cannot be read (%s): they stay as they were", error)
                self._fails = True
            else:
                self._fails = False
            end_without(self._is_good)
            await asyncio.sleep(LOOK_EVERY)

    def _is_good(self, token: str) -> bool:
        return self.permits.is_good(token, time.time())


def _permit(row: tuple[str, int, bytes, str, int | None, float | None]) -> Permit:
    token, account, hash_, scopes, shares, expires_at = row
    return Permit(token, account, hash_, frozenset(scopes.split()), shares, expires_at)


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
