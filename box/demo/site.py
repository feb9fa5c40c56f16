"""The demo's HTTP server: pages, a WebSocket, downloads and uploads of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO, cast
from urllib.parse import parse_qs, urlsplit

from . import large, pages, websocket

DOWNLOAD_LIMIT = 10 << 30  # bytes; a typing error should not run for days
READ_SIZE = 256 << 10  # bytes read of an upload at a time


class Site(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    server_version = "vshare-demo"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """A page, a download or the WebSocket."""
        place = urlsplit(self.path)
        if place.path == "/ws":
            self._websocket()
        elif place.path in ("/large", "/large.sha256"):
            self._large(place.path, place.query)
        elif place.path == "/style.css":
            self._answer(200, "text/css", pages.STYLE.encode())
        elif page := pages.page(place.path, self.headers.items()):
            self._answer(200, "text/html; charset=utf-8", page)
        else:
            self._answer(404, "text/plain", b"not found\n")

    do_HEAD = do_GET  # noqa: N815 - http.server looks for these names

    def do_PUT(self) -> None:
        """The SHA-256 of what was sent to /upload."""
        digest = hashlib.sha256()
        try:
            for part in self._body():
                digest.update(part)
        except ValueError:
            self.close_connection = True
            self._answer(400, "text/plain", b"bad length\n")
            return
        if urlsplit(self.path).path == "/upload":
            self._answer(200, "text/plain", digest.hexdigest().encode() + b"\n")
        else:
            self._answer(404, "text/plain", b"not found\n")

    do_POST = do_PUT  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the console is slow."""

    def _body(self) -> Iterable[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline(32).split(b";")[0], 16):
                yield from self._exactly(size)
                self.rfile.readline(8)
            while self.rfile.readline(1024).strip():  # trailers
                pass
        else:
            yield from self._exactly(int(self.headers.get("Content-Length", 0)))

    def _exactly(self, size: int) -> Iterable[bytes]:
        while size:
            part = self.rfile.read1(min(size, READ_SIZE))
            if not part:
                raise ValueError("the body ended early")
            size -= len(part)
            yield part

    def _large(self, path: str, query: str) -> None:
        try:
            count = int(parse_qs(query)["bytes"][0])
        except (KeyError, ValueError):
            count = -1
        if not 0 <= count <= DOWNLOAD_LIMIT:
            self._answer(400, "text/plain", b"say how many: ?bytes=N\n")
        elif path == "/large":
            self._head(200, "application/octet-stream", count)
            if self.command == "GET":
                for chunk in large.chunks(count):
                    self.wfile.write(chunk)
        else:
            digest = hashlib.sha256()
            for chunk in large.chunks(count):
                digest.update(chunk)
            self._answer(200, "text/plain", digest.hexdigest().encode() + b"\n")

    def _websocket(self) -> None:
        key = self.headers.get("Sec-WebSocket-Key", "")
        if not key or "websocket" not in self.headers.get("Upgrade", "").lower():
            self._answer(426, "text/plain", b"this is a WebSocket\n")
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", websocket.accept_token(key))
        self.end_headers()
        self.close_connection = True
        websocket.echo(cast(BinaryIO, self.rfile), cast(BinaryIO, self.wfile))

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self._head(status, kind, len(body))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class Private(BaseHTTPRequestHandler):
    """What listens on the loopback only."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The same line for every path."""
        body = b"this page listens on the loopback of the machine only\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the console is slow."""


class Server(ThreadingHTTPServer):
    """Bound to an address without asking the DNS for its name."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind; http.server's own looks the host's name up, which waits where there is no DNS."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "demo", self.server_address[1]

    def handle_error(self, request: object, client_address: object) -> None:
        """Visitors that hang up are no news."""
