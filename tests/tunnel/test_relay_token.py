import re

import pytest

from tunnel.errors import UsageError
from tunnel.relay_token import ID_SIZE, MAX_TOKEN, SECRET_SIZE, make_token, parse_token

TOKEN = make_token(bytes(range(ID_SIZE)), bytes(range(SECRET_SIZE)))


def test_a_token_is_found_by_scanners_and_names_itself() -> None:
    assert re.fullmatch(r"vsr_[a-z2-7]{67}", TOKEN.text)
    assert len(TOKEN.text) <= MAX_TOKEN
    assert TOKEN.text.startswith(f"vsr_{TOKEN.id}")
    assert parse_token(f" {TOKEN.text}\n") == TOKEN


def test_its_id_its_secret_and_its_hash_are_one() -> None:
    other = make_token(bytes(range(ID_SIZE)), bytes(SECRET_SIZE))
    assert other.id == TOKEN.id
    assert other.hash != TOKEN.hash
    assert len(TOKEN.hash) == 32


def test_a_slip_of_the_hand_is_noticed_and_nothing_is_shown() -> None:
    for at in range(4, len(TOKEN.text)):
        wrong = "3" if TOKEN.text[at] == "2" else "2"
        with pytest.raises(UsageError, match="a character of that relay token is wrong") as caught:
            parse_token(TOKEN.text[:at] + wrong + TOKEN.text[at + 1 :])
        assert TOKEN.text[:20] not in str(caught.value)
    for text in ("", "vsr_", TOKEN.text[:-1], TOKEN.text + "a", TOKEN.text.upper(), "x" * 71):
        with pytest.raises(UsageError, match="no relay token") as caught:
            parse_token(text)
        assert len(text) < 5 or text not in caught.value.text + caught.value.hint


def test_it_is_in_no_log() -> None:
    assert TOKEN.text not in repr(TOKEN)
