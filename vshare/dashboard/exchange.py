"""One request of a visitor's and its answer, as they are kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from tunnel.ends import Bytes
from tunnel.http_heads import AnswerHead, RequestHead, maybe_answer, maybe_request
from vshare.dashboard.content import as_text, value_of

MAX_BODY = 64 * 1024  # bytes of each body that are kept
MAX_TARGET = 400  # characters of a target in a row of the page; the details have all of it
MAX_TYPE = 60  # characters of a content type there
MAX_ERROR = 200  # characters
MILLISECONDS = 1000


class Summary(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the page. `status` 0: no answer yet; `ms` None: it goes on; `replay_of`: the
    request that this one repeats."""

    number: int
    time: float
    site: str
    method: str
    target: str
    status: int = 0
    ms: float | None = None
    request_size: int = 0
    answer_size: int = 0
    type: str = ""
    error: str = ""
    replay_of: int = 0


class KeptBody:
    """The begin of a body, and the size of all of it."""

    __slots__ = ("data", "size")

    def __init__(self) -> None:
        self.data = bytearray()
        self.size = 0

    def add(self, data: Bytes, *, keep: bool) -> int:
        """How many bytes of it are kept."""
        self.size += len(data)
        room = MAX_BODY - len(self.data) if keep else 0
        if room <= 0:
            return 0
        kept = data[:room]
        self.data += kept
        return len(kept)

    @property
    def is_whole(self) -> bool:
        """Whether all that came is kept."""
        return self.size == len(self.data)


class Exchange:
    """A Watcher (vshare/web/rules.py) that keeps what it is told; heads as they are on the wire,
    which takes a tenth of the room that their fields take one by one.

    `changed(exchange, grown)` is called after each change, with the bytes that are kept more.
    `version` and `is_kept` are the log's.
    """

    __slots__ = (
        "_answer", "_began", "_changed", "_request", "answer_content", "error", "is_kept",
        "number", "replay_of", "request_content", "seconds", "site", "status", "time", "version",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        site: str,
        head: RequestHead,
        replay_of: int,
        changed: Callable[[Exchange, int], None],
    ) -> None:
        self.number, self.site, self.replay_of = number, site, replay_of
        self.time = time.time()  # seconds since the epoch
        self._began = time.monotonic()
        self._request, self._answer = head.serialize(), b""
        self.request_content, self.answer_content = KeptBody(), KeptBody()
        self.status = 0
        self.seconds: float | None = None  # that it took; None: it goes on
        self.error = ""
        self.version = 0
        self.is_kept = True
        self._changed = changed

    def request_body(self, data: Bytes) -> None:
        """See Watcher."""
        self._changed(self, self.request_content.add(data, keep=self.is_kept))

    def answer(self, head: AnswerHead) -> None:
        """See Watcher. Interim heads give way to the final one."""
        if not self.is_kept:
            return
        before, self._answer = len(self._answer), head.serialize()
        self.status = head.status
        self._changed(self, len(self._answer) - before)

    def answer_body(self, data: Bytes) -> None:
        """See Watcher."""
        self._changed(self, self.answer_content.add(data, keep=self.is_kept))

    def ended(self, error: str | None) -> None:
        """See Watcher."""
        self.seconds = time.monotonic() - self._began
        self.error = (error or "")[:MAX_ERROR]
        self._changed(self, 0)

    # -- for who looks at it later

    def forget(self) -> None:
        """It is not kept any more, and a stream that goes on with it keeps no bodies."""
        self.is_kept = False
        self.request_content.data.clear()
        self.answer_content.data.clear()

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        heads = len(self._request) + len(self._answer)
        return heads + len(self.request_content.data) + len(self.answer_content.data)

    @property
    def request_head(self) -> RequestHead:
        """A copy, the caller's to change."""
        found = maybe_request(self._request)
        assert found is not None  # it was a head
        return found[0]

    @property
    def answer_head(self) -> AnswerHead | None:
        """A copy; None: there is none yet."""
        found = maybe_answer(self._answer)
        return found[0] if found is not None else None

    @property
    def heads(self) -> bytes:
        """Both, for a search."""
        return self._request + self._answer

    def summary(self) -> Summary:
        """What the page's list shows."""
        method, target = self._request.split(b" ", 2)[:2]
        answer = self.answer_head
        kind = value_of(answer.fields, b"content-type") if answer is not None else ""
        return Summary(
            self.number,
            round(self.time, 3),
            self.site,
            as_text(method),
            as_text(target[:MAX_TARGET]),
            self.status,
            None if self.seconds is None else round(self.seconds * MILLISECONDS, 1),
            self.request_content.size,
            self.answer_content.size,
            kind[:MAX_TYPE],
            self.error,
            self.replay_of,
        )
