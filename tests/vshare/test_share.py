from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from relay import control
from relay.config import RelayConfig
from relay.ends import end_share
from relay.server import Relay
from tests.share_pair import TcpService, tcp_service
from tunnel.address import RelayAddress
from tunnel.console import Console, Interrupt
from tunnel.control import Ended
from tunnel.errors import RemoteProtocolError, VshareError
from vshare.options import Options
from vshare.refusals import EXIT_ENDED, RelayEndedError
from vshare.share import _own_name, share_up

WITHIN = 25.0  # seconds


@pytest.fixture(autouse=True)
def own_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Logs and sockets of these shares are not among the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir(mode=0o700)


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WITHIN):
            await work()

    asyncio.run(bounded())


class Screen(Console):
    """Keeps the events; `started` is done with the share's first."""

    def __init__(self) -> None:
        super().__init__("test", as_json=True)
        self.events: list[dict[str, Any]] = []
        self.started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def event(self, **event: object) -> None:
        self.events.append(event)
        if event.get("event") == "started":
            self.started.set_result(event)


@dataclass
class Running:
    screen: Screen
    interrupt: Interrupt
    task: asyncio.Task[None]


@contextlib.asynccontextmanager
async def sharing(options: Options) -> AsyncIterator[Running]:
    """`vshare up` in this process, started."""
    screen, interrupt = Screen(), Interrupt()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(share_up(options, screen, interrupt))
        await screen.started
        yield Running(screen, interrupt, task)
        interrupt.stopped.set()


class Web(TcpService):
    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def get(relay: RelayAddress, name: str) -> bytes:
    """The status line of a browser's request for the share."""
    reader, writer = await asyncio.open_connection(relay.host, relay.port)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\n\r\n".encode())
        return (await reader.readline()).strip()
    finally:
        writer.close()


def test_a_share_expires_by_itself() -> None:
    async def main() -> None:
        options = Options(target="127.0.0.1", http=False, expires_in=0.3)
        screen = Screen()
        with pytest.raises(VshareError, match="the share has expired"):
            await share_up(options, screen, Interrupt())
        assert (screen.events[-1]["event"], screen.events[-1]["reason"]) == ("ended", "expired")

    run(main)


@pytest.mark.parametrize(
    ("by_operator", "reason", "text"),
    [(False, "page", "from the relay's pages"), (True, "operator", "the relay's operator has")],
    ids=["page", "operator"],
)
def test_one_that_is_ended_at_the_relay_stays_so(
    *, by_operator: bool, reason: str, text: str
) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            options = Options(target="127.0.0.1", http=False, relay=str(relay.address))
            with pytest.RaisesGroup(pytest.RaisesExc(RelayEndedError, match=text)) as raised:
                async with sharing(options) as share:
                    (session,) = relay.registry.shares()
                    end_share(session, lambda share: None, by_operator=by_operator)
                    await asyncio.wait([share.task])
            (error,) = raised.value.exceptions
            assert isinstance(error, RelayEndedError)
            assert error.exit_code == EXIT_ENDED
            assert share.screen.events[-1]["reason"] == reason
            assert not relay.registry.shares()

    run(main)


def test_the_relay_may_grant_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_LEASE", 3600.0)

    async def main() -> None:
        async with sharing(Options(target="127.0.0.1", http=False)) as share:
            started = await share.screen.started
            assert started["expires_at"] == pytest.approx(time.time() + 3600, abs=30)

    run(main)


def test_a_chosen_name_is_had_again() -> None:
    """The relay gives a name to its key alone, for days after the share has ended."""

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            options = Options(
                target="127.0.0.1", http=False, relay=str(relay.address), name="my-share"
            )
            for _ in range(2):
                async with sharing(options) as share:
                    assert (await share.screen.started)["name"] == "my-share"

    run(main)


def test_the_relay_ends_and_returns_with_another_gateway_key(tmp_path: Path) -> None:
    """The share publishes again, so that the URL works again."""

    async def main() -> None:
        async with tcp_service(Web) as port, contextlib.AsyncExitStack() as first:
            relay = await first.enter_async_context(Relay(RelayConfig(state_dir=tmp_path)))
            address = relay.address
            options = Options(target="127.0.0.1", http_port=port, relay=str(address))
            async with sharing(options) as share:
                name = (await share.screen.started)["name"]
                assert await get(address, name) == b"HTTP/1.1 200 OK"
                await first.aclose()
                (tmp_path / "gateway.key").unlink()
                async with Relay(RelayConfig(port=address.port, state_dir=tmp_path)):
                    while await get(address, name) != b"HTTP/1.1 200 OK":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)  # the share is on its way back
                    share.interrupt.stopped.set()
                    await share.task

    run(main)


def test_a_share_that_the_relay_ends_says_so() -> None:
    """The relay's last word ends the command with an error, not with a traceback."""

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            options = Options(target="127.0.0.1", http=False, relay=str(relay.address))
            screen = Screen()

            async def close_it() -> None:
                await screen.started
                (only,) = relay.registry.shares()
                only.send(Ended("closed", "closed on the relay's page"))

            async with asyncio.TaskGroup() as group:
                group.create_task(close_it())
                with pytest.raises(VshareError, match="the relay ended the share: closed on"):
                    await share_up(options, screen, Interrupt())

    run(main)


@pytest.mark.parametrize("name", ["", "x", "a b", "../..", "\x1b[31mred", "https://x", "a" * 300])
def test_the_relays_name_is_checked(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="a name that is none"):
        _own_name(name, None)


def test_the_relay_cannot_choose_another_name() -> None:
    assert _own_name("my-share", "My-Share") == "my-share"
    with pytest.raises(RemoteProtocolError, match="in place of"):
        _own_name("other-share", "my-share")
