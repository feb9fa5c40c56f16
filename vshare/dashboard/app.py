"""What the dashboard's browser asks for: the page, details of a request, what its buttons do."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files

import msgspec
import segno
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from tunnel.errors import RemoteProtocolError, UsageError, VshareError
from tunnel.http_heads import Fields
from tunnel.names import ShareName
from vshare import requests
from vshare.dashboard.content import as_text, show
from vshare.dashboard.curl import as_curl
from vshare.dashboard.doorkeeper import Doorkeeper
from vshare.dashboard.exchange import Exchange, KeptBody, Summary
from vshare.dashboard.figures import Throughput
from vshare.dashboard.live import Page
from vshare.dashboard.overview import Overview
from vshare.dashboard.replay import Replays, repeatable
from vshare.dashboard.request_log import RequestLog
from vshare.web.sites import with_label

MAX_PAGES = 8  # that look at a time
MAX_QR = 300  # characters: a URL of a share has less than 100
GONE = "that request is not kept any more"
BODY_WITHIN = 10.0  # seconds for a command to come
TRY_AGAIN_LATER = 1013  # a WebSocket's close code
FILES = {
    "": ("index.html", "text/html"),
    "dashboard.css": ("dashboard.css", "text/css"),
    "dashboard.js": ("dashboard.js", "text/javascript"),
}
# What the page's buttons do: a stranger's request that was shown could at worst do no more.
ALLOWED = (requests.Kick, requests.Approve, requests.Deny, requests.Extend, requests.Stop)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the page shows, and does."""

    doorkeeper: Doorkeeper
    log: RequestLog
    overview: Overview
    throughput: Throughput
    replays: Replays


class _BodyView(msgspec.Struct, frozen=True):
    """`size` of all of it; `kept` of what there is to see, before it was decoded."""

    text: str
    note: str
    is_text: bool
    size: int
    kept: int


class _Side(msgspec.Struct, frozen=True):
    """A request, or an answer."""

    line: str
    fields: list[tuple[str, str]]
    body: _BodyView


class _Details(msgspec.Struct, frozen=True):
    """`why_not`: it cannot be sent again, because; empty if it can."""

    summary: Summary
    request: _Side
    answer: _Side | None
    why_not: str


def make_app(parts: Parts) -> Starlette:
    """The application; a Guard has to stand before it."""
    return Starlette(routes=_App(parts).routes())


class _App:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pages = 0
        folder = files("vshare.dashboard") / "static"
        self._files = {name: (folder / name).read_bytes() for name, _ in FILES.values()}

    def routes(self) -> list[BaseRoute]:
        path = self._parts.doorkeeper.path
        one = f"{path}api/requests/{{number:int}}"
        return [
            *(Route(path + name, self._file(*each)) for name, each in FILES.items()),
            Route(f"{path}qr.svg", self.qr),
            Route(one, self.details),
            Route(f"{one}/curl", self.curl),
            Route(f"{one}/replay", _told(self.replay), methods=["POST"]),
            Route(f"{path}api/command", _told(self.command), methods=["POST"]),
            WebSocketRoute(f"{path}ws", self.live),
        ]

    # -- the page

    def _file(self, name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            return Response(self._files[name], media_type=kind)

        return answer

    async def qr(self, request: Request) -> Response:
        """The code of the URL in the query, which the page knows: as a picture."""
        text = request.query_params.get("text", "")
        if not 0 < len(text) <= MAX_QR:
            return PlainTextResponse("nothing to show\n", HTTPStatus.BAD_REQUEST)
        picture = io.BytesIO()
        segno.make(text, error="m", micro=False).save(picture, kind="svg", light="white", scale=4)
        return Response(picture.getvalue(), media_type="image/svg+xml")

    async def live(self, web_socket: WebSocket) -> None:
        """The WebSocket; requests are kept as long as it is open."""
        await web_socket.accept()
        if self._pages >= MAX_PAGES:
            await web_socket.close(TRY_AGAIN_LATER, f"{MAX_PAGES} pages are open")
            return
        parts = self._parts
        self._pages += 1
        parts.overview.hurry()
        try:
            with parts.log.look():
                await Page(parts.log, parts.overview, parts.throughput).serve(web_socket)
        finally:
            self._pages -= 1

    # -- requests

    async def details(self, request: Request) -> Response:
        """All that is kept of one."""
        exchange = self._find(request)
        if exchange is None:
            return _gone()
        try:
            repeatable(exchange)
            why_not = ""
        except UsageError as error:
            why_not = error.text
        answer = exchange.answer_head
        asked = exchange.request_head
        first = b"%b %b HTTP/1.%d" % (asked.method, asked.target, asked.minor)
        side = None
        if answer is not None:
            line = b"HTTP/1.%d %d %b" % (answer.minor, answer.status, answer.reason)
            side = _side(line, answer.fields, exchange.answer_content)
        asking = _side(first, asked.fields, exchange.request_content)
        return _json(_Details(exchange.summary(), asking, side, why_not))

    async def curl(self, request: Request) -> Response:
        """One as a line for a shell."""
        exchange = self._find(request)
        if exchange is None:
            return _gone()
        if not exchange.request_content.is_whole:
            text = "the request's body was too large to be kept"
            return _json(requests.Failure(text), HTTPStatus.CONFLICT)
        state = await self._parts.overview.ask(requests.Status())
        assert isinstance(state, requests.ShareState)
        site = site_url(state, exchange.site)
        line = as_curl(site, exchange.request_head, bytes(exchange.request_content.data))
        return PlainTextResponse(line)

    async def replay(self, request: Request) -> object:
        """Send one again; the number of the new one."""
        exchange = self._find(request)
        if exchange is None:
            raise UsageError(GONE)
        return Replayed(await self._parts.replays.start(exchange))

    def _find(self, request: Request) -> Exchange | None:
        return self._parts.log.find(request.path_params["number"])

    # -- buttons

    async def command(self, request: Request) -> object:
        """What another terminal would ask the share: the body is as vshare/requests.py has it."""
        wanted = requests.parse(await _body(request))
        if not isinstance(wanted, ALLOWED):
            raise UsageError("the dashboard cannot do that", "see `vshare --help`")
        try:
            return await self._parts.overview.ask(wanted)
        finally:
            self._parts.overview.hurry()


class Replayed(requests.Result, frozen=True):
    """The number of the new request."""

    number: int


def _told(act: Callable[[Request], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    """What `act` gives, or why it did not, as the control socket would say it."""

    async def answer(request: Request) -> Response:
        try:
            body = requests.serialize_result(await act(request))
        except VshareError as error:
            failure = requests.Failure(error.text, error.hint, error.exit_code)
            return _json(failure, HTTPStatus.CONFLICT)
        return Response(body, media_type="application/json")

    return answer


async def _body(request: Request) -> bytes:
    """Raises RemoteProtocolError."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                body += part
                if len(body) > requests.MAX_REQUEST:
                    raise RemoteProtocolError("the command is too large")
    except (ClientDisconnect, TimeoutError):
        raise RemoteProtocolError("the command did not come whole") from None
    return bytes(body)


def site_url(state: requests.ShareState, label: str) -> str:
    """Where the site with this label is, without a slash at the end."""
    scheme, _, main = state.url.rstrip("/").partition("://")
    authority = with_label(main, ShareName(state.name), label) if label else main
    return f"{scheme}://{authority or main}"


def _side(line: bytes, fields: Fields, body: KeptBody) -> _Side:
    shown = show(bytes(body.data), fields, is_whole=body.is_whole)
    view = _BodyView(shown.text, shown.note, shown.is_text, body.size, len(body.data))
    pairs = [(as_text(name), as_text(value)) for name, value in fields]
    return _Side(as_text(line), pairs, view)


def _json(value: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _gone() -> Response:
    return _json(requests.Failure(GONE), HTTPStatus.NOT_FOUND)
