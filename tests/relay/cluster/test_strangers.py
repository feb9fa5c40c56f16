"""Strangers at the port for nodes, and faults there."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import socket

import pytest

from relay.cluster.node_port import NodePort
from relay.cluster.questions import Questions
from relay.cluster.trust import ClusterTrust
from relay.limits import Admission, budget_for
from relay.routes import Sites
from tests.loops import run, until


@pytest.mark.parametrize("is_bug", [False, True])
def test_who_is_no_node_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_bug: bool
) -> None:
    trust = ClusterTrust(secrets.token_hex(32), "one", datetime.datetime.now(datetime.UTC))

    async def broken(port: NodePort, sock: socket.socket) -> str | None:
        raise ValueError("a fault")

    if is_bug:
        monkeypatch.setattr(NodePort, "_enter", broken)

    async def main() -> None:
        admission = Admission(budget_for(1024))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            port = NodePort(
                listener,
                admission,
                Sites("relay.example"),
                {},
                lambda address: False,
                trust=trust,
                asked=Questions(),
            )
            async with asyncio.TaskGroup() as group:
                task = group.create_task(port.run())
                for _ in range(2):
                    reader, writer = await asyncio.open_connection(*listener.getsockname())
                    writer.write(b"GET / HTTP/1.1\r\n\r\n")
                    with contextlib.suppress(OSError):
                        await reader.read()
                    writer.close()
                await until(lambda: not port.visitors)
                assert not admission.connections
                assert not admission.undecided
                assert not task.done()
                task.cancel()

    run(main)
    assert ("a bug" in caplog.text) == is_bug
