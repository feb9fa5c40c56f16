"""The direct way from both command lines on, in this process; loopback stands for a network."""

from __future__ import annotations

import asyncio
import ipaddress
from pathlib import Path
from typing import Any

import pytest

from connect_vm import ways
from connect_vm.notices import Notices
from connect_vm.session import Watch, connect
from relay.config import RelayConfig
from relay.server import Relay
from tests.connect_vm.test_session import Screen, connecting, run, sharing, through_socks
from tests.share_pair import tcp_service
from tunnel.address import RelayAddress
from tunnel.console import Interrupt
from tunnel.lan import Interface, lan_interfaces, no_networks
from tunnel.names import ShareName
from vshare import requests, share
from vshare.options import Options
from vshare.running import choose_share

LOOPBACK = ipaddress.ip_interface("127.0.0.1/8")


def networks() -> list[Interface]:
    return [LOOPBACK]


@pytest.fixture(autouse=True)
def _one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(share, "lan_interfaces", networks)
    monkeypatch.setattr(ways, "lan_interfaces", networks)
    monkeypatch.setattr(share, "is_loopback", lambda host: False)


async def path(tmp_path: Path, share_options: dict[str, Any], **options: Any) -> list[Any]:
    """The events `path` until a stream has gone through, of which one comes at once if any."""
    async with (
        Relay(RelayConfig()) as relay,
        tcp_service() as port,
        sharing(relay=str(relay.address), **share_options) as shared,
    ):
        screen, interrupt = Screen(), Interrupt()
        async with asyncio.TaskGroup() as group:
            group.create_task(connect(connecting(shared, tmp_path, **options), screen, interrupt))
            socks = (await screen.came("socks"))["address"]
            if not (share_options or options):
                await screen.came("path")
            assert await through_socks(socks, shared["name"], port) == b"hello"
            running = await asyncio.to_thread(choose_share, shared["name"])
            told = await asyncio.to_thread(running.ask, requests.Guests(), requests.GuestList)
            assert bool(told.guests[0].direct) is not bool(share_options or options)
            interrupt.stopped.set()
        assert (await screen.came("running"))["path"] in ("direct", "relay")
        return [event for event in screen.events if event["event"] == "path"]


def test_in_one_network_streams_go_directly(tmp_path: Path) -> None:
    async def main() -> None:
        (event,) = await path(tmp_path, {})
        assert event["value"] == "direct"
        assert event["address"].startswith("127.0.0.1:")

    run(main)


def test_the_sharer_wants_the_relay(tmp_path: Path) -> None:
    async def main() -> None:
        assert await path(tmp_path, {"direct": False}) == []

    run(main)


def test_the_guest_wants_the_relay(tmp_path: Path) -> None:
    async def main() -> None:
        assert await path(tmp_path, {}, relay_only=True) == []

    run(main)


@pytest.mark.parametrize(
    ("options", "host", "listens"),
    [
        (Options(), "relay.example.org", True),
        (Options(), "203.0.113.10", True),
        (Options(lan=True), "192.168.1.5", True),
        (Options(), "127.0.0.1", False),  # for guests on this host alone
        (Options(), "localhost", False),
        (Options(direct=False), "relay.example.org", False),
    ],
)
def test_when_the_share_listens(
    options: Options, host: str, listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    expected = lan_interfaces if listens else no_networks
    assert share._networks(options, RelayAddress(host)) is expected


def test_what_is_told_of_it() -> None:
    screen = Screen()
    watch = Watch(ShareName("a-b"), screen, Notices(screen))
    place = (ipaddress.ip_address("192.168.1.5"), 40123)
    watch.way_changed(place, "")
    watch.way_changed(None, "no answer")
    assert screen.events == [
        {"event": "path", "value": "direct", "address": "192.168.1.5:40123"},
        {"event": "path", "value": "relay", "text": "no answer"},
    ]
