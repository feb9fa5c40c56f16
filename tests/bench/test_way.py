"""The words for a way, and what SOCKS5 puts on the wire."""

from __future__ import annotations

import pytest

from bench.way import Way, associate, datagram_header, is_fine, parse


@pytest.mark.parametrize("way", [Way(80), Way(1080, "calm-fox-1", 443)])
def test_a_way_and_its_word(way: Way) -> None:
    assert parse(str(way)) == way


@pytest.mark.parametrize("word", ["", "tcp:", "http:80", "socks:1", "socks:1:a:b"])
def test_what_is_no_way(word: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse(word)


def test_the_steps_of_socks() -> None:
    greeting, request = Way(1080, "fox", 258).steps
    assert greeting == (b"\5\1\0", 2)
    assert request == (b"\5\1\0\3\3fox\1\2", 10)
    assert is_fine(0, b"\5\0")
    assert not is_fine(0, b"\5\xff")
    assert is_fine(1, b"\5\0\0\1" + bytes(6))
    assert not is_fine(1, b"\5\5\0\1" + bytes(6))
    assert Way(80).steps == ()


def test_datagrams() -> None:
    assert associate() == b"\5\3\0\1" + bytes(6)
    assert datagram_header(Way(1080, "fox", 258)) == b"\0\0\0\3\3fox\1\2"
