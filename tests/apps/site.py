"""A site for browsers: a chat, uploads, downloads, events. `python site.py [PORT]`.

Says {"event": "ready", "port": N} on stdout when it listens, on the loopback.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

EVENTS = 5
PIECE = bytes(range(256)) * 256
LAYOUT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<link rel="icon" href="data:,">
<style>body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto }}
input, button {{ font: inherit }} li {{ list-style: none }} progress {{ width: 100% }}</style>
<h1>{title}</h1>{body}"""
HOME = '<p id="who">This page comes from an application on a laptop.</p>'
CHAT = """<form><input id="text" aria-label="Message" autofocus> <button>Send</button></form>
<ul id="log"></ul><script>
const socket = new WebSocket(location.href.replace(/^http/, "ws") + "/socket");
const say = text => { const item = document.createElement("li"); item.textContent = text;
  document.getElementById("log").append(item); };
socket.onopen = () => say("connected");
socket.onmessage = event => say(event.data);
document.forms[0].onsubmit = event => { event.preventDefault();
  socket.send(document.getElementById("text").value); event.target.reset(); };
</script>"""
UPLOAD = """<input type="file" id="file"> <button id="send">Upload</button>
<p><progress id="bar" max="1" value="0"></progress></p><p id="digest"></p><script>
window.seen = [];
document.getElementById("send").onclick = () => {
  const request = new XMLHttpRequest(), bar = document.getElementById("bar");
  request.upload.onprogress = event => { window.seen.push(event.loaded);
    bar.value = event.loaded / event.total; };
  request.onload = () => document.getElementById("digest").textContent = request.responseText;
  request.open("POST", "upload"); request.send(document.getElementById("file").files[0]);
};</script>"""
FEED = """<ol id="log"></ol><script>
const source = new EventSource("events");
source.onmessage = async event => { const item = document.createElement("li");
  item.textContent = event.data; document.getElementById("log").append(item);
  if (event.data === "last") source.close();
  else await fetch("seen", {method: "POST", body: event.data}); };
</script>"""


class Site:
    """What the pages have in common."""

    def __init__(self) -> None:
        self._guests: set[WebSocket] = set()
        self._seen: asyncio.Queue[str] = asyncio.Queue()

    async def chat(self, socket: WebSocket) -> None:
        """What one says, all hear."""
        await socket.accept()
        self._guests.add(socket)
        try:
            async for text in socket.iter_text():
                for guest in list(self._guests):
                    await guest.send_text(text)
        finally:
            self._guests.discard(socket)

    async def seen(self, request: Request) -> Response:
        """A page has got an event."""
        self._seen.put_nowait((await request.body()).decode())
        return Response(status_code=204)

    async def events(self, request: Request) -> Response:
        """An event is sent when the one before has been seen: none may wait for another."""

        async def feed() -> AsyncIterator[str]:
            for number in range(EVENTS):
                yield f"data: event {number}\n\n"
                assert await self._seen.get() == f"event {number}"
            yield "data: last\n\n"

        return StreamingResponse(feed(), media_type="text/event-stream")


async def upload(request: Request) -> Response:
    """The SHA-256 of what is sent."""
    digest = hashlib.sha256()
    async for piece in request.stream():
        digest.update(piece)
    return PlainTextResponse(digest.hexdigest())


async def download(request: Request) -> Response:
    """So many times PIECE, as a file."""
    count = int(request.path_params["count"])
    headers = {"Content-Disposition": 'attachment; filename="pieces.bin"'}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield PIECE

    return StreamingResponse(pieces(), headers=headers, media_type="application/octet-stream")


async def headers(request: Request) -> Response:
    """The request's header fields, as they arrived."""
    return PlainTextResponse(json.dumps(request.headers.items()))


def page(title: str, body: str) -> Route:
    """A page at its title, in lower case; the home page at /."""
    place = "/" if title == "Home" else f"/{title.lower()}"
    text = LAYOUT.format(title=title, body=body)
    return Route(place, lambda request: HTMLResponse(text), name=title)


def app() -> Starlette:
    """The site."""
    site = Site()
    pages = {"Home": HOME, "Chat": CHAT, "Files": UPLOAD, "Feed": FEED}
    return Starlette(
        routes=[
            *(page(*each) for each in pages.items()),
            WebSocketRoute("/chat/socket", site.chat),
            Route("/events", site.events),
            Route("/seen", site.seen, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            Route("/download/{count:int}", download),
            Route("/headers", headers),
        ]
    )


def main(port: int) -> None:
    """Serve until a signal comes."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        print(json.dumps({"event": "ready", "port": sock.getsockname()[1]}), flush=True)
        config = uvicorn.Config(app(), log_level="warning", ws="websockets-sansio")
        uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
