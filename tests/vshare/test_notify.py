from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from relay.certificate import make_certificate, make_key
from tests.loops import Factory, both_loops, run, until
from tunnel.errors import UsageError
from vshare import notify
from vshare.news import News, Newsroom
from vshare.notify import MAX_QUEUE, MAX_URL, Notifier, parse_notify, parse_webhook

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SECRET = "/services/T0/B0/s3cr3t?key=s3cr3t"


class Hook:
    """A webhook on loopback that answers with `answers`, one a connection, the last for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers or [OK])
        self.heads: list[bytes] = []
        self.bodies: list[dict[str, object]] = []
        self.holds = asyncio.Event()  # no answer before it is set
        self.holds.set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Hook]:
        """Served until left, and until asyncio's own tasks for that are done."""
        before = asyncio.all_tasks()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
            self.holds.set()
            await until(lambda: asyncio.all_tasks() <= before)

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        """Its URL, with a secret in it."""
        return f"{scheme}://{host}:{self.port}{SECRET}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.heads.append(head)
            self.bodies.append(json.loads(await reader.readexactly(length)))
            await self.holds.wait()
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client had enough
        finally:
            writer.close()


def joined(number: int = 0) -> News:
    return News("joined", f"bob-{number} joined", {"guest": f"bob-{number}", "address": "::1"})


def failed() -> News:
    return News("join-failed", "", {"address": "203.0.113.9", "reason": "wrong code"})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only how long is waited is changed, not what happens then."""
    monkeypatch.setattr(notify, "RETRY_AFTER", 0.01)


@both_loops
def test_what_a_webhook_is_told(factory: Factory) -> None:
    async def main() -> None:
        warnings: list[str] = []
        room = Newsroom()
        async with Hook().serving() as hook:
            before = time.time()
            async with Notifier(hook.url(), "my-share", warnings.append) as notifier:
                room.subscribe(notifier.news)
                room.tell("started", "Sharing.", name="my-share")
                room.tell("joined", "bob joined", guest="bob", address="203.0.113.9")
                room.tell("stream", guest="bob")
                room.tell("kicked", guest="bob")
                room.tell("ended", "", reason="Ctrl-C")
            first, second, third = hook.bodies
            assert first.pop("time") == pytest.approx(before, abs=20)
            assert first == {
                "event": "joined", "text": "bob joined", "share": "my-share",
                "guest": "bob", "address": "203.0.113.9",
            }  # fmt: skip
            assert second["text"] == "bob was removed"
            assert third["text"] == "the share ended: Ctrl-C"
            head = hook.heads[0].decode()
            assert head.startswith(f"POST {SECRET} HTTP/1.1\r\n")
            assert f"host: 127.0.0.1:{hook.port}\r\n" in head.lower()
            assert "content-type: application/json\r\n" in head.lower()
            notifier.news(joined())  # too late, and harmless
        assert not warnings

    run(main, factory)


def test_markup_and_control_characters_of_a_guest() -> None:
    async def main() -> None:
        text = "<!channel> & \x1b[2J joined"
        async with Hook().serving() as hook, Notifier(hook.url(), "my-share", print) as notifier:
            notifier.news(News("joined", text, {"guest": "\ud800"}))
            notifier.news(News("joined", "x" * 5000, {"guest": "y" * 5000}))
        safe = "&lt;!channel&gt; &amp; \N{REPLACEMENT CHARACTER}[2J joined"
        assert hook.bodies[0]["text"] == safe
        assert hook.bodies[0]["guest"] == "?"
        assert (len(str(hook.bodies[1]["text"])), len(str(hook.bodies[1]["guest"]))) == (300, 300)

    run(main)


def test_failed_joins_come_in_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Hook().serving() as hook:
            async with Notifier(hook.url(), "my-share", print) as notifier:
                for _ in range(500):
                    notifier.news(failed())
                await until(lambda: len(hook.bodies) == 1)
            counts = [body["count"] for body in hook.bodies]
            assert counts == [1, 499]
            assert "a join from 203.0.113.9 failed: wrong code (499 joins" in str(
                hook.bodies[1]["text"]
            )
            monkeypatch.setattr(notify, "BUNDLE_SECONDS", 0.05)
            async with Notifier(hook.url(), "my-share", print) as notifier:
                for _ in range(2):
                    notifier.news(failed())
                    notifier.news(failed())
                    await until(lambda: len(hook.bodies) % 2 == 0)
            assert sum(int(str(body["count"])) for body in hook.bodies[2:]) == 4

    run(main)


@both_loops
@pytest.mark.parametrize(
    ("answer", "text", "tries"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404", 1),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "it answers 503", 2),
        (b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n", "it answers 429", 2),
        (b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd\r\n\r\n", "it redirects (302)", 1),
        (b"HTTP/1.1 307 F\r\nLocation: /x\r\n\r\n", "it redirects (307)", 1),
        (b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n", "it does not answer in HTTP", 2),
        (b"", "it does not answer in HTTP", 2),
        (b"SSH-2.0-x\r\n\r\n", "it does not answer in HTTP", 2),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10**6, "it does not answer in HTTP", 2),
    ],
)
def test_a_webhook_that_does_not_take_it(
    factory: Factory, answer: bytes, text: str, tries: int
) -> None:
    async def main() -> None:
        warnings: list[str] = []
        async with Hook(answer).serving() as hook:
            async with Notifier(hook.url(), "my-share", warnings.append) as notifier:
                notifier.news(joined(1))
                notifier.news(joined(2))
            assert len(hook.bodies) == 2 * tries
        (warning,) = warnings  # once per run of failures
        assert warning.startswith(f"the webhook at 127.0.0.1 was not told: {text}")
        assert "s3cr3t" not in warning

    run(main, factory)


def test_a_warning_for_each_run_of_failures() -> None:
    async def main() -> None:
        warnings: list[str] = []
        bad = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        early = b"HTTP/1.1 103 Early\r\n\r\n" + OK
        async with (
            Hook(bad, bad, early, bad, OK).serving() as hook,
            Notifier(hook.url(), "my-share", warnings.append) as notifier,
        ):
            for number in range(6):
                notifier.news(joined(number))
        assert len(hook.bodies) == 6
        assert len(warnings) == 2

    run(main)


def test_the_second_try_may_succeed() -> None:
    async def main() -> None:
        warnings: list[str] = []
        bad = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        async with (
            Hook(bad, OK).serving() as hook,
            Notifier(hook.url(), "my-share", warnings.append) as notifier,
        ):
            notifier.news(joined())
        assert [body["guest"] for body in hook.bodies] == ["bob-0", "bob-0"]
        assert not warnings

    run(main)


@both_loops
def test_nobody_there_and_no_such_host(factory: Factory) -> None:
    async def main() -> None:
        async with Hook().serving() as hook:
            pass
        for url in (hook.url(), f"http://{'x' * 64}.example:1{SECRET}"):
            warnings: list[str] = []
            async with Notifier(url, "my-share", warnings.append) as notifier:
                notifier.news(joined())
                notifier.news(joined())
            assert len(warnings) == 1
            assert "s3cr3t" not in warnings[0]

    run(main, factory)


@both_loops
def test_a_slow_webhook_delays_nothing(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "CLOSING_SECONDS", 0.2)

    async def main() -> None:
        warnings: list[str] = []
        async with Hook().serving() as hook:
            hook.holds.clear()
            async with Notifier(hook.url(), "my-share", warnings.append) as notifier:
                notifier.news(joined(0))
                await until(lambda: hook.bodies)
                for number in range(1, MAX_QUEUE + 11):
                    notifier.news(joined(number))
                assert notifier.dropped == 10
                assert len(warnings) == 1
                assert "events are dropped" in warnings[0]
                hook.holds.set()
                await until(lambda: len(hook.bodies) == 1 + MAX_QUEUE)
                hook.holds.clear()
                notifier.news(News("ended", "", {}))
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 5
            assert "was not told how the share ended" in warnings[1]
        assert hook.bodies[1]["guest"] == "bob-11"  # the oldest made room

    run(main, factory)


def test_a_silent_webhook_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "POST_DEADLINE", 0.05)

    async def main() -> None:
        warnings: list[str] = []
        async with Hook().serving() as hook:
            hook.holds.clear()
            async with Notifier(hook.url(), "my-share", warnings.append) as notifier:
                notifier.news(joined())
                await until(lambda: warnings)
        assert "no answer in 0.05 s" in warnings[0]

    run(main)


def test_an_error_of_the_share_passes_unchanged() -> None:
    async def main() -> None:
        async with Hook().serving() as hook:
            with pytest.raises(ZeroDivisionError):
                await failing(hook)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(cancelled(hook))
                await until(lambda: len(hook.bodies) == 2)
                task.cancel()
        assert [body["event"] for body in hook.bodies] == ["joined", "joined", "ended"]

    async def failing(hook: Hook) -> None:
        async with Notifier(hook.url(), "my-share", print) as notifier:
            notifier.news(joined())
            raise ZeroDivisionError

    async def cancelled(hook: Hook) -> None:
        async with Notifier(hook.url(), "my-share", print) as notifier:
            notifier.news(joined())
            try:
                await asyncio.Event().wait()
            finally:
                notifier.news(News("ended", "", {"reason": "cancelled"}))

    run(main)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-made certificate for loopback, and the certificate."""
    key = make_key()
    pem = make_certificate(key, "hook.example", datetime.datetime.now(datetime.UTC))
    (tmp_path / "hook.pem").write_bytes(key + pem)
    (tmp_path / "ca.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "hook.pem")
    return context, tmp_path / "ca.pem"


@contextlib.contextmanager
def trusting(file: Path) -> Iterator[None]:
    """OpenSSL's own variable for the authorities of this system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.fspath(file))
        yield


@both_loops
def test_tls_is_verified(factory: Factory, certificate: tuple[ssl.SSLContext, Path]) -> None:
    context, authority = certificate

    async def main() -> None:
        async with Hook().serving(context) as hook:
            for trusted, host, text in (
                (authority, "127.0.0.1", ""),
                (authority, "localhost", ""),
                (None, "127.0.0.1", "its certificate is not valid: self-signed certificate"),
                (authority, "x.localhost", "its certificate is not valid: Hostname mismatch"),
            ):
                warnings: list[str] = []
                hook.bodies.clear()
                with trusting(trusted) if trusted else contextlib.nullcontext():
                    url = hook.url("https", host)
                    async with Notifier(url, "my-share", warnings.append) as notifier:
                        notifier.news(joined())
                assert len(hook.bodies) == (not text)
                assert len(warnings) == bool(text)
                assert text in "".join(warnings)

    run(main, factory)


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("http://hooks.example.com", "hooks.example.com", "/"),
        ("https://hooks.example.com:443/a/b?c=d", "hooks.example.com", "/a/b?c=d"),
        ("HTTPS://hooks.example.com:8443?x#y", "hooks.example.com:8443", "/?x"),
        ("http://[::1]:80/x", "[::1]", "/x"),
    ],
)
def test_urls(url: str, authority: str, target: str) -> None:
    webhook = parse_webhook(parse_notify(url))
    assert (webhook.authority, webhook.target) == (authority, target)
    assert "target" not in repr(webhook)


@pytest.mark.parametrize(
    "url",
    [
        "", "s3cr3t", "ftp://x/s3cr3t", "file:///s3cr3t", "https:///s3cr3t", "https://x:99999/s3cr3t",
        "https://x:0/s3cr3t", "https://[x/s3cr3t", "https://x/s3cr3t\r\nX: y", "https://x/s3cr3t y",
        "https://x/s3cr3tä", "https://u:s3cr3t@x/", "https://x/" + "s3cr3t" * MAX_URL, "@",
    ],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_notify(url)
    assert "s3cr3t" not in caught.value.text + caught.value.hint
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, OSError | None)  # no traceback shows it either
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_url_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"https://hooks.example.com{SECRET}\n")
    assert parse_notify(f"@{file}") == f"https://hooks.example.com{SECRET}"
    file.write_text("https://hooks.example.com/" + "s3cr3t" * MAX_URL)
    with pytest.raises(UsageError, match="too long"):
        parse_notify(f"@{file}")
    with pytest.raises(UsageError, match="no such file or directory"):
        parse_notify(f"@{file}.not")
