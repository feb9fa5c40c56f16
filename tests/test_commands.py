"""The three commands as a user runs them, on loopback: no VM, no namespaces, no root."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import socks

from tests.vshare.peers import openssh

pytestmark = pytest.mark.programs

BIN = Path(sys.executable).parent
WAIT = 30.0
SECRET = b"the quick brown payload that nobody between may see " * 400


class Site(BaseHTTPRequestHandler):
    """A little site: a page at /, the SHA-256 of what is posted."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"<title>the shared machine</title>" + SECRET
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        body = hashlib.sha256(data).hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the probe hangs up when it has its answer
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Command:
    """A command under way: its JSON events, its end."""

    process: subprocess.Popen[str]
    errors: Path
    seen: list[dict[str, Any]] = field(default_factory=list)

    def wait_for(self, event: str) -> dict[str, Any]:
        for known in self.seen:
            if known["event"] == event:
                return known
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == event:
                return self.seen[-1]
        raise AssertionError(f"no {event!r}: {self.seen}, {self.errors.read_text()}")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(WAIT)


class Desk:
    """Starts commands and sees to it that none is left."""

    def __init__(self, tmp_path: Path, stack: contextlib.ExitStack) -> None:
        self.tmp_path, self._stack = tmp_path, stack
        self._count = 0
        self.environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
        self.environment.pop("VSHARE_RELAY", None)

    def start(self, *command: str, limit_files: int | None = None) -> Command:
        self._count += 1
        errors = self.tmp_path / f"{self._count}-{command[0]}.err"
        limit = ["prlimit", f"--nofile={limit_files}"] if limit_files else []
        file = self._stack.enter_context(errors.open("w"))
        process = self._stack.enter_context(
            subprocess.Popen(
                [*limit, str(BIN / command[0]), *command[1:]],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=self.environment,
            )
        )
        self._stack.callback(process.kill)
        return Command(process, errors)

    def share(self, *options: str) -> tuple[Command, dict[str, Any]]:
        command = self.start("vshare", "up", "--json", *options)
        return command, command.wait_for("started")

    def connect(self, started: dict[str, Any]) -> tuple[Command, tuple[str, int]]:
        code = self.tmp_path / f"{started['name']}.code"
        code.write_text(started["code"])
        options = ("--json", "--disable-static-ip", "--code-file", str(code))
        command = self.start("vconnect", *options, started["connect"])
        host, _, port = command.wait_for("socks")["address"].rpartition(":")
        command.wait_for("running")
        return command, (host, int(port))


@contextlib.contextmanager
def desk_in(tmp_path: Path) -> Iterator[Desk]:
    with contextlib.ExitStack() as stack:
        yield Desk(tmp_path, stack)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path) as desk:
        yield desk


def get(url_port: int, host: str) -> tuple[int, bytes]:
    """What the relay's public side answers for `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", url_port, timeout=WAIT)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()


def through(proxy: tuple[str, int], host: str, port: int) -> socks.socksocket:
    sock = socks.socksocket()
    sock.set_proxy(socks.SOCKS5, *proxy, rdns=True)
    sock.settimeout(WAIT)
    sock.connect((host, port))
    return sock


def fetch(proxy: tuple[str, int], host: str, port: int) -> bytes:
    with through(proxy, host, port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_share_with_its_own_relay(desk: Desk, site: int) -> None:
    share, started = desk.share("--target", "127.0.0.1", "--http", str(site))
    host = started["url"].removeprefix("http://").rstrip("/")
    port = int(host.rpartition(":")[2])
    status, body = get(port, host)
    assert status == 200
    assert SECRET in body
    (shown,) = started["sites"]
    title = "the shared machine"
    assert shown == {"label": "", "url": started["url"], "port": site, "title": title}

    guest, proxy = desk.connect(started)
    assert SECRET in fetch(proxy, started["name"], site)
    assert SECRET in fetch(proxy, f"{started['name']}.localhost", site)
    with pytest.raises(socks.GeneralProxyError, match="refused"):
        through(proxy, started["name"], 1)
    with pytest.raises(socks.GeneralProxyError, match="not allowed"):
        through(proxy, started["name"], 22)
    with pytest.raises(socks.GeneralProxyError, match="not allowed"):
        through(proxy, "127.0.0.2", site)

    second, _ = desk.connect(started)
    assert share.wait_for("joined")["address"] == "127.0.0.1"
    assert second.interrupt() == 0
    assert guest.interrupt() == 0
    assert share.interrupt() == 0
    assert "Halting the share!" in share.errors.read_text()


def test_without_a_url(desk: Desk, site: int) -> None:
    share, started = desk.share("--target", "127.0.0.1", "--disable-http")
    assert started["url"] is None
    assert started["sites"] == []
    port = int(started["connect"].partition("#")[0].rpartition(":")[2])
    status, body = get(port, f"{started['name']}.localhost:{port}")
    assert status == 404
    assert SECRET not in body
    _, proxy = desk.connect(started)
    assert SECRET in fetch(proxy, started["name"], site)
    assert share.interrupt() == 0


def test_only_the_named_ports(desk: Desk, site: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
        _, started = desk.share(
            "--target", "127.0.0.1", "--disable-http", "--port", str(site)
        )  # fmt: skip
        _, proxy = desk.connect(started)
        assert SECRET in fetch(proxy, started["name"], site)
        with pytest.raises(socks.GeneralProxyError, match="not allowed"):
            through(proxy, started["name"], closed)


def test_a_machine_that_only_ssh_reaches(site: int, tmp_path: Path) -> None:
    """Stands in for a VirtualBox machine behind NAT: everything goes through its SSH server."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with openssh(tmp_path) as sshd, desk_in(tmp_path) as desk, datagrams as udp:
        access = sshd.access
        folder = tmp_path / ".ssh"
        folder.mkdir(mode=0o700)
        assert access.known_hosts is not None
        (folder / "known_hosts").write_text(access.known_hosts.read_text())
        (folder / "id_ed25519").write_bytes(access.key_files[0].read_bytes())
        (folder / "id_ed25519").chmod(0o600)
        desk.environment.pop("SSH_AUTH_SOCK", None)
        share, started = desk.share(
            "--target", f"ssh://{access.user}@127.0.0.1:{access.port}", "--http", str(site)
        )
        _, proxy = desk.connect(started)
        assert SECRET in fetch(proxy, started["name"], site)
        with pytest.raises(socks.GeneralProxyError, match="refused"):
            through(proxy, started["name"], 1)
        with pytest.raises(socks.GeneralProxyError, match="not allowed"):
            through(proxy, started["name"], access.port)
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(WAIT)
        with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.set_proxy(socks.SOCKS5, *proxy, rdns=True)
            asker.settimeout(WAIT)
            asker.sendto(b"anybody there?", (started["name"], udp.getsockname()[1]))
            data, back = udp.recvfrom(100)
            udp.sendto(data.upper(), back)
            assert asker.recvfrom(100)[0] == b"ANYBODY THERE?"
        assert share.interrupt() == 0


def test_the_relay_sees_no_plaintext(desk: Desk, site: int) -> None:
    """Everything that passes the relay's port for a guest is recorded and searched."""
    relay = desk.start("vrelay", "serve", "--json", "--listen", "127.0.0.1:0")
    address = relay.wait_for("serving")["relay"]
    with recording(address) as (recorded, taps):
        tapped = f"127.0.0.1:{taps}#{address.partition('#')[2]}"
        _, started = desk.share("--target", "127.0.0.1", "--disable-http", "--relay", tapped)
        _, proxy = desk.connect(started)
        assert SECRET in fetch(proxy, started["name"], site)
        connection = http.client.HTTPConnection("127.0.0.1", site)
        connection.sock = through(proxy, started["name"], site)
        connection.request("POST", "/", SECRET)
        assert connection.getresponse().read().decode() == hashlib.sha256(SECRET).hexdigest()
        connection.close()
    seen = bytes(recorded)
    assert len(seen) > 2 * len(SECRET)
    assert started["name"].encode() in seen  # the search does find what is in the clear
    for secret in (b"quick brown payload", started["code"].encode(), b"HTTP/1.1 200 OK"):
        assert secret not in seen


@contextlib.contextmanager
def recording(address: str) -> Iterator[tuple[bytearray, int]]:
    """A forwarder to the relay that keeps all bytes of both directions."""
    host, _, port = address.partition("#")[0].rpartition(":")
    recorded = bytearray()
    ready: list[int] = []
    started, stop = threading.Event(), threading.Event()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # reset, or ended before its EOF is passed on
            while data := await reader.read(65536):
                recorded.extend(data)
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def serve() -> None:
        async def visitor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.ExitStack() as stack, contextlib.suppress(asyncio.CancelledError):
                stack.callback(writer.transport.abort)
                there, back = await asyncio.open_connection(host, int(port))
                stack.callback(back.transport.abort)
                async with asyncio.TaskGroup() as group:
                    group.create_task(copy(reader, back))
                    group.create_task(copy(there, writer))

        server = await asyncio.start_server(visitor, "127.0.0.1", 0)
        ready.append(server.sockets[0].getsockname()[1])
        started.set()
        async with server:
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(WAIT)
    try:
        yield recorded, ready[0]
    finally:
        stop.set()
        thread.join()


def test_a_relay_with_few_file_descriptors(desk: Desk, site: int) -> None:
    """An ordinary user's relay: 60 streams at once with 256 descriptors, twice."""
    relay = desk.start("vrelay", "serve", "--json", "--listen", "127.0.0.1:0", limit_files=256)
    address = relay.wait_for("serving")["relay"]
    _, started = desk.share("--target", "127.0.0.1", "--disable-http", "--relay", address)
    _, proxy = desk.connect(started)
    for _ in range(2):
        with contextlib.ExitStack() as stack:
            many = [stack.enter_context(through(proxy, started["name"], site)) for _ in range(60)]
            for sock in many:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for sock in many:
                assert SECRET in b"".join(iter(lambda sock=sock: sock.recv(65536), b""))  # type: ignore[misc]
