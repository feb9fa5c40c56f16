from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.accounts.bans import Ban, Kind
from relay.accounts.book import AccountBook, account_book
from relay.accounts.orders import Orders, Reserved
from tunnel.errors import UsageError, VshareError


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AccountBook]:
    with account_book(tmp_path) as book:
        book.create_user("ada", 1.0)
        book.create_user("bob", 1.0)
        yield book


def test_names_are_reserved_and_freed_and_go_with_their_user(book: AccountBook) -> None:
    orders = Orders(book)
    orders.reserve("acme-*", "ada", 2.0)
    orders.reserve("the-name", "bob", 3.0)
    assert orders.names() == [Reserved("acme-*", "ada", 2.0), Reserved("the-name", "bob", 3.0)]
    with pytest.raises(VshareError, match="reserved already"):
        orders.reserve("acme-*", "bob", 4.0)
    orders.free("acme-*")
    with pytest.raises(VshareError, match="is not reserved"):
        orders.free("acme-*")
    book.remove_user("bob", 1.0)
    assert orders.names() == []


def test_what_cannot_be_reserved(book: AccountBook) -> None:
    for name in ("*", "a*", "A-*", "x", "two words", "a--b"):
        with pytest.raises(UsageError):
            Orders(book).reserve(name, "ada", 1.0)
    with pytest.raises(VshareError, match="no user 'eve'"):
        Orders(book).reserve("the-name", "eve", 1.0)


def test_bans_are_kept_renewed_and_lifted(book: AccountBook) -> None:
    orders = Orders(book)
    assert orders.ban("192.0.2.7", "spam", 10.0, 1.0) == Ban(
        Kind.ADDRESS, "192.0.2.7/32", "spam", 10.0
    )
    orders.ban("the-name", "", None, 2.0)
    orders.ban("192.0.2.7", "more spam", 20.0, 3.0)
    assert [ban.reason for ban in orders.bans(4.0)] == ["", "more spam"]
    assert [ban.what for ban in orders.bans(20.0)] == ["the-name"]
    orders.ban("other-name", "", None, 20.0)
    with pytest.raises(VshareError, match=r"192\.0\.2\.7/32 is not banned"):
        orders.unban("192.0.2.7")  # it was over, and is forgotten
    assert orders.unban("the-name").kind is Kind.NAME
    with pytest.raises(UsageError, match="reason"):
        orders.ban("the-name", "two\nlines", None, 1.0)
