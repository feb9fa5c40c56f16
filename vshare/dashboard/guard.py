"""Stands before the page's application: who is let in, and what every answer says to browsers.

A token that comes with a request for the page is turned into a cookie, and away from the address.
"""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vshare.dashboard.doorkeeper import Doorkeeper, Headers

_log = logging.getLogger("vshare.dashboard")

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_TURNED_AWAY = b"This page belongs to somebody else.\n"
_NO_SESSION = b"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>vshare</title>
<h1>This link is not good any more</h1>
<p>Each link to the dashboard opens it once, in one browser.
<code>vshare dashboard</code> prints another.</p>
<p>If you have just followed a fresh one: <a href="./">open the dashboard</a>.</p></html>
"""


class Guard:
    """ASGI: 403 for whoever is not welcome, or has neither a cookie nor a token."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper) -> None:
        self._app, self._doorkeeper = app, doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        headers = _headers(scope)
        is_web_socket = scope["type"] == "websocket"
        method = scope.get("method", "GET").encode()
        doorkeeper = self._doorkeeper
        if not doorkeeper.is_welcome(method, headers, web_socket=is_web_socket):
            await _refuse(send, _TURNED_AWAY, b"text/plain", web_socket=is_web_socket)
            return
        token = _token(scope) if method == b"GET" and scope["path"] == doorkeeper.path else None
        cookie = doorkeeper.redeem(token) if token is not None else None
        if cookie is None and not doorkeeper.knows(headers):
            await _refuse(send, _NO_SESSION, b"text/html", web_socket=is_web_socket)
        elif token is not None:
            await _send_to_page(_hardened(send), doorkeeper.path, cookie)
        else:
            try:
                await self._app(scope, receive, _hardened(send))
            except Exception:
                _log.exception("the dashboard met a fault")


def _token(scope: Scope) -> str | None:
    return dict(parse_qsl(scope["query_string"].decode("latin-1"))).get("token")


async def _send_to_page(send: Send, path: str, cookie: str | None) -> None:
    """Away from the token, which is not to stay in the browser's history."""
    head = [(b"location", path.encode()), (b"content-length", b"0")]
    if cookie is not None:
        head.append((b"set-cookie", cookie.encode()))
    await send({"type": "http.response.start", "status": 303, "headers": head})
    await send({"type": "http.response.body", "body": b""})


def _headers(scope: Scope) -> Headers:
    headers: dict[bytes, list[bytes]] = {}
    for name, value in scope.get("headers", ()):
        headers.setdefault(name.lower(), []).append(value)
    return headers


async def _refuse(send: Send, body: bytes, kind: bytes, *, web_socket: bool) -> None:
    if web_socket:
        await send({"type": "websocket.close"})  # before it was accepted: 403
        return
    sender = _hardened(send)
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await sender({"type": "http.response.start", "status": 403, "headers": head})
    await sender({"type": "http.response.body", "body": body})


def _hardened(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sender
