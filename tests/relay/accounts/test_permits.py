from dataclasses import replace

import pytest

from relay.accounts.limits import Limits
from relay.accounts.permits import Permit, Permits
from tunnel.relay_token import ID_SIZE, SECRET_SIZE, make_token

TOKEN = make_token(bytes(ID_SIZE), b"\1" * SECRET_SIZE)
PERMIT = Permit(TOKEN.id, 7, TOKEN.hash, frozenset({"share"}), Limits(shares=3), 100.0)


@pytest.fixture
def permits() -> Permits:
    permits = Permits()
    permits.replace({TOKEN.id: PERMIT})
    return permits


def test_who_has_the_token_may_share(permits: Permits) -> None:
    assert permits.find(TOKEN.text, 99.0) == PERMIT
    assert permits.is_good(TOKEN.id, 99.0)


def test_its_id_alone_is_worth_nothing(permits: Permits) -> None:
    other = make_token(bytes(ID_SIZE), b"\2" * SECRET_SIZE)
    assert other.id == TOKEN.id
    for text in (other.text, TOKEN.id, "", TOKEN.text[:-1], "vsr_"):
        assert permits.find(text, 0.0) is None
    unknown = make_token(b"\1" * ID_SIZE, b"\1" * SECRET_SIZE)
    assert permits.find(unknown.text, 0.0) is None


def test_a_token_ends_by_the_clock(permits: Permits) -> None:
    assert permits.find(TOKEN.text, 100.0) is None
    assert not permits.is_good(TOKEN.id, 100.0)
    permits.replace({TOKEN.id: replace(PERMIT, expires_at=None)})
    assert permits.find(TOKEN.text, 1e12)


def test_a_token_for_something_else_is_not_for_shares(permits: Permits) -> None:
    permits.replace({TOKEN.id: replace(PERMIT, scopes=frozenset({"pages"}))})
    assert permits.find(TOKEN.text, 0.0) is None


def test_what_is_revoked_is_gone(permits: Permits) -> None:
    permits.replace({})
    assert permits.find(TOKEN.text, 0.0) is None
    assert not permits.is_good(TOKEN.id, 0.0)


def test_no_hash_is_shown() -> None:
    assert repr(TOKEN.hash) not in repr(PERMIT)
