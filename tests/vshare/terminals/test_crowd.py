"""Fifty guests at one terminal, over TLS: one floods, one reads nothing, the sharer types."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

import pytest

from tests.loops import run, until
from tests.share_pair import share_pair
from tests.shared_terminals import MemoryProgram, Watcher
from tests.vshare.terminals.test_viewer_end import Guest
from tunnel.client import Client
from tunnel.terminal_messages import MessageType, Seen, serialize, serialize_payload
from vshare.terminals import hub
from vshare.terminals.identity import SHARER
from vshare.terminals.input_bucket import BURST, PER_SECOND
from vshare.terminals.terminal import Terms

pytestmark = pytest.mark.programs

GUESTS = 50
KEYS = 200
WITHIN = 5.0  # seconds for one key, where everything is slow
G = TypeVar("G", bound=Guest)
FLOOD = serialize(MessageType.INPUT, b"f" * 4096) * 8


class Reader(Guest):
    """Says that it has seen what it got."""

    sees_present = False
    _tail = b""

    def send(self, data: bytes | bytearray | memoryview) -> None:
        super().send(data)
        tail = self._tail + bytes(data)
        self.sees_present |= b"the present" in tail
        self._tail = tail[-32:]
        self.peer.send(serialize_payload(Seen(self.shown)))


async def sit(client: Client, guest: G) -> G:
    end = await client.open_special("terminal")
    guest.peer = end
    end.link(guest)
    return guest


def test_the_sharers_keys_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_OF_ONE", GUESTS)  # they come by one guest's connection

    async def main() -> None:
        async with share_pair() as pair, pair.client() as client:
            terminal = pair.streams.terminals.open("build", Terms(read_write=True))
            program = MemoryProgram(terminal, echo=True)
            sharer = Watcher(pair.streams.terminals, SHARER)
            readers = [await sit(client, Reader()) for _ in range(GUESTS - 2)]
            flooder, stuck = await sit(client, Reader()), await sit(client, Guest())
            await until(lambda: len(terminal.viewers) == GUESTS + 1)
            stuck.peer.pause_reading()
            began = time.monotonic()
            slowest = 0.0
            for _ in range(KEYS):
                flooder.peer.send(FLOOD)
                terminal.output(b"x" * 2048 + b"\r\n")  # what a program writes meanwhile
                pressed = time.monotonic()
                await asyncio.sleep(0)  # a key comes as everything else does: by the loop
                sharer.type(b"S")
                assert sharer.shown.endswith(b"S")  # its echo
                slowest = max(slowest, time.monotonic() - pressed)
            assert slowest < WITHIN
            assert program.typed.count(b"S") == KEYS
            passed = program.typed.count(b"f")
            assert 0 < passed <= BURST + (time.monotonic() - began + 1) * PER_SECOND
            terminal.output(b"\r\nthe present")
            await until(lambda: all(reader.sees_present for reader in readers))
            assert stuck.shown < KEYS * 2048

    run(main)
