"""What the sharer sees of `vshare up`, on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.screen import screen
from tests.terminal import Terminal
from vshare.qr import draw

pytestmark = pytest.mark.programs

WITHIN = 30.0  # seconds
HURRIED = """
import sys
from tunnel import bottom_line
bottom_line.LOOK_EVERY = 0.1
from vshare.cli import main
sys.argv = ["vshare", "up", "--target", "127.0.0.1", "--yes", *sys.argv[1:]]
main()
"""


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<title>The shop</title>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def sharing(folder: Path, *options: str, columns: int = 100, **own: str) -> Iterator[Terminal]:
    """`vshare up` of this host, ended by Ctrl-C."""
    (folder / "run").mkdir(mode=0o700)
    left_out = ("VSHARE_RELAY", "NO_COLOR")
    environment = {name: text for name, text in os.environ.items() if name not in left_out}
    environment |= {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "s")}
    command = [sys.executable, "-c", HURRIED, *options]
    shown = Terminal(command, environment | {"TERM": "xterm"} | own)
    fcntl.ioctl(shown.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    try:
        shown.wait_for("Press Ctrl-C to end the share.", WITHIN)
        yield shown
    finally:
        shown.type("\x03")
        assert shown.end() == 0


def url_of(shown: Terminal) -> str:
    match = re.search(r": URL: (?:\x1b\[1m)?(https?://[^\s\x1b]+)", shown.seen)
    assert match, shown.seen
    return match[1]


@pytest.mark.parametrize(("no_color", "colour"), [("", True), ("1", False)])
def test_the_url_as_a_qr_code(tmp_path: Path, no_color: str, colour: bool) -> None:
    with (
        web_server() as port,
        sharing(tmp_path, "--http", str(port), "--qr", NO_COLOR=no_color) as shown,
    ):
        lines, _ = draw(url_of(shown), colour=colour)
        assert "\r\n".join(lines) in shown.seen


def test_a_terminal_without_room_for_a_qr_code(tmp_path: Path) -> None:
    with (
        web_server() as port,
        sharing(tmp_path, "--http", str(port), "--qr", columns=30) as shown,
    ):
        assert "The QR code needs" in shown.seen
        assert "\u2588" not in shown.seen


def test_each_site_with_its_title(tmp_path: Path) -> None:
    with (
        web_server() as first,
        web_server() as second,
        sharing(tmp_path, "--http", str(first), "--port", str(second)) as shown,
    ):
        name = url_of(shown).partition("://")[2].partition(".")[0]
        main, other = (
            re.search(rf"http://{host}\.\S+ +port {port} +The shop\r\n", shown.seen)
            for host, port in ((name, first), (f"{name}--{second}", second))
        )
        assert main
        assert other


def test_a_line_says_what_goes_on_and_leaves_no_trace(tmp_path: Path) -> None:
    with web_server() as port, sharing(tmp_path, "--http", str(port)) as shown:
        shown.wait_for("0 guests | 7 h 59 min left | 0 requests | idle", WITHIN)
        url = url_of(shown)
        relay = re.sub(r"//[^:/]+", "//127.0.0.1", url)
        host = url.partition("://")[2].strip("/")
        asked = urllib.request.Request(relay, headers={"Host": host})
        for _ in range(3):
            urllib.request.urlopen(asked, timeout=WITHIN).read()
        shown.wait_for("| 3 requests", WITHIN)
    rows = screen(shown.seen.replace("\x1b[1m", ""), 100)
    assert not [row for row in rows if " left | " in row]
    assert rows[-2].startswith("    127.0.0.1: Its head: ")
    assert rows[-1] == ""


def test_no_url_no_qr_code() -> None:
    command = [sys.executable, "-m", "vshare.cli", "--target", "127.0.0.1", "--qr"]
    for options, text in ((), "--qr needs a terminal"), (["--disable-http"], "contradict"):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert text in done.stderr
