from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import UsageError
from tunnel.names import (
    ADJECTIVES,
    ANIMALS,
    MAX_LABEL,
    ShareName,
    code_words,
    host_label,
    make_code,
    make_invite_code,
    make_name,
    parse_code,
    parse_name,
    plate_of,
    split_code,
)


def test_what_is_made_can_be_parsed() -> None:
    below = random.Random(7).randrange
    for _ in range(200):
        name, code = make_name(below), make_code(below)
        assert parse_name(f" {name.upper()} ") == name
        assert parse_code(code.replace("-", " ").title()) == code
        assert split_code(f"{name}-{code}") == (name, code)
        assert split_code(name) == (name, None)


def test_an_invites_code_has_a_public_word_and_three_secret_ones() -> None:
    below = random.Random(7).randrange
    for _ in range(200):
        plate = code_words()[below(2048)]
        code = make_invite_code(plate, below)
        assert plate_of(code) == plate
        assert parse_code(code.replace("-", " ").title()) == code
        assert plate_of(make_code(below)) == ""


def test_an_invites_code_is_not_read_out_of_a_line() -> None:
    """The fourth word from the end may be the name's own."""
    assert split_code("my-tiger-able-zoo-able") == ("my-tiger", "able-zoo-able")


def test_the_lists_are_what_the_odds_count_on() -> None:
    assert len(code_words()) == len(set(code_words())) == 2048
    assert len(ADJECTIVES) == len(set(ADJECTIVES)) >= 90
    assert len(ANIMALS) == len(set(ANIMALS)) >= 110


@pytest.mark.parametrize(
    "text", ["", "ab", "-abc", "abc-", "a--b", "a" * 41, "a_b", "a.b", "\u00e4bc", "a b", "abc\n-"]
)
def test_not_names(text: str) -> None:
    with pytest.raises(UsageError, match="not a share's name"):
        parse_name(text)


@pytest.mark.parametrize(
    "text", ["https://x.example", "x.example/path", "http://frosty.localhost:80/"]
)
def test_a_url_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="this is a URL"):
        parse_name(text)


@pytest.mark.parametrize(
    "text", ["", "one two", "abandon ability xyzzy", "abandon ability able able able"]
)
def test_not_codes_and_the_text_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_code(text)
    assert caught.value.text == "this is not a join code"


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_a_usage_error(text: str) -> None:
    # Accepted: UsageError, and no exception.
    try:
        name, _ = split_code(text)
    except UsageError:
        return
    assert parse_name(name) == name


@given(st.text("abc-", min_size=1, max_size=80))
def test_labels_fit_and_differ(label: str) -> None:
    name = ShareName("n" * 40)
    made = host_label(name, label)
    assert len(made) <= MAX_LABEL
    assert made.startswith(f"{name}--")
    assert made != host_label(name, label + "x")
    assert host_label(name) == name
