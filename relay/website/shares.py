"""The pages about what is shared now: all of somebody's, one of them, and its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.control import Urls
from relay.ends import Owned
from relay.registry import Share
from relay.website.door import Door, Viewer
from relay.website.forms import Form
from relay.website.histories import UnansweredError
from relay.website.history import HistoryPages
from relay.website.holdings import Holdings
from tunnel.control import OwnDomainState
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_name, challenge_value

PER_PAGE = 50  # shares
MAX_VISITS = 100  # connections that a share's page lists; the rest is a number


StatesOf = Callable[[Share], Sequence[OwnDomainState]]


@dataclass(frozen=True, slots=True)
class Domain:
    """An own domain of a share's, and the TXT record that proves it."""

    state: OwnDomainState
    record: str
    value: str


class SharePages:
    """See the module."""

    def __init__(
        self,
        door: Door,
        holdings: Holdings,
        urls: Urls,
        history: HistoryPages,
        states_of: StatesOf | None,
    ) -> None:
        self._door, self._holdings, self._urls = door, holdings, urls
        self._history, self._states_of = history, states_of
        self.routes = [
            Route("/shares", door.looking(self._list)),
            Route("/shares/{name}", door.looking(self._one)),
            Route("/shares/{name}/end", door.acting(self._end), methods=["POST"]),
        ]

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        page = self._holdings.shares(viewer, request.query_params.get("page", ""), PER_PAGE)
        return self._door.show(
            request, viewer, "shares.html", at="/shares", page=page, now=time.time()
        )

    async def _one(self, request: Request, viewer: Viewer) -> Response:
        name = request.path_params["name"]
        share = self._holdings.share(viewer, name)
        if share is None:
            owned = self._holdings.elsewhere(viewer, name)
            if owned is None:
                return self._door.not_found(viewer)
            return await self._elsewhere(request, viewer, owned)
        visits = self._holdings.visits(share)
        return self._door.show(
            request,
            viewer,
            "share.html",
            at="/shares",
            share=share,
            url=self._url(share.name) if share.http else "",
            domains=self._domains(share),
            story=await self._history.current(viewer, share.name),
            visits=visits[:MAX_VISITS],
            count=len(visits),
            now=time.time(),
        )

    async def _elsewhere(self, request: Request, viewer: Viewer, share: Owned) -> Response:
        story, silent = None, ""
        try:
            story = await self._history.current(viewer, share.name)
        except UnansweredError as error:
            silent = error.place
        return self._door.show(
            request,
            viewer,
            "elsewhere.html",
            at="/shares",
            share=share,
            url=self._url(share.name) if story is not None and story.told.session.http else "",
            story=story,
            silent=silent,
            now=time.time(),
        )

    async def _end(self, request: Request, viewer: Viewer, form: Form) -> Response:
        name = request.path_params["name"]
        share = self._holdings.share(viewer, name) or self._holdings.elsewhere(viewer, name)
        if share is None:
            return self._door.not_found(viewer)
        self._holdings.end(viewer, share)
        return self._door.done(viewer, f"{share.name} was ended.", "shares")

    def _domains(self, share: Share) -> list[Domain]:
        states = self._states_of(share) if self._states_of is not None else []
        return [
            Domain(
                each,
                str(challenge_name(OwnDomain(each.host))),
                challenge_value(share.key_hash, OwnDomain(each.host)),
            )
            for each in states
        ]

    def _url(self, name: ShareName) -> str:
        return self._urls.https(name) or self._urls.http(name)
