"""A request is sent again, through a real stage."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import run, until
from tests.vshare.dashboard.small_share import OK, SmallShare, head, seen
from tests.vshare.dashboard.visitor import Browser, opened
from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from vshare.dashboard import replay
from vshare.dashboard.exchange import Exchange
from vshare.dashboard.replay import repeatable
from vshare.dashboard.request_log import RequestLog


async def again(browser: Browser, share: SmallShare, number: int = 1) -> Exchange:
    """The new one, whole."""
    answer = await browser.ask(f"api/requests/{number}/replay", "POST")
    assert answer.status == 200, answer.body
    result = answer.json()["result"]
    assert isinstance(result, dict)
    exchange = share.log.find(result["number"])
    assert exchange is not None
    await until(lambda: exchange.seconds is not None)
    return exchange


def test_a_request_is_sent_again_and_shown() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            asked = head("/x?y", "POST", Content_Length="4", X_Forwarded_Proto="https")
            seen(share.log, asked, sent=b"a\0b\xff", site="docs")
            new = await again(browser, share)
            assert share.carried == [("docs", 443)]
            assert bytes(share.machines[0].sent) == asked.serialize() + b"a\0b\xff"
            assert (new.number, new.replay_of, new.site) == (2, 1, "docs")
            assert (new.status, new.error) == (200, "")
            assert bytes(new.answer_content.data) == b"hello"
            assert bytes(new.request_content.data) == b"a\0b\xff"
            await until(lambda: share.machines[0].code is not None)  # hung up

    run(main)


def test_a_replay_may_be_replayed() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            seen(share.log)
            await again(browser, share)
            assert (await again(browser, share, 2)).replay_of == 2
            assert share.carried == [("", 80), ("", 80)]

    run(main)


def test_a_body_in_chunks_is_sent_in_one_piece() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            asked = head("/", "POST", Transfer_Encoding="chunked", Expect="100-continue")
            seen(share.log, asked, sent=b"hello")
            await again(browser, share)
            sent = head("/", "POST", Content_Length="5").serialize() + b"hello"
            assert bytes(share.machines[0].sent) == sent

    run(main)


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (OK[:-1], 200, "the machine ended the answer early"),
        (b"SSH-2.0-x\r\n", 0, "the machine does not answer in HTTP"),
        (b"HTTP/1.1 500 Oh\r\n\r\nto the end", 500, ""),
    ],
)
def test_how_it_ended_is_shown(answer: bytes, status: int, error: str) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            share.answer = answer
            share.hangs_up = True
            seen(share.log)
            new = await again(browser, share)
            assert (new.status, new.error) == (status, error)

    run(main)


def test_a_machine_that_is_not_reached_is_shown() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            share.unreachable = RefusedError(Code.CONNECTION_REFUSED, "nothing listens there")
            seen(share.log)
            assert (await again(browser, share)).status == 502

    run(main)


def test_what_cannot_be_begun_is_said() -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            seen(share.log, site="gone")
            answer = await browser.ask("api/requests/1/replay", "POST")
            assert answer.status == 409
            assert answer.json()["error"] == "no site of that name is shared"
            assert (await browser.ask("api/requests/9/replay", "POST")).status == 409

    run(main)


def test_a_fault_does_not_end_the_share(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened() as (share, browser):
            share.unreachable = ZeroDivisionError()
            seen(share.log)
            new = await again(browser, share)
            assert new.error == "something went wrong inside the share"
            share.unreachable = None
            assert (await again(browser, share)).status == 200

    run(main)
    assert "a replay met a fault" in caplog.text


def test_an_answer_without_an_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "REPLAY_LASTS", 0.1)

    async def main() -> None:
        async with opened() as (share, browser):
            share.answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
            seen(share.log)
            new = await again(browser, share)
            assert new.error == "no whole answer within 0 seconds"
            assert bytes(new.answer_content.data) == b"data: 1\n\n"
            await until(lambda: share.machines[0].code is not None)

    run(main)


def test_a_large_answer_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_ANSWER", 100_000)

    async def main() -> None:
        async with opened() as (share, browser):
            share.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(150_000)
            seen(share.log)
            new = await again(browser, share)
            assert new.error == "broken off after 0 MiB"
            await until(lambda: share.machines[0].code is not None)

    run(main)


def test_replays_are_few_and_end_with_the_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_REPLAYS", 2)

    async def main() -> None:
        async with opened() as (share, browser):
            share.answer = b""
            seen(share.log)
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(browser.ask("api/requests/1/replay", "POST"))
            third = await browser.ask("api/requests/1/replay", "POST")
            assert third.json()["error"] == "2 replays are under way"
        assert [machine.code is not None for machine in share.machines] == [True, True]

    run(main)


def test_what_did_not_come_whole_is_not_sent_again() -> None:
    log = RequestLog()
    exchanges = [
        seen(log, head("/", "POST", Content_Length="9"), sent=b"half"),
        seen(log, head("/", "POST", Content_Length="70000"), sent=bytes(70_000)),
        seen(log, head("/ws", Connection="keep-alive, Upgrade", Upgrade="websocket"), 101),
    ]
    for exchange, why in zip(exchanges, ("come whole", "too large", "WebSocket"), strict=True):
        with pytest.raises(UsageError, match=why):
            repeatable(exchange)
