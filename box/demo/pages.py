"""The pages of the demo's site. All links are relative: the site works below any address."""

from __future__ import annotations

import html
import platform
import time
from collections.abc import Iterable

LAYOUT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - demo machine</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
<p>demo machine</p>
<nav>
<a href="./">Home</a> <a href="request">Request</a> <a href="chat">WebSocket</a>
<a href="files">Files</a> <a href="about">About</a>
</nav>
</header>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
STYLE = """:root { color-scheme: light dark; --line: #8886; --accent: #0a6ebd; }
body { font: 1rem/1.55 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 0 1rem; }
header { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: baseline;
  border-bottom: 1px solid var(--line); }
header p { font-weight: 600; margin: .8rem 0; }
nav a { margin-right: .9rem; }
a { color: var(--accent); }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .25rem 1.2rem .25rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
input, button { font: inherit; padding: .3rem .6rem; }
#log { list-style: none; padding: 0; font-family: ui-monospace, monospace; }
"""
HOME = """<p>You are looking at a virtual machine. From here:</p>
<ul>
<li><a href="request">what it was asked</a>: the headers of your request, as they arrived</li>
<li><a href="chat">a WebSocket</a> that repeats what you type</li>
<li><a href="files">files</a> of any size, to download and upload</li>
<li><a href="about">what else runs here</a></li>
</ul>"""
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
ABOUT = """<p>This machine was made to be shared.</p>
<table>
<tr><th>80</th><td>this site, with a WebSocket at <code>ws</code></td></tr>
<tr><th>22</th><td>SSH</td></tr>
<tr><th>7</th><td>echo, TCP and UDP</td></tr>
<tr><th>53</th><td>DNS for <code>demo.test</code> and <code>www.demo.test</code></td></tr>
<tr><th>8081</th><td>a page that listens on the machine's loopback only</td></tr>
</table>"""


def page(path: str, headers: Iterable[tuple[str, str]]) -> bytes | None:
    """The page at a path, or None. `headers` are those of the request."""
    if path == "/":
        body = f"<p>Hello from <b>{_text(platform.node())}</b> at {_now()}.</p>\n" + HOME
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
