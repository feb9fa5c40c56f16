"""`vconnect` in this process, with a share and a relay in it too."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from connect_vm import session
from connect_vm.notices import Notices
from connect_vm.session import Options, connect
from relay.config import RelayConfig
from relay.server import Relay
from tests.share_pair import share_pair, tcp_service
from tunnel import draining
from tunnel.alerts import AccessLostError, ShareNotFoundError
from tunnel.console import Console, Interrupt
from tunnel.errors import UsageError, VshareError
from vshare.options import Options as ShareOptions
from vshare.share import share_up


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(25):
            await work()

    asyncio.run(bounded())


class Screen(Console):
    """Keeps the events, and tells when one comes."""

    def __init__(self) -> None:
        super().__init__("test", as_json=True)
        self.events: list[dict[str, Any]] = []
        self._came = asyncio.Event()

    def event(self, **event: object) -> None:
        if event:
            self.events.append(event)
            self._came.set()

    async def came(self, name: str) -> dict[str, Any]:
        while True:
            for event in self.events:
                if event["event"] == name:
                    return event
            self._came.clear()
            await self._came.wait()


@contextlib.asynccontextmanager
async def sharing(**options: Any) -> AsyncIterator[dict[str, Any]]:
    """`vshare up` of this host; gives its `started` event."""
    screen, interrupt = Screen(), Interrupt()
    wanted = ShareOptions(target="127.0.0.1", http=False, **options)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(share_up(wanted, screen, interrupt))
        yield await screen.came("started")
        interrupt.stopped.set()
        await asyncio.wait([task])


def connecting(share: dict[str, Any], tmp_path: Path, **options: Any) -> Options:
    path = tmp_path / "code"
    path.write_text(share["code"])
    return Options(line=share["connect"], code_file=path, static_ip=False, **options)


async def through_socks(address: str, name: str, port: int) -> bytes:
    """Say hello to `name`:`port` through SOCKS5 (RFC 1928), and what comes back."""
    host, _, socks_port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(socks_port))
    try:
        writer.write(b"\x05\x01\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        label = name.encode()
        writer.write(b"\x05\x01\x00\x03" + bytes([len(label)]) + label + port.to_bytes(2, "big"))
        answer = await reader.readexactly(10)
        if answer[1]:
            return answer[1:2]
        writer.write(b"hello")
        return await reader.readexactly(5)
    finally:
        writer.close()


def test_from_both_command_lines_to_a_stream(tmp_path: Path) -> None:
    async def main() -> None:
        async with tcp_service() as port, sharing() as share:
            screen, interrupt = Screen(), Interrupt()
            async with asyncio.TaskGroup() as group:
                group.create_task(connect(connecting(share, tmp_path), screen, interrupt))
                socks = (await screen.came("socks"))["address"]
                await screen.came("running")
                assert await through_socks(socks, share["name"], port) == b"hello"
                assert await through_socks(socks, share["name"], 22) == b"\x02"  # not allowed
                interrupt.stopped.set()
            assert screen.events[-1] == {"event": "ended", "reason": "interrupted"}
        assert share["code"] not in str(screen.events)

    run(main)


async def pipe_through_socks(address: str, name: str, port: int, data: bytes) -> None:
    """What `cat FILE | nc` does: send all, close, and be gone."""
    host, _, socks_port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    with socket.create_connection((host, int(socks_port))) as sock:
        sock.setblocking(False)
        label = name.encode()
        ask = b"\x05\x01\x00\x03" + bytes([len(label)]) + label + port.to_bytes(2, "big")
        await loop.sock_sendall(sock, b"\x05\x01\x00" + ask)
        for _ in range(12):
            assert await loop.sock_recv(sock, 1)
        await loop.sock_sendall(sock, data)


@pytest.mark.parametrize("in_time", [True, False])
def test_what_a_program_sent_before_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_time: bool
) -> None:
    """It has closed; the machine, which is slow, gets all of it, or sees that it is not all."""
    monkeypatch.setattr(draining, "SLOW_AFTER", 0.0)  # told although the process is kept waiting
    monkeypatch.setattr(session, "DRAIN_WITHIN", 10.0 if in_time else 0.2)
    data = bytes(5_000_000)

    async def read(sock: socket.socket) -> int:
        got = 0
        with sock:
            while piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
                got += len(piece)
        return got

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = listener.getsockname()[1]
            async with sharing() as share:
                screen, interrupt = Screen(), Interrupt()
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(
                        connect(connecting(share, tmp_path), screen, interrupt)
                    )
                    socks = (await screen.came("socks"))["address"]
                    await screen.came("running")
                    await pipe_through_socks(socks, share["name"], port, data)
                    machine, _ = await asyncio.get_running_loop().sock_accept(listener)
                    interrupt.stopped.set()
                    assert (await screen.came("draining"))["streams"] == 1
                    if in_time:
                        assert await read(machine) == len(data)
                    await running
            if not in_time:  # the share has ended as well
                with contextlib.suppress(ConnectionResetError):
                    assert await read(machine) == len(data)  # no less
        told = [event["event"] for event in screen.events]
        assert ("cut-off" in told) is not in_time

    run(main)


def test_only_the_named_ports(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            tcp_service() as port,
            tcp_service() as other,
            sharing(ports=(port,)) as share,
        ):
            screen, interrupt = Screen(), Interrupt()
            async with asyncio.TaskGroup() as group:
                group.create_task(connect(connecting(share, tmp_path), screen, interrupt))
                socks = (await screen.came("socks"))["address"]
                assert await through_socks(socks, share["name"], port) == b"hello"
                assert await through_socks(socks, share["name"], other) == b"\x02"
                interrupt.stopped.set()

    run(main)


def test_the_share_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GONE_AFTER", 0.5)

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            screen = Screen()

            async def outlive(options: Options) -> None:
                with pytest.raises(ExceptionGroup) as caught:
                    await connect(options, screen, Interrupt())
                assert caught.group_contains(VshareError, match="the share has ended")

            async with (
                asyncio.TaskGroup() as group,
                sharing(relay=str(relay.address)) as share,
            ):
                group.create_task(outlive(connecting(share, tmp_path)))
                await screen.came("running")
            assert "ended" in [event.get("kind") for event in screen.events]
            assert "lost" not in [event["event"] for event in screen.events]

    run(main)


def test_the_relay_is_started_again_meanwhile(tmp_path: Path) -> None:
    """Both sides come back, although the relay at first knows no share."""

    async def main() -> None:
        async with tcp_service() as port, contextlib.AsyncExitStack() as first:
            relay = await first.enter_async_context(Relay(RelayConfig(state_dir=tmp_path)))
            again = RelayConfig(port=relay.port, state_dir=tmp_path)
            async with sharing(relay=str(relay.address)) as share:
                screen, interrupt = Screen(), Interrupt()
                async with asyncio.TaskGroup() as group:
                    group.create_task(connect(connecting(share, tmp_path), screen, interrupt))
                    socks = (await screen.came("socks"))["address"]
                    await screen.came("running")
                    await first.aclose()
                    await screen.came("lost")
                    async with Relay(again):
                        await screen.came("back")
                        assert await through_socks(socks, share["name"], port) == b"hello"
                        interrupt.stopped.set()

    run(main)


def test_a_relay_without_the_share_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that was started again says for a while that there is no such share."""
    monkeypatch.setattr(session, "LOOK_EVERY", 0.01)

    async def main() -> None:
        async with share_pair() as pair:
            client, interrupt, quiet = pair.client(), Interrupt(), Notices(Screen())
            client.pool.state = ShareNotFoundError("no such share")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(session.until_the_end(client, interrupt, quiet))
                done, _ = await asyncio.wait([task], timeout=0.2)
                assert not done
                interrupt.stopped.set()
            client.pool.state = AccessLostError("not any more")
            with pytest.raises(VshareError, match="not any more"):
                await session.until_the_end(client, Interrupt(), quiet)

    run(main)


def test_a_share_that_has_expired(tmp_path: Path) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            screen = Screen()
            options = ShareOptions(
                target="127.0.0.1", http=False, relay=str(relay.address), expires_in=0.3
            )
            with pytest.raises(VshareError, match="expired"):
                await share_up(options, screen, Interrupt())
            share = await screen.came("started")
            with pytest.raises(VshareError, match="no share named") as late:
                await connect(connecting(share, tmp_path), Screen(), Interrupt())
            assert "expired" in late.value.hint

    run(main)


def test_the_code_comes_after_the_rest_was_looked_at(tmp_path: Path) -> None:
    """A static IP that cannot be must not cost an attempt, nor the typing of a code."""

    async def main() -> None:
        options = Options(line="abc@127.0.0.1:1", code_file=tmp_path / "none", ip="8.8.8.8")
        with pytest.raises(UsageError, match="not a private address"):
            await connect(options, Screen(), Interrupt())

    run(main)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"machine": 1}', b"\xff", b"[" * 10_000])
def test_what_the_share_says_about_itself_is_checked(content: bytes) -> None:
    with pytest.raises(VshareError, match="not understood"):
        session._decode(content, session.ShareInfo)
