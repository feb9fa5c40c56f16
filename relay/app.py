"""The relay's own application: the front page, the health check."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.pages import answer_with, error_page, front_page
from relay.registry import LocalRegistry
from relay.routes import parse_site, strip_port
from tunnel.http_pages import Page


class OwnNameOnly:
    """Sends requests for a share's host away: this connection was opened for the relay.

    421 makes a browser ask again on another connection (RFC 9110 15.5.20).
    """

    def __init__(self, app: ASGIApp, domain: str) -> None:
        self._app, self._domain = app, domain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        host = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1")
        if scope["type"] == "http" and parse_site(strip_port(host), self._domain):
            status = HTTPStatus.MISDIRECTED_REQUEST
            page = error_page(
                status, "This connection was opened for another name", "", self._domain
            )
            await _response(page, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def make_app(registry: LocalRegistry, domain: str, challenges: Mapping[str, str]) -> ASGIApp:
    """The ASGI application for the relay's own name; `challenges` has what an authority asks for
    before it gives a certificate, by path."""

    async def front(request: Request) -> Response:
        return _response(front_page(domain), request.scope)

    async def health(_: Request) -> Response:
        date = {"Date": email.utils.formatdate(usegmt=True)}  # RFC 9110 6.6.1: `doctor` compares
        return PlainTextResponse(f"ok, {len(registry)} shares\n", headers=date)

    async def challenge(request: Request) -> Response:
        value = challenges.get(request.url.path)
        return PlainTextResponse(value or "", HTTPStatus.OK if value else HTTPStatus.NOT_FOUND)

    routes = [
        Route("/", front),
        Route("/healthz", health),
        Route("/.well-known/acme-challenge/{token}", challenge),  # RFC 8555 8.3
    ]
    return OwnNameOnly(Starlette(routes=routes), domain)


def _response(page: Page, scope: Scope) -> Response:
    """`page` as the sender of the request wants it."""
    accept = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept")
    fields, body = answer_with(page, accept)
    response = Response(body, page.status)
    response.raw_headers = [(name.lower(), value) for name, value in fields]
    return response
