"""The pages about what was: shares' sessions, one of them, and the access log."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.history.reader import (
    MAX_SEARCH,
    Event,
    HistoryReader,
    Page,
    RequestEntry,
    SessionEntry,
    VisitEntry,
    Wanted,
)
from relay.website.door import Door, Viewer
from relay.website.graph import Graph, graph_of, step_for
from relay.website.records import Records
from tunnel.errors import VshareError

log = logging.getLogger(__name__)

PER_PAGE = 50  # rows
FEW = 20  # rows of the lists on a session's page
_DIGITS = 15  # of an ID: more are none


@dataclass(frozen=True, slots=True)
class Story:
    """One session, and what is told of it."""

    session: SessionEntry
    graph: Graph
    events: list[Event]
    visits: list[VisitEntry]
    requests: list[RequestEntry]


class HistoryPages:
    """See the module."""

    def __init__(self, door: Door, records: Records) -> None:
        self._door, self._records = door, records
        self.routes = [
            Route("/history", door.looking(self._list, "history")),
            Route("/history/{id}", door.looking(self._one, "history")),
            Route("/log", door.looking(self._log, "log")),
        ]

    async def current(self, viewer: Viewer, name: str) -> Story | None:
        """That of the share that is connected with that name, if it is his, and can be read: the
        share is shown, and ended, without."""

        def act(reader: HistoryReader) -> Story | None:
            found = reader.sessions(Wanted(name=name, lasting=True), Page(limit=1))
            return _story(reader, found[0], time.time()) if found else None

        try:
            return await self._records.history(viewer, act)
        except VshareError as error:
            log.warning("the pages: %s", error.text)
            return None

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        search, before = _search(request), _before(request)
        page = Page(before, PER_PAGE + 1)
        found = await self._records.history(
            viewer, lambda reader: reader.sessions(Wanted(search=search), page)
        )
        return self._show(request, viewer, "history.html", "/history", found, search=search)

    async def _one(self, request: Request, viewer: Viewer) -> Response:
        number = _number(request.path_params["id"])

        def act(reader: HistoryReader) -> Story | None:
            session = reader.session(number) if number is not None else None
            return _story(reader, session, time.time()) if session is not None else None

        story = await self._records.history(viewer, act)
        if story is None:
            return self._door.not_found(viewer)
        return self._door.show(request, viewer, "session.html", at="/history", story=story)

    async def _log(self, request: Request, viewer: Viewer) -> Response:
        search, before = _search(request), _before(request)
        status = request.query_params.get("status", "")
        digit = int(status) if status in ("1", "2", "3", "4", "5") else None
        is_visits = request.query_params.get("of", "") == "connections"
        wanted, page = Wanted(search=search, status=digit), Page(before, PER_PAGE + 1)

        def act(reader: HistoryReader) -> list[VisitEntry] | list[RequestEntry]:
            return reader.visits(wanted, page) if is_visits else reader.requests(wanted, page)

        found = await self._records.history(viewer, act)
        return self._show(
            request,
            viewer,
            "log.html",
            "/log",
            found,
            search=search,
            status="" if digit is None or is_visits else status,
            is_visits=is_visits,
        )

    def _show(
        self,
        request: Request,
        viewer: Viewer,
        template: str,
        at: str,
        found: list[SessionEntry] | list[VisitEntry] | list[RequestEntry],
        **context: object,
    ) -> Response:
        """A list; of `found` the last is there only if there are more."""
        rows = found[:PER_PAGE]
        return self._door.show(
            request,
            viewer,
            template,
            at=at,
            rows=rows,
            older=rows[-1].id if len(found) > PER_PAGE else None,
            is_first=_before(request) is None,
            is_kept=self._records.has_history,
            **context,
        )


def _story(reader: HistoryReader, session: SessionEntry, now: float) -> Story:
    until = min(now, session.ended_at or now)
    step = step_for(session.began_at, until)
    of_it, few = Wanted(session=session.id), Page(limit=FEW)
    points = reader.traffic(Wanted(session=session.id, since=session.began_at - step), step)
    return Story(
        session,
        graph_of(points, session.began_at, until, step),
        reader.events(of_it, FEW),
        reader.visits(of_it, few),
        reader.requests(of_it, few),
    )


def _search(request: Request) -> str:
    return request.query_params.get("q", "").strip()[:MAX_SEARCH]


def _before(request: Request) -> int | None:
    return _number(request.query_params.get("before", ""))


def _number(text: str) -> int | None:
    """An ID; None: it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
