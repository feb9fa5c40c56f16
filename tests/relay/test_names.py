import contextlib
import sqlite3
from pathlib import Path

import pytest

from relay import names
from relay.names import GONE_FOR, HELD_AFTER, NameBook
from tunnel.names import ShareName

NAME = ShareName("my-own-name")
DAY = 86_400.0


def test_a_name_belongs_to_its_key_until_a_week_after_its_lease(tmp_path: Path) -> None:
    path = tmp_path / "state" / "names.sqlite"
    with NameBook(path) as names:
        assert names.claim(NAME, b"one", 0.0, DAY)
        assert names.claim(NAME, b"one", 10.0, DAY)
        assert not names.claim(NAME, b"two", 10.0, DAY)
    with NameBook(path) as names:
        assert not names.claim(NAME, b"two", DAY + HELD_AFTER - 1, 9 * DAY)
        assert names.claim(NAME, b"two", DAY + HELD_AFTER + 1, 9 * DAY)
        assert not names.claim(NAME, b"one", 8 * DAY, 9 * DAY)


def test_an_ended_lease_shortens_and_never_prolongs() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, 100 * DAY)
        names.end_lease(NAME, DAY)
        names.end_lease(NAME, 50 * DAY)
        assert not names.claim(NAME, b"two", 2 * DAY, 9 * DAY)
        assert names.claim(NAME, b"two", DAY + HELD_AFTER + 1, 9 * DAY)


def test_a_lease_lasts_until_its_time_or_its_end() -> None:
    with NameBook(None) as names:
        assert not names.is_leased(NAME, 0.0)
        names.claim(NAME, b"one", 0.0, DAY)
        assert names.is_leased(NAME, DAY - 1)
        assert not names.is_leased(NAME, DAY)
        names.end_lease(NAME, 10.0)
        assert not names.is_leased(NAME, 10.0)


def test_drawn_names_are_free_and_old_ones_forgotten() -> None:
    with NameBook(None) as names:
        first = names.draw(b"one", 0.0, DAY, lambda n: 0)
        assert first is not None
        assert names.draw(b"two", 0.0, DAY, lambda n: 0) is None
        names.forget_old(30 * DAY)
        assert names.draw(b"two", 30 * DAY, 31 * DAY, lambda n: 0) == first


ROUTE, OTHER = "0123456789abcdef" * 2, "f" * 32


def test_a_route_is_known_while_its_lease_lasts(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    with NameBook(path) as names:
        assert names.claim(NAME, b"one", 0.0, DAY, route=ROUTE)
    with NameBook(path) as names:
        assert names.is_route_leased(ROUTE, DAY - 1)
        assert not names.is_route_leased(ROUTE, DAY)
        assert not names.is_route_leased(OTHER, 0.0)
        assert not names.is_route_leased("", 0.0)
        names.claim(NAME, b"one", 0.0, DAY, route=OTHER)  # started again: another route
        assert not names.is_route_leased(ROUTE, 0.0)
        assert names.is_route_leased(OTHER, 0.0)
        names.end_lease(NAME, 10.0)
        assert not names.is_route_leased(OTHER, 10.0)


def test_a_route_is_its_keys_alone() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, DAY, route=ROUTE)
        names.claim(ShareName("no-route"), b"one", 0.0, DAY)
        assert names.is_anothers_route(ROUTE, b"two")
        assert not names.is_anothers_route(ROUTE, b"one")
        assert not names.is_anothers_route(OTHER, b"two")
        assert not names.is_anothers_route("", b"two")


def test_an_extended_lease() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, DAY, route=ROUTE)
        names.extend(NAME, b"two", 9 * DAY)
        assert not names.is_leased(NAME, 2 * DAY)
        names.extend(NAME, b"one", 3 * DAY)
        assert names.is_leased(NAME, 2 * DAY)
        assert names.is_route_leased(ROUTE, 2 * DAY)
        names.extend(NAME, b"one", DAY)
        assert not names.is_leased(NAME, 2 * DAY)


def test_whether_a_share_has_a_url() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, DAY, http=False)
        assert not names.has_http(NAME)
        names.claim(NAME, b"one", 0.0, DAY, http=True)
        assert names.has_http(NAME)
        assert not names.has_http(ShareName("another"))


def test_a_site_that_has_ended_is_known_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    with NameBook(path) as names:
        names.claim(NAME, b"one", 0.0, DAY)
        assert not names.is_gone(NAME, DAY - 1)
        assert names.is_gone(NAME, DAY)  # its time was over
        assert names.is_gone(NAME, DAY + GONE_FOR - 1)
        assert not names.is_gone(NAME, DAY + GONE_FOR)
        names.extend(NAME, b"one", 2 * DAY)
        assert not names.is_gone(NAME, DAY)
        names.end_lease(NAME, 10.0)
        assert not names.is_gone(ShareName("another"), 10.0)
    with NameBook(path) as names:
        assert names.is_gone(NAME, 10.0)
        names.claim(NAME, b"one", 20.0, DAY)
        assert not names.is_gone(NAME, 20.0)


def test_what_comes_after_a_site_without_one_is_not_told_by_it() -> None:
    """Whatever a share without a URL does, the name is answered as if nobody had it again."""
    with NameBook(None) as names:
        names.claim(NAME, b"one", 0.0, DAY)
        names.end_lease(NAME, 100.0)
        for change in (
            lambda: names.claim(NAME, b"one", 200.0, DAY, http=False),
            lambda: names.extend(NAME, b"one", 2 * DAY),
            lambda: names.end_lease(NAME, 300.0),
        ):
            change()
            assert names.is_gone(NAME, 300.0)
            assert names.is_gone(NAME, 100.0 + GONE_FOR - 1)
            assert not names.is_gone(NAME, 100.0 + GONE_FOR)


def test_a_share_that_never_had_a_site_is_never_gone() -> None:
    with NameBook(None) as names:
        names.claim(NAME, b"one", DAY, 3 * DAY, http=False)
        names.extend(NAME, b"one", 2 * DAY)
        assert not names.is_gone(NAME, 2 * DAY)
        names.end_lease(NAME, 1.5 * DAY)
        assert not names.is_gone(NAME, 1.5 * DAY)


def test_one_key_and_one_account_hold_so_many_names_until_they_lapse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "MAX_OF_KEY", 2)
    monkeypatch.setattr(names, "MAX_OF_ACCOUNT", 3)
    with NameBook(None) as book:
        for number in range(2):
            assert not book.holds_too_many(b"key", 7)
            assert book.claim(ShareName(f"name-{number}"), b"key", 0.0, 10.0, account=7)
        assert book.holds_too_many(b"key", 7)
        assert not book.holds_too_many(b"other", 7)
        assert book.claim(ShareName("name-2"), b"other", 0.0, 10.0, account=7)
        assert book.holds_too_many(b"a-third", 7)
        assert not book.holds_too_many(b"a-third", 8)
        assert not book.holds_too_many(b"a-third", 0)
        book.forget_old(10.0 + HELD_AFTER + 1)
        assert not book.holds_too_many(b"key", 7)


def test_a_file_of_an_earlier_version_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE names (name TEXT PRIMARY KEY, key_hash BLOB NOT NULL,"
            " lease_until REAL NOT NULL) WITHOUT ROWID"
        )
        database.execute("INSERT INTO names VALUES (?, ?, ?)", (NAME, b"one", DAY))
        database.commit()
    for _ in range(2):
        with NameBook(path) as names:
            assert names.is_leased(NAME, 0.0)
            assert names.has_http(NAME)  # as they all had then
            assert not names.claim(NAME, b"two", 0.0, DAY, route=ROUTE)
            assert names.claim(NAME, b"one", 0.0, DAY, route=ROUTE)
            assert names.is_route_leased(ROUTE, 0.0)


def limit_pages(names: NameBook, extra: int) -> None:
    """As if the disk had room for so many pages more."""
    database = names._disk or names._db
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + extra}")


def test_a_full_disk_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "names.sqlite"
    many = [ShareName(f"share-{number:04}") for number in range(300)]
    with NameBook(path) as names:
        assert names.claim(NAME, b"one", 0.0, DAY)
        limit_pages(names, 0)
        for name in many:
            assert names.claim(name, b"one", 0.0, DAY)
        assert not names.claim(NAME, b"two", 0.0, DAY)  # what was written before still counts
        assert not names.claim(many[-1], b"two", 0.0, DAY)
        assert names.claim(NAME, b"one", 0.0, 2 * DAY)
        names.recover()
        assert names.is_leased(many[-1], DAY - 1)
        assert len(caplog.records) == 1  # told once, and not for each
        limit_pages(names, 100_000)
        names.recover()
        assert "on disk again" in caplog.records[-1].message
    with NameBook(path) as names:
        assert names.is_leased(NAME, 2 * DAY - 1)
        assert all(names.is_leased(name, DAY - 1) for name in many)


def test_a_book_that_was_handed_over_is_written_no_more(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    gone = sqlite3.OperationalError("the disk is gone")
    with NameBook(path) as new:
        with NameBook(path) as old:
            old._move_to_memory(gone)
            assert old.claim(NAME, b"one", 0.0, DAY)
            old.hand_over()
            assert old.is_on_disk
            assert new.is_leased(NAME, DAY - 1)
            old._move_to_memory(gone)
            assert new.claim(NAME, b"one", 0.0, 2 * DAY)
        assert new.is_leased(NAME, 2 * DAY - 1)


def test_a_book_whose_file_is_broken(tmp_path: Path) -> None:
    """The relay goes on without it, and says so; the file is not thrown away."""
    path = tmp_path / "names.sqlite"
    path.write_bytes(b"no database, but bytes " * 1000)
    with NameBook(path) as names:
        assert names.claim(NAME, b"one", 0.0, DAY)
        assert not names.claim(NAME, b"two", 0.0, DAY)
        names.recover()
        assert names.is_leased(NAME, DAY - 1)
    assert path.read_bytes().startswith(b"no database")


def test_a_book_that_is_read_only(tmp_path: Path) -> None:
    path = tmp_path / "names.sqlite"
    with NameBook(path) as names:
        names.claim(NAME, b"one", 0.0, DAY)
    with NameBook(path) as names:
        names._db.execute("PRAGMA query_only = ON")
        assert not names.claim(NAME, b"two", 0.0, DAY)
        assert names.claim(NAME, b"one", 0.0, 2 * DAY)
        assert names.is_leased(NAME, 2 * DAY - 1)
    with NameBook(path) as names:
        assert not names.is_leased(NAME, 2 * DAY - 1)  # it was never written
