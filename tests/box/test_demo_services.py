"""The demo machine's services as they are in the image, as a process on a loopback address."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from box.demo import dns
from box.demo.services import Places

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 20
PAGES = ("", "request", "chat", "files", "about")


def free_ports(address: str) -> Places:
    """Ports nobody has; they may be lost to others, but an address of our own makes it unlikely."""
    sockets = [socket.create_server((address, 0)) for _ in range(3)]
    sockets.append(socket.create_server(("127.0.0.1", 0)))
    http_port, echo, name, private = (sock.getsockname()[1] for sock in sockets)
    for sock in sockets:
        sock.close()
    return Places(address, http_port, private, echo, name)


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    pid = os.getpid()
    where = free_ports(f"127.{pid >> 16 & 127 | 128}.{pid >> 8 & 255}.{pid & 254 | 1}")
    text = f"from box.demo.services import Places, main; main(Places{tuple(where)!r})"
    process = subprocess.Popen([sys.executable, "-c", text], cwd=ROOT, start_new_session=True)
    try:
        for address, port in (
            (where.address, where.http),
            (where.address, where.echo),
            (where.address, where.dns),
            ("127.0.0.1", where.private),
        ):
            wait_for(address, port)
        yield where
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address: str, port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((address, port), 1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def get(places: Places, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(places.address, places.http, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_there_and_links_only_below_itself(places: Places, name: str) -> None:
    status, body = get(places, f"/{name}")
    assert status == 200
    text = body.decode()
    assert text.startswith("<!doctype html>")
    links = re.findall(r'(?:href|src)="([^"]*)"', text)
    assert "style.css" in links
    for link in links:
        assert not re.match(r"/|https?:", link), link
        if not link.startswith(("data:", "large")):
            assert get(places, "/" + link.removeprefix("./"))[0] == 200, link


def test_headers_are_shown_and_cannot_write_html(places: Places) -> None:
    _, body = get(places, "/request", X_Visitor="<script>alert(1)</script>")
    assert b"&lt;script&gt;" in body
    assert b"<script>" not in body


def test_an_unknown_page_is_not_found(places: Places) -> None:
    assert get(places, "/nothing")[0] == 404


def test_a_connection_is_used_again(places: Places) -> None:
    connection = http.client.HTTPConnection(places.address, places.http, timeout=10)
    for path in ("/", "/about", "/nothing"):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock is not None
    connection.close()


@pytest.mark.parametrize("size", [0, 1, 262_144, 1_000_001])
def test_a_download_has_the_size_and_the_digest_it_says(places: Places, size: int) -> None:
    status, body = get(places, f"/large?bytes={size}")
    assert (status, len(body)) == (200, size)
    digest = get(places, f"/large.sha256?bytes={size}")[1].decode().strip()
    assert hashlib.sha256(body).hexdigest() == digest


def test_no_two_chunks_of_a_download_are_alike(places: Places) -> None:
    body = get(places, f"/large?bytes={3 << 18}")[1]
    assert len({body[start : start + (1 << 18)] for start in range(0, len(body), 1 << 18)}) == 3


@pytest.mark.parametrize("query", ["", "?bytes=-1", "?bytes=x", "?bytes=99999999999999"])
def test_a_download_of_no_size_is_refused(places: Places, query: str) -> None:
    assert get(places, f"/large{query}")[0] == 400


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_is_answered_with_its_digest(places: Places, method: str, chunked: bool) -> None:
    body = os.urandom(700_000)
    connection = http.client.HTTPConnection(places.address, places.http, timeout=10)
    parts = iter([body[:1], body[1:500_000], body[500_000:]]) if chunked else body
    connection.request(method, "/upload", parts, encode_chunked=chunked, headers=(
        {"Transfer-Encoding": "chunked"} if chunked else {}))  # fmt: skip
    assert connection.getresponse().read().decode().strip() == hashlib.sha256(body).hexdigest()
    connection.request("GET", "/about")  # nothing of the body is left in the way
    assert connection.getresponse().status == 200
    connection.close()


def test_the_websocket_echoes(places: Places) -> None:
    async def main() -> None:
        url = f"ws://{places.address}:{places.http}/ws"
        async with asyncio.timeout(20), websockets.connect(url, max_size=None) as client:
            for message in ("", "hello", "ü" * 100, os.urandom(126), os.urandom(70_000)):
                await client.send(message)
                assert await client.recv() == message
            await client.send(iter(["in ", "three ", "pieces"]))
            assert await client.recv() == "in three pieces"
            await (await client.ping(b"there?"))
        assert client.close_code == 1000

    asyncio.run(main())


def test_a_plain_request_to_the_websocket_is_told_to_upgrade(places: Places) -> None:
    assert get(places, "/ws")[0] == 426


def test_the_private_page_is_on_the_loopback_alone(places: Places) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{places.private}/", timeout=10) as response:
        assert b"loopback" in response.read()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((places.address, places.private), 5)


def test_tcp_echo_goes_on_after_the_clients_end(places: Places) -> None:
    data = os.urandom(300_000)
    with socket.create_connection((places.address, places.echo), 10) as sock:
        reader = sock.makefile("rb")
        sock.sendall(data[:5])
        assert reader.read(5) == data[:5]
        sock.sendall(data[5:])
        sock.shutdown(socket.SHUT_WR)
        assert reader.read() == data[5:]


@pytest.mark.parametrize("size", [0, 1, 1473, 65_507])
def test_udp_echo(places: Places, size: int) -> None:
    data = os.urandom(size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect((places.address, places.echo))
        sock.send(data)
        assert sock.recv(65_535) == data


@pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed")
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_dig_gets_answers(places: Places, transport: str) -> None:
    def dig(*question: str) -> str:
        command = ["dig", f"@{places.address}", "-p", str(places.dns), transport, "+time=5"]
        return subprocess.run(
            [*command, *question], check=True, capture_output=True, text=True, timeout=20
        ).stdout

    assert dig("+short", "demo.test").split() == ["192.0.2.80"]
    assert dig("+short", "WWW.demo.test").split() == ["192.0.2.81"]
    assert "NXDOMAIN" in dig("nobody.test")
    nothing = dig("demo.test", "AAAA")
    assert "NOERROR" in nothing
    assert "ANSWER: 0" in nothing


@pytest.mark.parametrize(
    "query",
    [
        b"",
        bytes(12),
        struct.pack(">6H", 1, 0x8000, 1, 0, 0, 0) + b"\0\0\1\0\1",  # a response
        struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",  # a pointer
        struct.pack(">6H", 1, 0, 1, 0, 0, 0) + b"\x09demo",
    ],
)
def test_what_is_no_dns_query_is_refused(query: bytes) -> None:
    with pytest.raises(ValueError, match="not a DNS query"):
        dns.answer(query)
