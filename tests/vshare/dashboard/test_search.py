"""The page's search."""

from __future__ import annotations

import gzip

import pytest

from tests.vshare.dashboard.small_share import head, seen
from vshare.dashboard.request_log import RequestLog
from vshare.dashboard.search import MAX_SEARCH, MAX_WORDS, Search


def found(text: str) -> list[int]:
    log = RequestLog()
    seen(
        log, head("/Login", "POST", Cookie="id=7"), 302, sent=b"user=Ada&x=deep+Blue", Location="/"
    )
    seen(log, head("/img.png"), 200, b"\x89PNG", Content_Type="image/png", site="docs")
    packed = gzip.compress(b"a needle in a haystack")
    seen(log, head("/api"), 404, packed, Content_Encoding="gzip")
    log.begin("", head("/slow"))
    search = Search(text)
    return [exchange.number for _, exchange in log.changes(0) if search.finds(exchange)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", [1, 2, 3, 4]),
        ("   ", [1, 2, 3, 4]),
        ("login", [1]),
        ("LOGIN post", [1]),
        ("login get", []),
        ("method:get", [2, 3, 4]),
        ("method:ge", []),
        ("path:.PNG", [2]),
        ("path:id=7", []),
        ("status:302", [1]),
        ("status:4xx", [3]),
        ("Status:0", [4]),
        ("status:x", []),
        ("site:docs", [2]),
        ("header:image", [2]),
        ("header:id=7", [1]),
        ("header:ada", []),
        ("body:ada", [1]),
        ("body:login", []),
        ("needle", [3]),
        ('"needle in a"', [3]),
        ('body:"in a hay', [3]),
        ('"a in needle"', []),
        ("frosty", [1, 2, 3, 4]),
        ("other:thing", []),
    ],
)
def test_words(text: str, numbers: list[int]) -> None:
    assert found(text) == numbers


def test_a_search_is_bounded() -> None:
    assert len(Search("x" * 10_000).text) == MAX_SEARCH
    many = " ".join(["get"] * MAX_WORDS + ["nowhere"])
    assert found(many) == [2, 3, 4]
