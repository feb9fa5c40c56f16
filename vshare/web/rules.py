"""What may be done to the requests of a site, and who looks on; the stage asks both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tunnel.ends import Bytes
from tunnel.http_heads import AnswerHead, Fields, RequestHead

MAX_FORM = 4096  # bytes: a passcode, and where the visitor wanted to go, percent-encoded


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the share's own: the machine does not see the request."""

    status: int
    reason: str
    fields: Fields = field(default_factory=list)  # but for Content-Length and Connection
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Form:
    """The share answers this request itself, when it has its body: at most MAX_FORM bytes."""

    reply: Callable[[bytes], Reply]


class Rule(Protocol):
    """One thing that is done to a site's requests. The heads are the rule's to change."""

    def request(self, head: RequestHead) -> Reply | Form | None:
        """Look at a request, change its head; a Reply or Form in place of sending it on."""

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        """Change the head of the answer to `request` (as the visitor sent it)."""


class Watcher(Protocol):
    """Looks on at one request and its answer. What it is given is the visitor's view.

    Calls come in this order, bodies in pieces without their framing, whose memory is used again
    after the call; `ended` comes once and last, whatever happened. The body of a Form is not shown.
    """

    def request_body(self, data: Bytes) -> None:
        """A piece of the request's body."""

    def answer(self, head: AnswerHead) -> None:
        """The head of the answer, interim ones too."""

    def answer_body(self, data: Bytes) -> None:
        """A piece of the answer's body."""

    def ended(self, error: str | None) -> None:
        """All was seen; `error`: why not. Also when the protocol was changed (101)."""


class Gallery(Protocol):
    """Where those who look on stand."""

    @property
    def is_empty(self) -> bool:
        """Nobody looks: streams are carried without a stop, their answers unread."""

    def watch(self, site: str, head: RequestHead) -> Watcher | None:
        """A request begins at the site with this label ("" for the main one)."""
