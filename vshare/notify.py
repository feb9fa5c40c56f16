"""`--notify`: tells a webhook of the sharer's what happens in the share.

Each event is one POST of a JSON object, whose `text` is a sentence, as chat services want it.
The webhook never stands in the share's way: what it does not take is dropped. Its URL is a
secret, as such URLs let anybody post: messages name its host alone.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import h11

from tunnel.dialler import dial
from tunnel.errors import RefusedError, UsageError
from vshare.audit_chain import MAX_TEXT, Entry
from vshare.audit_words import sentence
from vshare.news import News, Value

KINDS = frozenset(
    {
        "joined",
        "visitor-joined",
        "waiting",
        "join-failed",
        "kicked",
        "ended",
        "ssh-password-wrong",
        "url-guessing",
    }
)
MAX_URL = 2048  # characters, also of a file that holds it
MAX_QUEUE = 64  # events that wait for a slow webhook; the oldest make room
TRIES = 2  # for each event
RETRY_AFTER = 1.0  # seconds
POST_DEADLINE = 10.0  # seconds for one try, from resolving the name to the answer's head
BUNDLE_SECONDS = 10.0  # between two posts about failed joins: somebody may be guessing codes
CLOSING_SECONDS = 3.0  # for what is queued when the share ends
RECEIVE = 16 * 1024  # bytes per read; h11 gives up on a head that is longer
MAX_1XX = 8  # answers of 1xx before the final one; none is usual
_PORTS = {"http": 80, "https": 443}
_HINT = "write http://HOST/PATH or https://HOST/PATH, or @FILE to read it from a file"
_AGAIN = frozenset({408, 429})  # RFC 9110 15.5.9, RFC 6585 4: worth another try, as is a 5xx


class _PostError(Exception):
    """The webhook did not take it; `again` if it might the next time."""

    def __init__(self, text: str, *, again: bool = True) -> None:
        super().__init__(text)
        self.again = again


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to post. The target is the secret part."""

    is_tls: bool
    host: str
    port: int
    target: str = field(repr=False)

    @property
    def authority(self) -> str:
        """The Host header's value (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _PORTS["https" if self.is_tls else "http"]
        return host if self.port == default else f"{host}:{self.port}"


def parse_notify(text: str) -> str:
    """The URL that `--notify` means; `@FILE` is a file that holds it, so that it need not be on
    the command line. Raises UsageError, which does not repeat it."""
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            with path.open("rb") as file:
                text = file.read(MAX_URL + 1).decode("ascii", "replace").strip()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(
                f"cannot read the webhook's URL from {path}: {reason}", _HINT
            ) from error
    parse_webhook(text)
    return text


def parse_webhook(url: str) -> Webhook:
    """The parts of a webhook's URL. Raises UsageError, which does not repeat it."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("not a webhook's URL: it is too long, or has characters of no URL", _HINT)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError("not a webhook's URL: its host or port is wrong", _HINT) from None
    if parts.scheme not in _PORTS:
        raise UsageError("not a webhook's URL: it is neither http nor https", _HINT)
    if not parts.hostname or port == 0:
        raise UsageError("not a webhook's URL: its host or port is wrong", _HINT)
    if "@" in parts.netloc:
        raise UsageError("a webhook's URL cannot have a user and password in it", _HINT)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Webhook(parts.scheme == "https", parts.hostname, port or _PORTS[parts.scheme], target)


class Notifier:
    """Posts news to a webhook. An async context manager; `news` subscribes to a Newsroom.

    `warn` gets a sentence once per run of failures, and once when events are dropped.
    """

    def __init__(self, url: str, share_name: str, warn: Callable[[str], None]) -> None:
        """Raises UsageError if `url` is none of a webhook."""
        self._webhook = parse_webhook(url)
        self.share = share_name
        self._warn = warn
        self.dropped = 0
        self._context = ssl.create_default_context() if self._webhook.is_tls else None
        self._queue: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._is_closing = False
        self._is_failing = False
        self._bundle: asyncio.TimerHandle | None = None
        self._bundled = 0
        self._last_failed: News | None = None
        self._group = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Notifier:
        await self._group.__aenter__()
        self._task = self._group.create_task(self._run(), name="webhook")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """What is queued gets CLOSING_SECONDS, however the share ended."""
        assert self._task is not None  # entered
        self._end_bundle()
        self._is_closing = True
        self._wake.set()
        try:
            _, slow = await asyncio.wait([self._task], timeout=CLOSING_SECONDS)
            if slow and not self._is_failing:
                self._warn(f"the webhook at {self._webhook.host} was not told how the share ended")
        finally:
            self._task.cancel()
            await self._group.__aexit__(None, None, None)

    def news(self, news: News) -> None:
        """Queue a post about `news`, if it is of the kinds for a webhook. Never waits."""
        if news.kind not in KINDS or self._is_closing:
            return
        if news.kind != "join-failed":
            self._put(news, {})
            return
        self._bundled += 1
        self._last_failed = news
        if self._bundle is None:
            self._tell_failed_joins()

    def _tell_failed_joins(self) -> None:
        """One post about all since the last one; the next comes a while later, if need be."""
        self._bundle = None
        if self._last_failed is not None and self._bundled:
            self._put(self._last_failed, {"count": self._bundled})
            self._bundled = 0
            loop = asyncio.get_running_loop()
            self._bundle = loop.call_later(BUNDLE_SECONDS, self._tell_failed_joins)

    def _end_bundle(self) -> None:
        if self._bundle is not None:
            self._bundle.cancel()
        self._tell_failed_joins()
        if self._bundle is not None:
            self._bundle.cancel()

    def _put(self, news: News, more: Mapping[str, Value]) -> None:
        if len(self._queue) >= MAX_QUEUE:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped == 1:
                self._warn(f"the webhook at {self._webhook.host} is too slow: events are dropped")
        self._queue.append(self._body(news, more))
        self._wake.set()

    def _body(self, news: News, more: Mapping[str, Value]) -> bytes:
        now = round(time.time(), 3)
        text = news.text or sentence(Entry(0, now, news.kind, news.fields, ""), _moment)
        count = more.get("count", 1)
        if isinstance(count, int) and count > 1:
            text = f"{text} ({count} joins failed since the last message)"
        fields = {key: _cut(value) for key, value in (*news.fields.items(), *more.items())}
        message = {"event": news.kind, "text": _for_chat(text), "time": now, "share": self.share}
        return json.dumps(fields | message).encode()

    async def _run(self) -> None:
        """Post what is queued, one after another, until the share ends."""
        while True:
            while self._queue:
                await self._deliver(self._queue.popleft())
            if self._is_closing:
                return
            self._wake.clear()
            await self._wake.wait()

    async def _deliver(self, body: bytes) -> None:
        for turn in range(1, TRIES + 1):
            try:
                await self._post(body)
            except _PostError as error:
                if turn < TRIES and error.again:
                    await asyncio.sleep(RETRY_AFTER)
                    continue
                if not self._is_failing:
                    self._is_failing = True
                    self._warn(f"the webhook at {self._webhook.host} was not told: {error}")
            else:
                self._is_failing = False
            return

    async def _post(self, body: bytes) -> None:
        """One try. Raises _PostError."""
        try:
            async with asyncio.timeout(POST_DEADLINE):
                status = await self._exchange(body)
        except TimeoutError:
            raise _PostError(f"no answer in {POST_DEADLINE:g} s") from None
        except ssl.SSLCertVerificationError as error:
            text = f"its certificate is not valid: {error.verify_message}"
            raise _PostError(text, again=False) from error
        except RefusedError as error:
            raise _PostError(error.text) from error
        except OSError as error:
            raise _PostError((error.strerror or str(error) or "connection lost").lower()) from error
        except h11.RemoteProtocolError as error:
            raise _PostError("it does not answer in HTTP") from error
        if 300 <= status < 400:  # RFC 9110 15: the first digit is the class
            raise _PostError(f"it redirects ({status}), which is not followed", again=False)
        if not 200 <= status < 300:
            raise _PostError(f"it answers {status}", again=status >= 500 or status in _AGAIN)

    async def _exchange(self, body: bytes) -> int:
        """The status of the final answer; its content is not read."""
        webhook = self._webhook
        sock = await dial(webhook.host, webhook.port, POST_DEADLINE)
        try:
            reader, writer = await asyncio.open_connection(
                sock=sock,
                ssl=self._context,
                server_hostname=webhook.host if webhook.is_tls else None,
            )
        except BaseException:
            sock.close()
            raise
        try:
            http = h11.Connection(h11.CLIENT)
            writer.write(_request(http, webhook, body))
            await writer.drain()
            informational = 0
            while not isinstance(event := http.next_event(), h11.Response):
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(RECEIVE))
                    continue
                informational += 1
                if not isinstance(event, h11.InformationalResponse) or informational > MAX_1XX:
                    raise _PostError("it does not answer in HTTP")
            return event.status_code
        finally:
            writer.transport.abort()


def _request(http: h11.Connection, webhook: Webhook, body: bytes) -> bytes:
    headers = [
        ("Host", webhook.authority),
        ("User-Agent", "vshare"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    request = h11.Request(method="POST", target=webhook.target, headers=headers)
    parts = (http.send(request), http.send(h11.Data(body)), http.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


def _for_chat(text: str) -> str:
    """`text` without control characters, and without what chat services take for markup: a
    guest may be called `<!channel>`. They want these three characters written so."""
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    clean = clean[:MAX_TEXT].replace("&", "&amp;")
    return clean.replace("<", "&lt;").replace(">", "&gt;")


def _cut(value: Value) -> Value:
    if not isinstance(value, str):
        return value
    return value[:MAX_TEXT].encode(errors="replace").decode()


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).isoformat(" ", "seconds")
