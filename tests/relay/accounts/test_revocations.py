from pathlib import Path

import pytest

from relay.accounts import revocations
from relay.accounts.database import open_accounts
from relay.accounts.revocations import KEEP, REFRESH, keep_revocations, news

NOW = 1e9
A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"


def test_what_is_new_is_kept_and_what_is_known_is_not_said_again() -> None:
    assert news([], [(A, NOW - 5)], [], [], NOW) == [(A, NOW - 5)]
    assert news([(A, NOW - 5)], [(A, NOW - 4)], [], [], NOW) == []
    assert news([], [(A, NOW + 9)], [], [], NOW) == [(A, NOW)]  # another's clock
    assert news([], [("no id", NOW), (B, NOW - KEEP - 1)], [], [], NOW) == []


def test_it_stays_as_long_as_its_token_is_heard_of() -> None:
    old = NOW - REFRESH - 1
    assert news([(A, old)], [], [A, C], [], NOW) == [(A, NOW)]
    assert news([(A, old)], [(A, NOW - 5)], [A], [], NOW) == [(A, NOW - 5)]
    assert news([(A, NOW - 5)], [], [A], [], NOW) == []


def test_a_token_that_is_back_with_old_data_is_marked_again() -> None:
    assert news([(A, NOW - 5)], [], [], [A, B], NOW) == [(A, NOW - 5)]


def test_they_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MOST", 2)
    database = open_accounts(tmp_path)
    try:
        keep_revocations(database, [(A, NOW - KEEP), (B, NOW)], NOW)
        keep_revocations(database, [(B, NOW - 9)], NOW + 1)
        assert revocations.revocations(database) == [(B, NOW)]
        keep_revocations(database, [(A, NOW + 2), (C, NOW + 3)], NOW + 3)
        assert revocations.revocations(database) == [(C, NOW + 3), (A, NOW + 2)]
        keep_revocations(database, [(A, NOW + 4), (B, NOW + 4), (C, NOW + 4)], NOW + 4)
        assert len(revocations.revocations(database)) == 2
    finally:
        database.close()
