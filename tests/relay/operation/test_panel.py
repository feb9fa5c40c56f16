"""What the operator's programs are told, by a relay with a share and a visitor."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client.parser import text_string_to_metric_families

from relay.config import RelayConfig
from relay.operation import health
from relay.server import Relay
from tests.loops import run, until
from tests.relay.tiny_share import tiny_share

NAME = "quiet-otter-lamp"


async def ask(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """The status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body.decode()


async def metrics(port: int) -> dict[str, float]:
    """All samples, by name and labels."""
    status, text = await ask(port, "/metrics")
    assert status == 200
    return {
        sample.name + "".join(f" {label}" for label in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def relay_with_panel(state_dir: Path | None = None) -> Relay:
    return Relay(RelayConfig(state_dir=state_dir, metrics=("127.0.0.1", 0)))


def test_a_share_a_visitor_and_who_is_refused() -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            writer.close()

        site = await asyncio.start_server(answer, "127.0.0.1", 0)
        http_port = site.sockets[0].getsockname()[1]
        key = Ed25519PrivateKey.generate()
        async with site, relay_with_panel() as relay:
            at = relay.metrics_port
            async with tiny_share(relay.address, http_port, name=NAME, key=key):
                share = relay.registry.shares()[0]
                await until(lambda: len(share.lot) == 4)
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
                host = f"{NAME}.localhost"
                writer.write(f"GET /secret-path HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert b" 204 " in await reader.readline()
                writer.close()
                await until(lambda: not relay.registry.accounting.visits)
                there = await metrics(at)
                assert (there["vrelay_shares"], there["vrelay_registrations_total"]) == (1, 1)
                assert there["vrelay_parked_connections"] >= 1
                assert there["vrelay_lots_empty"] == 0
                assert there["vrelay_http_requests_total 2xx"] == 1
                assert there["vrelay_streams_opened_total http"] == 1
                assert there["vrelay_stream_bytes_total out http"] > 10
                assert there["vrelay_http_request_duration_seconds_count"] == 1
                assert there["vrelay_certificate_expiry_timestamp_seconds"] > 1.7e9
                assert 0 < there["process_open_fds"] < there["process_max_fds"]
                _, text = await ask(at, "/metrics")
                assert not re.search(rf"{NAME}|secret-path|127\.0\.0\.1", text)
            gone = await metrics(at)
            assert (gone["vrelay_shares"], gone["vrelay_shares_ended_total ended"]) == (0, 1)

    run(main)


def test_nothing_of_it_is_on_the_public_port() -> None:
    async def main() -> None:
        async with relay_with_panel() as relay:
            assert relay.metrics_port not in (0, relay.port)
            for path in ("/metrics", "/readyz"):
                assert (await ask(relay.port, path))[0] == 404
        async with Relay(RelayConfig()) as relay:
            assert relay.metrics_port == 0

    run(main)


def test_health(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "state"
        async with relay_with_panel(folder) as relay:
            at = relay.metrics_port
            assert await ask(at, "/healthz") == (200, '{"status": "ok"}\n')
            assert await ask(at, "/healthz", "HEAD") == (200, "")
            status, body = await ask(at, "/readyz")
            assert (status, json.loads(body)["status"]) == (200, "ok")
            assert (await ask(at, "/nothing"))[0] == 404
            assert (await ask(at, "/metrics", "POST"))[0] == 405

    run(main)


def test_a_relay_that_drains_is_not_ready_and_says_so() -> None:
    async def main() -> None:
        async with relay_with_panel() as relay:
            assert (await ask(relay.metrics_port, "/readyz"))[0] == 200
            async with asyncio.timeout(10):
                await relay.leaving.run(succeeded=False)
            status, body = await ask(relay.metrics_port, "/readyz")
            assert (status, json.loads(body)["checks"]["listening"]) == (503, "it drains")
            assert (await ask(relay.metrics_port, "/healthz"))[0] == 200
            assert (await metrics(relay.metrics_port))["vrelay_draining"] == 1

    run(main)


def test_a_disk_that_hangs_is_told_and_asked_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, asked = threading.Event(), []

    def write(folder: Path) -> None:
        asked.append(folder)
        assert hangs.wait(10)

    async def main() -> None:
        async with relay_with_panel(tmp_path / "state") as relay:
            monkeypatch.setattr(health, "write_and_remove", write)
            monkeypatch.setattr(health, "WRITE_WITHIN", 0.01)
            monkeypatch.setattr(health, "ASK_AGAIN_AFTER", 0.0)
            for _ in range(2):
                status, body = await ask(relay.metrics_port, "/readyz")
                assert (status, len(asked)) == (503, 1)
                assert "takes longer" in json.loads(body)["checks"]["state"]
            hangs.set()

    run(main)


def test_what_speaks_no_http_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with relay_with_panel() as relay:
            for sent in (b"\x16\x03\x01" + bytes(20_000), b"GET / HTTP/1.1\r\nX: " + bytes(10_000)):
                reader, writer = await asyncio.open_connection("127.0.0.1", relay.metrics_port)
                writer.write(sent)
                try:
                    assert await reader.read() == b""
                except ConnectionResetError:
                    pass
                writer.close()
            assert (await ask(relay.metrics_port, "/healthz"))[0] == 200

    run(main)


def test_a_visitor_of_nothing_is_counted() -> None:
    async def main() -> None:
        async with relay_with_panel() as relay:
            context = ssl.create_default_context()
            context.set_alpn_protocols(["vshare/1"])
            try:
                await asyncio.open_connection(
                    "127.0.0.1", relay.port, ssl=context, server_hostname=f"{'0' * 32}.invalid"
                )
            except (ssl.SSLError, ConnectionError):
                pass
            there = await metrics(relay.metrics_port)
            assert there["vrelay_visitors_refused_total unknown"] == 1

    run(main)
