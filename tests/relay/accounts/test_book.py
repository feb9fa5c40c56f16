from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.accounts.book import AccountBook, Allowance, account_book
from relay.accounts.database import FILE
from relay.accounts.limits import Limits
from tunnel.errors import UsageError, VshareError
from tunnel.relay_token import parse_token


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AccountBook]:
    with account_book(tmp_path) as book:
        yield book


def test_users_come_and_go_with_their_tokens(book: AccountBook) -> None:
    book.create_user("alice@example.org", 1.0)
    book.create_user("bob", 2.0)
    book.create_token("bob", Allowance(), 3.0)
    assert [(user.name, user.tokens) for user in book.users()] == [
        ("alice@example.org", 0),
        ("bob", 1),
    ]
    first = {user.name: user.id for user in book.users()}["bob"]
    assert book.remove_user("bob", 9.0) == 1
    assert book.tokens() == []
    book.create_user("bob", 4.0)
    assert {user.name: user.id for user in book.users()}["bob"] != first  # another account


def test_what_is_not_to_be_had(book: AccountBook) -> None:
    book.create_user("bob", 1.0)
    with pytest.raises(VshareError, match="a user 'bob' already"):
        book.create_user("bob", 2.0)
    for name in ("", "a b", "-a", "a" * 65, "\x1b[2J", "é"):
        with pytest.raises(UsageError, match="not a user's name"):
            book.create_user(name, 1.0)
    for call in (
        lambda: book.remove_user("eve", 1.0),
        lambda: book.create_token("eve", Allowance(), 1.0),
    ):
        with pytest.raises(VshareError, match="no user 'eve'"):
            call()
    with pytest.raises(UsageError, match="note"):
        book.create_token("bob", Allowance(note="two\nlines"), 1.0)
    with pytest.raises(VshareError, match="no token 'abcdefgh'"):
        book.revoke_token("abcdefgh", 1.0)


def test_tokens_are_listed_and_revoked(book: AccountBook) -> None:
    book.create_user("bob", 1.0)
    kept = book.create_token(
        "bob", Allowance(limits=Limits(shares=2), expires_at=100.0, note="at home"), 2.0
    )
    void = book.create_token("bob", Allowance(), 3.0)
    assert parse_token(kept.text) == kept
    assert kept.text != void.text
    assert book.revoke_token(void.id, 4.0)
    assert not book.revoke_token(void.id, 5.0)
    first, second = book.tokens()
    assert (first.id, first.user, first.scopes, first.limits.shares) == (kept.id, "bob", "share", 2)
    assert (first.note, first.state(99.0), first.state(100.0)) == ("at home", "good", "expired")
    assert (second.state(5.0), second.revoked_at) == ("revoked", 4.0)


def test_a_token_is_not_kept(tmp_path: Path) -> None:
    with account_book(tmp_path) as book:
        book.create_user("bob", 1.0)
        token = book.create_token("bob", Allowance(), 2.0)
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    content += (tmp_path / FILE).read_bytes()
    assert token.id.encode() in content
    assert token.text.encode() not in content
    assert token.text[12:40].encode() not in content
    assert token.hash in content
