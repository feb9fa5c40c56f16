"""The relay's web pages as one ASGI application."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from relay.accounts.limits import UNLIMITED, Limits
from relay.accounts.permits import Permits
from relay.control import Urls
from relay.registry import LocalRegistry, Share
from relay.website.door import Door
from relay.website.hardened import Hardened
from relay.website.histories import AllHistories, Histories, Others, OwnHistory
from relay.website.history import HistoryPages
from relay.website.holdings import Elsewhere, Holdings
from relay.website.pages import Pages
from relay.website.records import Records
from relay.website.sealed import KEY_SIZE, Seal
from relay.website.sessions import Sessions
from relay.website.shares import SharePages, StatesOf
from relay.website.sign_outs import SignOuts
from relay.website.together import Together
from relay.website.token_desk import TokenDesk
from relay.website.tokens import TokenPages


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pages show and change. Who signs in has a token in `permits`, whose limits are these
    by `defaults`; accounts and history are in the state directory `folder`; `end_lease` as Control
    has it; `states_of` tells of a share's own domains; `elsewhere` of other relays' shares,
    `together` of their pages, `histories` of what was there."""

    registry: LocalRegistry
    permits: Permits
    urls: Urls
    folder: Path
    end_lease: Callable[[Share], None]
    defaults: Limits = UNLIMITED
    states_of: StatesOf | None = None
    elsewhere: Elsewhere | None = None
    together: Together | None = None
    histories: Others | None = None


def make_website(host: str, parts: Parts) -> ASGIApp:
    """The pages at `host`."""
    permits, urls = parts.permits, parts.urls
    pages = Pages(urls.domain)
    together, sign_outs = parts.together, SignOuts(time.time)
    seal = Seal(together.key if together else secrets.token_bytes(KEY_SIZE), secrets.token_bytes)
    sessions = Sessions(seal, sign_outs, secrets.token_bytes, time.time)
    if together is not None:
        together.share_sign_outs(sign_outs)
    door = Door(permits, pages, sessions, seal)
    holdings, records = (
        Holdings(parts.registry, permits, parts.end_lease, parts.elsewhere),
        Records(parts.folder, permits),
    )
    others = parts.histories
    histories: Histories = OwnHistory(records) if others is None else AllHistories(records, others)
    history = HistoryPages(door, records, histories)
    desk = TokenDesk(permits, records, parts.defaults)
    routes = [
        *door.routes,
        *SharePages(door, holdings, urls, history, parts.states_of).routes,
        *history.routes,
        *TokenPages(door, desk, parts.defaults, together).routes,
        Route("/static/{file}", pages.static),
    ]

    async def nothing(request: Request, error: Exception) -> Response:
        return pages.problem(HTTPStatus.NOT_FOUND, "There is no such page", "")

    async def no_method(request: Request, error: Exception) -> Response:
        title = "That is not done with this address"
        return pages.problem(HTTPStatus.METHOD_NOT_ALLOWED, title, "")

    async def fault(request: Request, error: Exception) -> Response:
        text = "The relay's operator finds it in the relay's log."
        return pages.problem(HTTPStatus.INTERNAL_SERVER_ERROR, "That did not work", text)

    handlers = {404: nothing, 405: no_method, 500: fault}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    where = f"https://{host}{'' if urls.port == 443 else f':{urls.port}'}/"
    return Hardened(app, where)
