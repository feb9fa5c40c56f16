"""The relay's own application: the front page, the health check."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from relay.pages import answer_with, error_page, front_page
from relay.registry import LocalRegistry
from relay.routes import Sites, strip_port
from tunnel.http_pages import Page


class OwnNameOnly:
    """Sends requests for a share's host away: this connection was opened for the relay.

    421 makes a browser ask again on another connection (RFC 9110 15.5.20).
    """

    def __init__(self, app: ASGIApp, sites: Sites) -> None:
        self._app, self._sites = app, sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and self._is_share(scope):
            status = HTTPStatus.MISDIRECTED_REQUEST
            page = error_page(
                status, "This connection was opened for another name", "", self._sites.domain
            )
            await _response(page, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_share(self, scope: Scope) -> bool:
        """Whether the request is for a share's site; an authority's for our word is not."""
        sites = self._sites
        return bool(sites.named(strip_port(_host_of(scope)))) and not (
            scope["scheme"] == "http" and scope["path"] in sites.challenges
        )


class ByHost:
    """Gives the relay's own pages to requests for `pages_host`, and all others to `bare`."""

    def __init__(self, pages_host: str, pages: ASGIApp, bare: ASGIApp) -> None:
        self._pages_host, self._pages, self._bare = pages_host, pages, bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        is_pages = strip_port(_host_of(scope)) == self._pages_host
        await (self._pages if is_pages else self._bare)(scope, receive, send)


def make_app(
    registry: LocalRegistry,
    domain: str,
    challenges: Mapping[str, str],
    pages_host: str = "",
    website: ASGIApp | None = None,
    *,
    sites: Sites | None = None,
) -> ASGIApp:
    """The ASGI application for names that are not shares'; `challenges` has what an authority asks
    for before it gives a certificate, by path.

    With a `pages_host` the relay's pages are there alone. Other names, the shares' domain first,
    have what programs ask the relay for, and show the way there: no page of ours is where a
    share's site could put cookies. `website` is all that is there, where there are accounts.
    `sites` are the shares', which have nothing here: those below `domain`, if it is left out.
    """

    async def front(request: Request) -> Response:
        return _response(front_page(domain), request.scope)

    async def go_there(request: Request) -> Response:
        _, colon, port = _host_of(request.scope).rpartition(":")
        there = f"{pages_host}:{port}" if colon and port.isdigit() else pages_host
        return RedirectResponse(
            f"{request.url.scheme}://{there}/", headers={"Cache-Control": "no-store"}
        )

    async def health(_: Request) -> Response:
        date = {"Date": email.utils.formatdate(usegmt=True)}  # RFC 9110 6.6.1: `doctor` compares
        return PlainTextResponse(f"ok, {len(registry)} shares\n", headers=date)

    async def challenge(request: Request) -> Response:
        value = challenges.get(request.url.path)
        return PlainTextResponse(value or "", HTTPStatus.OK if value else HTTPStatus.NOT_FOUND)

    everywhere = [
        Route("/healthz", health),
        Route("/.well-known/acme-challenge/{token}", challenge),  # RFC 8555 8.3
    ]
    app: ASGIApp = Starlette(routes=[Route("/", front), *everywhere])
    if website is not None:
        app = Starlette(routes=[*everywhere, Mount("/", website)])
    if pages_host:
        app = ByHost(pages_host, app, Starlette(routes=[Route("/", go_there), *everywhere]))
    return OwnNameOnly(app, sites or Sites(domain))


def _host_of(scope: Scope) -> str:
    host: bytes = dict(scope.get("headers", ())).get(b"host", b"")
    return host.decode("latin-1")


def _response(page: Page, scope: Scope) -> Response:
    """`page` as the sender of the request wants it."""
    accept = b",".join(value for name, value in scope.get("headers", ()) if name == b"accept")
    fields, body = answer_with(page, accept)
    response = Response(body, page.status)
    response.raw_headers = [(name.lower(), value) for name, value in fields]
    return response
