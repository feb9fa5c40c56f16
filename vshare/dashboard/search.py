"""What the page's search box takes: words, each of which has to be found. Pure.

`status:404 path:/login token` finds requests with all three; a word without a field is looked for
in all of them. Words with spaces are put in quotes. Upper and lower case are the same (ASCII).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from vshare.dashboard.content import decode
from vshare.dashboard.exchange import Exchange

MAX_SEARCH = 200  # characters
MAX_WORDS = 8  # each is looked for in up to half a megabyte of each request
_WORD = re.compile(
    r"(?:(method|path|status|site|header|body):)?(?:\"([^\"]*)\"?|(\S+))", re.IGNORECASE
)
_CLASS = re.compile(rb"([1-5])xx")

_Look = Callable[[Exchange, bytes], bool]


class Search:
    """One search. `text` is cut at MAX_SEARCH."""

    def __init__(self, text: str) -> None:
        self.text = text[:MAX_SEARCH]
        words = [
            (_LOOKS[(match[1] or "").lower()], (match[2] or match[3] or "").lower().encode())
            for match in _WORD.finditer(self.text)
        ]
        self._words = [(look, word) for look, word in words if word][:MAX_WORDS]

    def finds(self, exchange: Exchange) -> bool:
        """Whether all of it is in this one."""
        return all(look(exchange, word) for look, word in self._words)


def _in_method(exchange: Exchange, word: bytes) -> bool:
    return exchange.request_head.method.lower() == word


def _in_path(exchange: Exchange, word: bytes) -> bool:
    return word in exchange.request_head.target.lower()


def _in_status(exchange: Exchange, word: bytes) -> bool:
    status = b"%d" % exchange.status
    in_class = _CLASS.fullmatch(word)
    return status.startswith(in_class[1]) if in_class else status == word


def _in_site(exchange: Exchange, word: bytes) -> bool:
    return exchange.site.encode() == word


def _in_heads(exchange: Exchange, word: bytes) -> bool:
    return word in exchange.heads.lower()


def _in_bodies(exchange: Exchange, word: bytes) -> bool:
    asked = exchange.request_head.fields
    answer = exchange.answer_head
    answered = answer.fields if answer is not None else []
    return (
        word in decode(bytes(exchange.request_content.data), asked)[0].lower()
        or word in decode(bytes(exchange.answer_content.data), answered)[0].lower()
    )


def _anywhere(exchange: Exchange, word: bytes) -> bool:
    return _in_heads(exchange, word) or _in_bodies(exchange, word)


_LOOKS: dict[str, _Look] = {
    "": _anywhere,
    "method": _in_method,
    "path": _in_path,
    "status": _in_status,
    "site": _in_site,
    "header": _in_heads,
    "body": _in_bodies,
}
