"""What an operator gives and takes while the relay runs, as sharers and visitors see it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.test_commands import WAIT, Command, desk_in
from tests.test_relay_accounts import Stage

pytestmark = pytest.mark.programs

SIZE = 4_000_000  # bytes of a page
BANDWIDTH = 1_000_000  # bytes a second: of that page four seconds, less what was sent at once
LEAST = 2.0  # seconds that it takes at least, however much was sent at once
FLOOD = 60  # connections, of which FEW get through
FEW = 5


class Large(BaseHTTPRequestHandler):
    """A site with large pages, which takes large ones, too."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"<title>x</title>" if self.path == "/" else bytes(SIZE)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 65_536)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Large)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


class Limited(Stage):
    """A relay with accounts; `bobs` and `eves` are shares of the site, each with its token."""

    folder: Path
    site: int

    def token(self, user: str, *options: str) -> str:
        """Its ID; the token is in a file."""
        self.operator("user", "create", user)
        made = self.operator("token", "create", "--user", user, *options)
        (self.folder / user).write_text(made["token"])
        identifier = made["id"]
        assert isinstance(identifier, str)
        return identifier

    def share_of(self, user: str) -> tuple[Command, str]:
        """Its URL, too."""
        token = ("--token-file", str(self.folder / user), "--http", str(self.site))
        share = self.share(*token, "--name", f"share-of-{user}")
        return share, str(share.wait_for("started")["url"])

    def begin(self, *options: str) -> Command:
        where = ("--target", "127.0.0.1", "--relay", self.address)
        return self.desk.start("vshare", "up", "--json", *where, *options)


@pytest.fixture
def stage(tmp_path: Path, site: int) -> Iterator[Limited]:
    with desk_in(tmp_path) as desk:
        stage = Limited(desk, tmp_path)
        stage.folder, stage.site = tmp_path, site
        stage.start_relay("--accounts")
        yield stage


def ask(url: str, path: str = "/", body: bytes | None = None) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=WAIT)
    host = {"Host": parts.netloc}
    connection.request("GET" if body is None else "POST", path, body, host)
    answer = connection.getresponse()
    with contextlib.suppress(ConnectionError, http.client.IncompleteRead):
        answer.read()
    connection.close()
    return answer


def seconds_for(url: str, path: str = "/large", body: bytes | None = None) -> float:
    began = time.monotonic()
    assert ask(url, path, body).status == 200
    return time.monotonic() - began


def until_status(url: str, status: int) -> http.client.HTTPResponse:
    until = time.monotonic() + WAIT
    while (answer := ask(url)).status != status:
        assert time.monotonic() < until, answer.status
        time.sleep(0.1)
    return answer


def until_true(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_a_bandwidth_is_kept_both_ways_and_changed_while_it_is_used(stage: Limited) -> None:
    token = stage.token("bob", "--bandwidth", str(BANDWIDTH))
    stage.token("eve")
    (_, bobs), (_, eves) = stage.share_of("bob"), stage.share_of("eve")
    down, up = seconds_for(bobs), seconds_for(bobs, "/", bytes(SIZE))
    assert down > LEAST
    assert up > LEAST
    until_true(lambda: seconds_for(eves) < LEAST)
    stage.operator("token", "set", token, "--bandwidth", "none")
    until_true(lambda: seconds_for(bobs) < LEAST)


def test_a_flood_to_one_leaves_the_other_alone(stage: Limited) -> None:
    stage.token("bob", "--streams", str(FEW))
    stage.token("eve")
    (_, bobs), (_, eves) = stage.share_of("bob"), stage.share_of("eve")
    parts = urlsplit(bobs)
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(FLOOD):
            place = ("127.0.0.1", parts.port or 80)
            sock = stack.enter_context(socket.create_connection(place, timeout=WAIT))
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            answers.append(sock.recv(12))
            if len(answers) % 10 == 0:
                assert ask(eves).status == 200
        assert answers.count(b"HTTP/1.1 200") == FEW
        assert answers.count(b"HTTP/1.1 503") == FLOOD - FEW
    until_status(bobs, 200)


def test_a_days_bytes_are_counted_told_and_given(stage: Limited) -> None:
    token = stage.token("bob", "--bytes-per-day", "1M")
    stage.token("eve")
    (share, bobs), (_, eves) = stage.share_of("bob"), stage.share_of("eve")
    ask(bobs, "/large")
    answer = until_status(bobs, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert ask(eves, "/large").status == 200
    while "until midnight UTC" not in share.wait_for("notice")["text"]:
        share.seen.clear()  # of the part that was used before
    stage.operator("token", "set", token, "--bytes-per-day", "1G")
    until_status(bobs, 200)
    assert stage.relay.interrupt() == 0
    listed = {each["id"]: each for each in stage.operator("token", "list")["tokens"]}
    assert listed[token]["bytes_today"] > 1_000_000


def test_a_ban_ends_what_is_there_and_says_why(stage: Limited) -> None:
    stage.token("bob")
    stage.token("eve")
    (share, _), (_, eves) = stage.share_of("bob"), stage.share_of("eve")
    stage.operator("ban", "share-of-bob", "--for", "1d", "--reason", "it is a copy of a bank")
    assert "it is a copy of a bank" in share.wait_for("error")["text"]
    assert share.process.wait(WAIT) == 1
    assert "it is a copy of a bank" in stage.refused(
        "--token-file", str(stage.folder / "bob"), "--name", "share-of-bob", "--disable-http"
    )
    assert ask(eves).status == 200
    stage.operator("unban", "share-of-bob")
    assert stage.operator("ban", "list") == {"bans": []}
    stage.share_of("bob")
