"""What the pages read and change on disk: accounts and history. In threads, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from relay.accounts.book import AccountBook, TokenEntry, account_book
from relay.accounts.permits import Permits
from relay.history.reader import HistoryReader, history_reader
from relay.history.tables import FILE
from relay.website.door import Asker, Viewer

AT_ONCE = 2  # of the threads that wait for a disk: all that the pages may take
T = TypeVar("T")


class Records:
    """Of the state directory `folder`. What a relay that runs must know of changes it notices
    itself (relay/accounts/watch.py). All raise VshareError."""

    def __init__(self, folder: Path, permits: Permits) -> None:
        self._folder, self._permits = folder, permits
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def accounts(self, act: Callable[[AccountBook], T]) -> T:
        """What `act` gives."""

        def work() -> T:
            with account_book(self._folder) as book:
                return act(book)

        return await self._in_thread(work)

    async def history(self, viewer: Viewer, act: Callable[[HistoryReader], T]) -> T:
        """What `act` gives with the history of his shares (see `tokens`)."""
        alive = self._permits.tokens_of(viewer.account)

        def work() -> T:
            return self._read(self._tokens(viewer, alive), act)

        return await self._in_thread(work)

    async def history_of(
        self, tokens: Collection[str] | None, act: Callable[[HistoryReader], T]
    ) -> T:
        """What `act` gives with the history of the shares with these tokens; None: of all."""
        return await self._in_thread(lambda: self._read(tokens, act))

    async def tokens(self, viewer: Viewer) -> list[str] | None:
        """The IDs of those with whose shares he has to do, revoked ones among them; None: he is an
        administrator, and it is everybody. An account of another relay of the cluster is not in
        the book: of that it is the tokens which are good."""
        if viewer.is_admin:
            return None
        alive = self._permits.tokens_of(viewer.account)
        return await self._in_thread(lambda: self._tokens(viewer, alive))

    def _tokens(self, viewer: Viewer, alive: list[str]) -> list[str] | None:
        if viewer.is_admin:
            return None
        with account_book(self._folder) as book:
            return [*alive, *(each.id for each in tokens_of(book, viewer))]

    def _read(self, tokens: Collection[str] | None, act: Callable[[HistoryReader], T]) -> T:
        with history_reader(self._folder, tokens) as reader:
            return act(reader)

    @property
    def has_history(self) -> bool:
        """Whether any is kept."""
        return (self._folder / FILE).exists()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._turns:
            return await asyncio.to_thread(work)


def user_of(book: AccountBook, account: int) -> str | None:
    """What that account is called; None: it is gone."""
    return next((each.name for each in book.users() if each.id == account), None)


def tokens_at(book: AccountBook, account: int) -> list[TokenEntry]:
    """Those of that account, the newest first."""
    user = user_of(book, account)
    return [each for each in reversed(book.tokens()) if each.user == user]


def tokens_of(book: AccountBook, asker: Asker) -> list[TokenEntry]:
    """His, the newest first; an administrator's are everybody's."""
    return list(reversed(book.tokens())) if asker.is_admin else tokens_at(book, asker.account)
