"""What every answer of the pages says to browsers, and that none comes without TLS."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Referrer-Policy": "same-origin",  # with less, forms have no Origin
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Browsers heed it where they know the certificate; for this host alone.
    "Strict-Transport-Security": "max-age=15552000",
}
_PLAIN = "This page is had with https alone: what you sent came without, do not send it again so.\n"

log = logging.getLogger(__name__)


class Hardened:
    """ASGI: `app` with these headers. `url` is where it is reached with TLS."""

    def __init__(self, app: ASGIApp, url: str) -> None:
        self._app, self._url = app, url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. What fails is logged, without a word of the request."""
        if scope["type"] != "http":
            return
        app = self._app if scope["scheme"] == "https" else self._elsewhere(scope["method"])

        async def sender(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await app(scope, receive, sender)
        except Exception:
            log.exception("a page of the relay's met a fault: this is a bug")

    def _elsewhere(self, method: str) -> Response:
        if method in ("GET", "HEAD"):
            return RedirectResponse(self._url, HTTPStatus.PERMANENT_REDIRECT)
        return PlainTextResponse(_PLAIN, HTTPStatus.FORBIDDEN)
