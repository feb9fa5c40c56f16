"""The pages about what was: shares' sessions, one of them, and the access log."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.history.reader import MAX_SEARCH
from relay.website.asking import ListAsked
from relay.website.door import Door, Viewer
from relay.website.histories import Histories, Story, UnansweredError
from relay.website.records import Records
from tunnel.errors import VshareError

log = logging.getLogger(__name__)

PER_PAGE = 50  # rows


class HistoryPages:
    """See the module."""

    def __init__(self, door: Door, records: Records, histories: Histories) -> None:
        self._door, self._records, self._histories = door, records, histories
        self.routes = [
            Route("/history", door.looking(self._list, "history")),
            Route("/history/{id}", door.looking(self._one, "history")),
            Route("/log", door.looking(self._log, "log")),
        ]

    async def current(self, viewer: Viewer, name: str) -> Story | None:
        """That of the share that is connected with that name, if it is his, and can be read: the
        share is shown, and ended, without. Raises UnansweredError."""
        try:
            return await self._histories.current(viewer, name)
        except VshareError as error:
            log.warning("the pages: %s", error.text)
            return None

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        return await self._show(request, viewer, "history.html", "/history", "sessions")

    async def _one(self, request: Request, viewer: Viewer) -> Response:
        try:
            story = await self._histories.story(viewer, request.path_params["id"])
        except UnansweredError as error:
            title = f"{error.place} did not answer"
            text = "What is asked for is at that relay of the cluster. Look again in a while."
            return self._door.refuse(viewer, HTTPStatus.SERVICE_UNAVAILABLE, title, text)
        if story is None:
            return self._door.not_found(viewer)
        return self._door.show(request, viewer, "session.html", at="/history", story=story)

    async def _log(self, request: Request, viewer: Viewer) -> Response:
        status = request.query_params.get("status", "")
        digit = int(status) if status in ("1", "2", "3", "4", "5") else None
        is_visits = request.query_params.get("of", "") == "connections"
        of: Literal["visits", "requests"] = "visits" if is_visits else "requests"
        return await self._show(
            request,
            viewer,
            "log.html",
            "/log",
            of,
            None if is_visits else digit,
            is_visits=is_visits,
            status="" if digit is None or is_visits else status,
        )

    async def _show(
        self,
        request: Request,
        viewer: Viewer,
        template: str,
        at: str,
        of: Literal["sessions", "visits", "requests"],
        digit: int | None = None,
        **context: object,
    ) -> Response:
        """A list."""
        search = _search(request)
        asked = ListAsked(of, None, PER_PAGE + 1, search, digit)
        before = request.query_params.get("before", "")
        listing = await self._histories.rows(viewer, asked, before)
        return self._door.show(
            request,
            viewer,
            template,
            at=at,
            listing=listing,
            rows=listing.rows,
            search=search,
            is_kept=self._records.has_history or listing.are_several,
            **context,
        )


def _search(request: Request) -> str:
    return request.query_params.get("q", "").strip()[:MAX_SEARCH]
