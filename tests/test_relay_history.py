"""A relay's history, as its operator reads it while people share by it."""

from __future__ import annotations

import http.client
import http.server
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.test_commands import WAIT, desk_in
from tests.test_relay_accounts import Stage

pytestmark = pytest.mark.programs

SECRET = "hunter2"  # in a query, a header and a body: nowhere in what is kept


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with desk_in(tmp_path) as desk:
        yield Stage(desk, tmp_path)


class _Site(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Site) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(WAIT)


def wait_until(look: Callable[[], Any]) -> Any:
    """What `look` gives, once it is something: the relay writes once a second."""
    end = time.monotonic() + WAIT
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def ask(stage: Stage, name: str, *targets: str) -> None:
    port = int(stage.address.partition("#")[0].rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    for target in targets:
        headers = {"Host": f"{name}.localhost", "Authorization": SECRET}
        connection.request("GET", target, SECRET, headers)
        assert connection.getresponse().read() == b"hello"
    connection.close()


def share(stage: Stage, port: int, name: str) -> Any:
    options = ("--target", "127.0.0.1", "--http", str(port), "--name", name)
    command = stage.desk.start("vshare", "up", "--json", *options, "--relay", stage.address)
    command.wait_for("started")
    return command


def test_who_shared_what_and_who_came(stage: Stage, tmp_path: Path) -> None:
    stage.start_relay()
    with site() as port:
        sharing = share(stage, port, "my-site")
        ask(stage, "my-site", f"/a?password={SECRET}", "/missing")
        found = wait_until(lambda: stage.operator("history", "my-site", "--requests")["requests"])
        paths = [(each["method"], each["path"], each["status"]) for each in found]
        assert paths == [("GET", "/missing", 404), ("GET", "/a", 200)]
        assert found[0]["source"] == "127.0.0.1"
        visits = stage.operator("history", "--connections", "--search", "127.0.0.1")["connections"]
        assert [each["kind"] for each in visits] == ["http"]
        shown = stage.run("vrelay", "history", "--state-dir", str(tmp_path / "relay")).stdout
        assert "my-site" in shown
        assert "lasts" in shown
        assert sharing.interrupt() == 0
        wait_until(
            lambda: (
                [each["how"] for each in stage.operator("history", "my-site")["shares"]]
                == ["ended"]
            )
        )
    assert stage.relay.interrupt() == 0
    (kept,) = stage.operator("history")["shares"]
    assert (kept["requests"], kept["visits"]) == (2, 1)
    for file in (tmp_path / "relay").glob("history.sqlite*"):
        assert SECRET.encode() not in file.read_bytes()


def test_a_relay_that_was_killed_has_what_it_wrote(stage: Stage) -> None:
    stage.start_relay()
    with site() as port:
        sharing = share(stage, port, "my-site")
        ask(stage, "my-site", "/")
        wait_until(lambda: stage.operator("history", "--requests")["requests"])
        stage.relay.process.kill()
        stage.relay.process.wait(WAIT)
        sharing.process.kill()
    assert [each["how"] for each in stage.operator("history")["shares"]] == [""]
    stage.start_relay()
    ended = wait_until(
        lambda: [each for each in stage.operator("history")["shares"] if each["ended_at"]]
    )
    assert [each["how"] for each in ended] == ["stopped"]
    assert stage.relay.interrupt() == 0


def test_nothing_is_kept_where_that_is_not_wanted(stage: Stage, tmp_path: Path) -> None:
    stage.start_relay("--no-history")
    with site() as port:
        sharing = share(stage, port, "my-site")
        ask(stage, "my-site", "/")
        assert sharing.interrupt() == 0
    assert stage.relay.interrupt() == 0
    assert not list((tmp_path / "relay").glob("history*"))
    assert stage.operator("history") == {"shares": []}
    stage.start_relay("--no-history-sources")
    with site() as port:
        sharing = share(stage, port, "my-site")
        ask(stage, "my-site", "/")
        wait_until(lambda: stage.operator("history", "--requests")["requests"])
        (request,) = stage.operator("history", "--requests")["requests"]
        assert (request["path"], request["source"]) == ("/", "")
        assert sharing.interrupt() == 0
    assert stage.relay.interrupt() == 0
    for file in (tmp_path / "relay").glob("history.sqlite*"):
        assert b"127.0.0.1" not in file.read_bytes()
