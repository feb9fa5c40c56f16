"""A relay that runs sees what another process does to its accounts."""

import asyncio
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from relay.accounts import watch
from relay.accounts.book import Allowance, account_book
from relay.accounts.limits import Limits
from relay.accounts.watch import Accounts, AccountWatch, watched_accounts
from tests.loops import run, until

Ask = Callable[[str], bool]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_EVERY", 0.005)


@asynccontextmanager
async def running(accounts: AccountWatch, told: Callable[[Ask], None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(accounts.run(told))
        try:
            yield
        finally:
            task.cancel()


def test_what_is_made_and_revoked_meanwhile_counts(tmp_path: Path) -> None:
    async def main() -> None:
        good: dict[str, bool] = {}
        with watched_accounts(tmp_path) as accounts, account_book(tmp_path) as book:
            assert not accounts.load()  # nothing has changed
            book.create_user("bob", 1.0)
            token = book.create_token("bob", Allowance(limits=Limits(shares=2)), 1.0)

            def told(is_good: Ask) -> None:
                good["now"] = is_good(token.id)

            async with running(accounts, told):
                await until(lambda: good.get("now"))
                permit = accounts.permits.find(token.text, time.time())
                assert permit is not None
                assert permit.limits.shares == 2
                book.revoke_token(token.id, 2.0)
                await until(lambda: not good["now"])
                assert accounts.permits.find(token.text, time.time()) is None
                book.database.execute("DELETE FROM revocations")  # as long after it
                await until(lambda: not accounts.own.revoked)
                assert accounts.permits.find(token.text, time.time()) is None

    run(main)


def test_a_token_ends_by_the_clock_without_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 99.0
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: now))

    async def main() -> None:
        nonlocal now
        with account_book(tmp_path) as book, watched_accounts(tmp_path) as accounts:
            book.create_user("bob", 1.0)
            token = book.create_token("bob", Allowance(expires_at=100.0), 1.0)
            seen: list[bool] = []
            async with running(accounts, lambda is_good: seen.append(is_good(token.id))):
                await until(lambda: True in seen)
                now = 100.0
                await until(lambda: not seen[-1])

    run(main)


def test_while_it_cannot_be_read_all_stays_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with account_book(tmp_path) as book:
            book.create_user("bob", 1.0)
            token = book.create_token("bob", Allowance(), 1.0)
        looks: list[bool] = []
        with watched_accounts(tmp_path) as accounts:

            def load() -> bool:
                raise sqlite3.OperationalError("disk I/O error")

            monkeypatch.setattr(accounts, "load", load)
            async with running(accounts, lambda is_good: looks.append(is_good(token.id))):
                await until(lambda: len(looks) > 3)
        assert all(looks)

    with caplog.at_level(logging.WARNING):
        run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "the accounts cannot be read (disk I/O error): they stay as they were"
    ]


def test_what_another_relay_has_revoked_is_void_and_stays_so(tmp_path: Path) -> None:
    async def main() -> None:
        void: set[str] = set()
        with account_book(tmp_path) as book:
            book.create_user("bob", 1.0)
            own = book.create_token("bob", Allowance(), 1.0)
        with (
            watched_accounts(tmp_path / "other") as other,
            account_book(tmp_path / "other") as book,
        ):
            book.create_user("eve", 1.0)
            theirs = book.create_token("eve", Allowance(), 1.0)
            other.load()
            tokens = (own.id, theirs.id)

            def told(is_good: Ask) -> None:
                void.clear()
                void.update(token for token in tokens if not is_good(token))

            with watched_accounts(tmp_path) as accounts:
                accounts.hear([other.own])
                async with running(accounts, told):
                    await until(lambda: accounts.permits.get(theirs.id, 1.0) and not void)
                    said = [(token, time.time()) for token in tokens]
                    accounts.hear([other.own, Accounts([], [], [], [*said, ("no id", 1.0)])])
                    await until(lambda: void == {*tokens})
                    await until(lambda: {each for each, _ in accounts.own.revoked} == {*tokens})
            # Who said it is gone, and the other has forgotten: it is void here all the same.
            with watched_accounts(tmp_path) as accounts:
                accounts.hear([other.own])
                accounts._use()
                assert accounts.permits.get(theirs.id, 1.0) is None
        with account_book(tmp_path) as book:
            assert book.token(own.id).revoked_at is not None  # where it was made it is marked

    run(main)
