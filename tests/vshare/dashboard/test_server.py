"""The dashboard over the wire."""

from __future__ import annotations

import asyncio
import gzip
import socket
from importlib.resources import files

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from tests.loops import Factory, both_loops, run, until
from tests.vshare.dashboard.small_share import SmallShare, head, seen
from tests.vshare.dashboard.visitor import Browser, enter, opened
from tunnel.errors import VshareError
from vshare import requests
from vshare.dashboard import live, server
from vshare.dashboard.app import MAX_PAGES, site_url
from vshare.dashboard.live import MAX_ROWS
from vshare.dashboard.server import Dashboard


@both_loops
def test_a_link_opens_the_page_once(factory: Factory) -> None:
    async def main() -> None:
        share = SmallShare()
        async with Dashboard(share.parts) as dashboard:
            browser = await enter(dashboard)
            page = await browser.ask()
            assert page.status == 200
            assert b"<title>vshare</title>" in page.body
            again = dashboard.url.partition("?")[2]
            sent = await browser.ask(f"?{again}")
            assert sent.header("cache-control") == "no-store"
            assert sent.header("referrer-policy") == "no-referrer"
            stranger = Browser(browser.port, browser.path)
            assert (await stranger.ask(f"?{again}")).status == 403
            # Who is in already is sent to the page by the old link.
            assert (await browser.ask(f"?{again}")).header("location") == browser.path
            other = await enter(dashboard, dashboard.issue_url())
            assert other.cookie != browser.cookie
            assert (await other.ask()).status == (await browser.ask()).status == 200

    run(main, factory)


def test_looking_at_the_link_does_not_use_it_up() -> None:
    async def main() -> None:
        share = SmallShare()
        async with Dashboard(share.parts) as dashboard:
            path, _, query = dashboard.url.partition("?")
            port = int(path.split(":")[2].partition("/")[0])
            stranger = Browser(port, "/" + path.split("/", 3)[3])
            head_only = await stranger.ask(f"?{query}", "HEAD")
            rebound = await stranger.ask(f"?{query}", Host="evil.example")
            assert (head_only.status, rebound.status) == (403, 403)
            await enter(dashboard)

    run(main)


@pytest.mark.parametrize(
    "target",
    ["", "dashboard.js", "dashboard.css", "qr.svg?text=x", "api/requests/1", "/", "/nowhere"],
)
def test_without_a_cookie_there_is_nothing(target: str) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            seen(share.log)
            answer = await browser.ask(target, Cookie="")
            assert answer.status == 403
            assert browser.path.encode() not in answer.body
            told = await browser.ask("api/command", "POST", b'{"command": "stop"}', Cookie="")
            assert told.status == 403
            assert not share.asked

    run(main)


def test_other_sites_get_nothing() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            stop = b'{"command": "stop"}'
            for changed in (
                {"Host": f"rebound.example:{browser.port}"},
                {"Origin": "http://evil.example"},
                {"Origin": ""},
                {"Sec_Fetch_Site": "cross-site"},
            ):
                answer = await browser.ask("api/command", "POST", stop, **changed)
                assert answer.status == 403, changed
            assert not share.asked
            assert (await browser.ask(Host="rebound.example")).status == 403
            assert (await browser.ask("api/requests/1", Sec_Fetch_Site="same-site")).status == 403

    run(main)


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},
        {"Cookie": "x=y"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_nor_do_their_web_sockets(changed: dict[str, str]) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            with pytest.raises(InvalidStatus) as caught:
                async with browser.look(**changed):
                    pass
            assert caught.value.response.status_code == 403
            assert share.log.is_empty

    run(main)


@pytest.mark.parametrize("target", ["", "dashboard.js", "api/requests/1", "nowhere", "/"])
def test_every_answer_says_what_browsers_may_do(target: str) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            seen(share.log, body=b"<script>", Content_Type="text/html")
            for cookie in (browser.cookie, ""):
                answer = await browser.ask(target, Cookie=cookie)
                policy = answer.header("content-security-policy")
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.header("x-content-type-options") == "nosniff"
                assert answer.header("referrer-policy") == "no-referrer"
                assert answer.header("cache-control") == "no-store"
                assert "access-control-allow-origin" not in answer.head.serialize().decode().lower()

    run(main)


def test_requests_are_kept_while_a_page_is_open() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            async with browser.look() as page:
                first = msgspec.json.decode(await page.recv())
                assert (first["search"], first["oldest"]) == ("", 1)
                assert not share.log.is_empty  # as it is again below
                seen(share.log, head("/a"))
                while "requests" not in (batch := msgspec.json.decode(await page.recv())):
                    pass
                assert batch["requests"][0]["target"] == "/a"
                await page.send('{"search": "path:b"}')
                while "search" not in (batch := msgspec.json.decode(await page.recv())):
                    pass
                assert batch["search"] == "path:b"
                assert "requests" not in batch
            await until(lambda: share.log.is_empty)

    run(main)


@pytest.mark.parametrize("nonsense", ["{}", "x", b"\xff", '{"search": 1}', "[" * 4000, "x" * 5000])
def test_a_page_that_talks_nonsense_is_ended(nonsense: str | bytes) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            async with browser.look() as page:
                await page.send(nonsense)
                await page.wait_closed()
            await until(lambda: share.log.is_empty)

    run(main)


def test_pages_are_few() -> None:
    async def main() -> None:
        async with opened() as (_, browser), asyncio.TaskGroup() as group:
            done = asyncio.Event()

            async def look() -> None:
                async with browser.look() as page:
                    await page.recv()
                    ready.release()
                    await done.wait()

            ready = asyncio.Semaphore(0)
            for _ in range(MAX_PAGES):
                group.create_task(look())
            for _ in range(MAX_PAGES):
                await ready.acquire()
            async with browser.look() as page:
                with pytest.raises(ConnectionClosed) as caught:
                    await page.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1013
            done.set()

    run(main)


def keep_full(transport: asyncio.Transport) -> None:
    """The kernel takes as little as it can."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


def test_a_slow_browser_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BATCH_EVERY", 0.0)
    rounds, each, wide = 150, 20, "/" + "x" * 300
    message = MAX_ROWS * 600  # bytes, at most

    async def main() -> None:
        share = SmallShare()
        async with Dashboard(share.parts) as dashboard:
            browser = await enter(dashboard)
            async with browser.look() as page:
                page.transport.pause_reading()
                (connection,) = dashboard._state.connections
                there = connection.transport
                keep_full(there)
                largest = 0
                for _ in range(rounds):
                    for _ in range(each):
                        seen(share.log, head(wide))
                    await asyncio.sleep(0)
                    largest = max(largest, there.get_write_buffer_size())
                assert 0 < largest < 2 * message
                page.transport.resume_reading()
                told = 0
                while told < rounds * each:
                    batch = msgspec.json.decode(await page.recv())
                    told = max([told, *(row["number"] for row in batch.get("requests", ()))])

    run(main)


def test_a_page_that_goes_as_the_share_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "BATCH_EVERY", 0.0)

    async def main() -> None:
        share = SmallShare()
        async with Dashboard(share.parts) as dashboard:
            browser = await enter(dashboard)
            looking = browser.look()
            page = await looking.__aenter__()
            (connection,) = dashboard._state.connections
            page.transport.pause_reading()
            keep_full(connection.transport)
            while not connection.transport.get_write_buffer_size():  # so its end takes time
                for _ in range(100):
                    seen(share.log, head("/" + "x" * 300))
                await asyncio.sleep(0)
            page.protocol.send_close(1001)
            page.transport.write(b"".join(page.protocol.data_to_send()))
            await until(lambda: connection.conn.state is State.CLOSING)  # type: ignore[union-attr]
        page.transport.abort()
        await looking.__aexit__(None, None, None)

    run(main)


def test_the_details_of_a_request() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            body = gzip.compress(b'{"a": 1}')
            kind = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
            exchange = seen(share.log, head("/x", "POST"), 201, body, b"sent", "docs", **kind)
            answer = await browser.ask("api/requests/1")
            details = answer.json()
            assert answer.header("content-type") == "application/json"
            assert details["summary"] == msgspec.to_builtins(exchange.summary())
            assert details["request"] == {
                "line": "POST /x HTTP/1.1",
                "fields": [["Host", "frosty-weasel-0857.relay.example"]],
                "body": {"text": "sent", "note": "", "is_text": True, "size": 4, "kept": 4},
            }
            answered = details["answer"]
            assert isinstance(answered, dict)
            assert answered["line"] == "HTTP/1.1 201 OK"
            assert answered["body"]["text"] == '{"a": 1}'
            share.log.watch("", head("/slow"))
            assert (await browser.ask("api/requests/2")).json()["answer"] is None
            assert (await browser.ask("api/requests/3")).status == 404
            assert (await browser.ask("api/requests/3/curl")).status == 404
            curl = await browser.ask("api/requests/1/curl")
            url = "https://frosty-weasel-0857--docs.relay.example/x"
            assert curl.body.startswith(f"curl '{url}' \\\n".encode())

    run(main)


def test_what_was_too_large_is_not_made_a_command() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            seen(share.log, head("/x", "POST"), sent=bytes(70_000))
            answer = await browser.ask("api/requests/1/curl")
            assert answer.status == 409
            assert answer.json()["error"] == "the request's body was too large to be kept"

    run(main)


def test_buttons_do_what_other_terminals_do() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            kicked = await browser.command(command="kick", guest="bob")
            assert kicked.json() == {"ok": True, "result": {"guest": "bob"}}
            again = await browser.command(command="kick", guest="bob")
            assert again.status == 409
            assert again.json()["error"] == "there is no guest 'bob'"
            extended = await browser.command(command="extend", seconds=7200)
            assert extended.json()["ok"]
            await browser.command(command="stop")
            assert share.stopped
            assert share.asked == [
                requests.Kick("bob"),
                requests.Kick("bob"),
                requests.Extend(7200),
                requests.Stop(),
            ]

    run(main)


@pytest.mark.parametrize(
    "body",
    [
        b'{"command": "code", "rotate": true}',
        b'{"command": "status"}',
        b'{"command": "unfence", "port": 22}',
        b'{"command": "extend", "seconds": 1}',
        b'{"command": "approve", "guest": "x"}',  # this share has nobody waiting
        b"nonsense",
        b"",
        b" " * 20_000,
    ],
)
def test_other_commands_are_for_terminals(body: bytes) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            answer = await browser.ask("api/command", "POST", body)
            assert answer.status == 409
            assert not answer.json()["ok"]
            assert not share.asked

    run(main)


def test_a_command_is_not_read_for_long() -> None:
    async def main() -> None:
        async with opened() as (_, browser):
            begin = b" " * (requests.MAX_REQUEST + 1)
            answer = await browser.ask("api/command", "POST", begin, Content_Length="9999999")
            assert answer.json()["error"] == "the command is too large"

    run(main)


def test_the_qr_code_is_a_picture() -> None:
    async def main() -> None:
        async with opened() as (_, browser):
            answer = await browser.ask("qr.svg?text=https%3A%2F%2Fx.example")
            assert answer.header("content-type").startswith("image/svg+xml")
            assert b"<svg" in answer.body
            assert (await browser.ask("qr.svg")).status == 400
            assert (await browser.ask("qr.svg?text=" + "x" * 400)).status == 400

    run(main)


@both_loops
def test_pages_and_requests_end_with_the_share(
    factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LAST_WORDS", 1_000.0)  # none of them is waited for

    async def main() -> None:
        share = SmallShare()
        async with Dashboard(share.parts) as dashboard:
            browser = await enter(dashboard)
            looking = browser.look()
            page = await looking.__aenter__()
            await page.recv()
            # A command that does not come whole.
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
            fields = f"Host: 127.0.0.1:{browser.port}\r\nOrigin: {browser.origin}\r\n"
            fields += f"Cookie: {browser.cookie}\r\nContent-Length: 100\r\n\r\n"
            writer.write(f"POST {browser.path}api/command HTTP/1.1\r\n{fields}half".encode())
            idle = await asyncio.open_connection("127.0.0.1", browser.port)
            await until(lambda: len(dashboard._state.connections) == 3)
        await page.wait_closed()
        await looking.__aexit__(None, None, None)
        assert not share.newsroom._listeners
        assert b"200" not in await reader.read()
        assert await idle[0].read() == b""
        writer.close()
        idle[1].close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", browser.port)

    run(main, factory)


async def is_ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)

    async def main() -> None:
        async with opened() as (_, browser):
            streams = [await asyncio.open_connection("127.0.0.1", browser.port) for _ in range(5)]
            async with asyncio.TaskGroup() as group:
                ends = [group.create_task(is_ended(reader)) for reader, _ in streams]
                await until(lambda: sum(end.done() for end in ends) == 3)
                for _, writer in streams:
                    writer.close()
            assert (await browser.ask()).status == 200

    run(main)


def test_who_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FIRST_REQUEST_WITHIN", 0.02)

    async def main() -> None:
        async with opened() as (_, browser):
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.port)
            writer.write(b"GET / HTTP/1.1\r\nHo")
            assert await is_ended(reader)
            writer.close()

    run(main)


def test_a_port_that_is_taken_is_said() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with pytest.raises(VshareError, match=f"127.0.0.1:{port}: address already in use"):
                async with Dashboard(SmallShare().parts, port):
                    pass

    run(main)


def test_the_page_has_no_script_but_its_own() -> None:
    """What the policy forbids would not work, and a browser alone would tell."""
    folder = files("vshare.dashboard") / "static"
    page, script = (folder / name for name in ("index.html", "dashboard.js"))
    assert page.read_text().count("<script") == 1
    assert " style=" not in page.read_text()
    assert " on" not in page.read_text().replace(" on the", "").replace(" once", "")
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in script.read_text()


@pytest.mark.parametrize(
    ("url", "label", "site"),
    [
        ("https://a-b-1.relay.example:8443", "", "https://a-b-1.relay.example:8443"),
        ("http://a-b-1.relay.example/", "docs", "http://a-b-1--docs.relay.example"),
        ("https://sole.example", "", "https://sole.example"),
    ],
)
def test_urls_of_sites(url: str, label: str, site: str) -> None:
    state = requests.ShareState("a-b-1", "shop", "r", url, "c", 0.0, 0, "all")
    assert site_url(state, label) == site
