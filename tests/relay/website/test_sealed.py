import secrets

from hypothesis import given
from hypothesis import strategies as st

from relay.website.sealed import MAX_SEALED, Seal

SEAL = Seal(bytes(32), secrets.token_bytes)


def test_what_was_sealed_is_opened_with_its_key_for_its_purpose() -> None:
    sealed = SEAL.close("session", b"text")
    assert SEAL.open("session", sealed) == b"text"
    assert sealed != SEAL.close("session", b"text")
    assert Seal(bytes(32), secrets.token_bytes).open("session", sealed) == b"text"
    assert SEAL.open("once", sealed) is None
    assert Seal(b"x" * 32, secrets.token_bytes).open("session", sealed) is None


def test_nothing_of_it_can_be_changed() -> None:
    sealed = SEAL.close("session", b"text")
    for at, letter in enumerate(sealed):
        changed = sealed[:at] + ("A" if letter != "A" else "B") + sealed[at + 1 :]
        assert SEAL.open("session", changed) is None
    for other in (sealed[:-1], sealed + "A", "A" + sealed, sealed + "=", sealed + " "):
        assert SEAL.open("session", other) is None


@given(st.text(max_size=80))
def test_nothing_else_is_opened(text: str) -> None:
    assert SEAL.open("session", text) is None
    assert SEAL.proof("session", text) != SEAL.proof("sign-in", text)


def test_what_is_too_long_is_not_looked_at() -> None:
    assert SEAL.open("session", SEAL.close("session", bytes(MAX_SEALED))) is None
