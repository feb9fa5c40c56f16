"""The pages of the demo's site. All links are relative: the site works below any address."""

from __future__ import annotations

import html
import platform
import time
from collections.abc import Iterable

LAYOUT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title} - demo machine</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="style.css"></head>
<body><nav><a href="./">Home</a> <a href="request">Request</a> <a href="chat">WebSocket</a>
<a href="files">Files</a> <a href="about">About</a></nav><main><h1>{title}</h1>{body}</main></body>
</html>
"""
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
nav a{margin-right:1rem}td,th{text-align:left;padding:.2rem 1rem .2rem 0}
"""
CHAT = """<form id="form"><input id="text" aria-label="Message" autofocus>
<button>Send</button></form>
<ul id="log"></ul><script>
const place = new URL("ws", location.href);
place.protocol = place.protocol.replace("http", "ws");
const socket = new WebSocket(place);
const say = text => { const item = document.createElement("li"); item.textContent = text;
  document.getElementById("log").append(item); };
socket.onopen = () => say("connected");
socket.onmessage = event => say("echo: " + event.data);
socket.onclose = () => say("closed");
document.getElementById("form").onsubmit = event => { event.preventDefault();
  socket.send(document.getElementById("text").value); };
</script>"""
FILES = """<ul><li><a href="large?bytes=1000000">1 MB</a></li>
<li><a href="large?bytes=200000000">200 MB</a></li></ul>
<p>The same bytes every time; <code>large.sha256?bytes=N</code> tells their SHA-256.
What is sent to <code>upload</code> (PUT or POST) is answered with its SHA-256.</p>"""
ABOUT = """<p>This machine was made to be shared: a web site here, SSH on 22, echo on TCP and UDP 7,
DNS on 53, and a page on port 8081 that listens on the machine's loopback only.</p>"""


def page(path: str, headers: Iterable[tuple[str, str]]) -> bytes | None:
    """The page at a path, or None. `headers` are those of the request."""
    if path == "/":
        body = f"<p>Hello from <b>{_text(platform.node())}</b> at {_now()}.</p>"
        return _layout("It works", body)
    if path == "/request":
        return _layout("Your request", _table([("time", _now()), *headers]))
    fixed = {"/chat": ("WebSocket", CHAT), "/files": ("Files", FILES), "/about": ("About", ABOUT)}
    return _layout(*fixed[path]) if path in fixed else None


def _layout(title: str, body: str) -> bytes:
    return LAYOUT.format(title=title, body=body).encode()


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _text(value: str) -> str:
    return html.escape(value)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
