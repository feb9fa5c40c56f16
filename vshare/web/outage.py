"""What visitors see when a site's server does not answer: what was tried, and since when.

The share says it, not the relay, when the rules have let a request in: so who may not open the site
is not told how it is.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.http_heads import RequestHead
from tunnel.http_pages import Page
from vshare.durations import describe_duration
from vshare.web.pages import page_reply
from vshare.web.rules import Reply
from vshare.web.sites import Site
from vshare.web.visit import host_of

RETRY_AFTER = 10  # seconds: a person, or a tool, starts it again
_NOT_RUNNING = "The application behind {} is not running"
_NO_ANSWER = "The application behind {} does not answer"
_SAID: dict[Code, tuple[HTTPStatus, str, str]] = {
    Code.CONNECTION_REFUSED: (HTTPStatus.BAD_GATEWAY, _NOT_RUNNING, "nothing listens there"),
    Code.TIMED_OUT: (HTTPStatus.GATEWAY_TIMEOUT, _NO_ANSWER, "there was no answer in time"),
    Code.BUSY: (HTTPStatus.SERVICE_UNAVAILABLE, _NO_ANSWER, "too many are there at once"),
    Code.CONNECTION_RESET: (HTTPStatus.BAD_GATEWAY, _NO_ANSWER, "it hung up"),
}
_OTHERWISE = (HTTPStatus.BAD_GATEWAY, _NO_ANSWER, "the machine cannot be reached")


class Outages:
    """Since when servers do not answer, as far as visitors found. `clock`: seconds that never go
    back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}  # by port: at most all of the share's sites

    def began(self, site: Site, error: VshareError) -> Outage:
        """The site's server did not answer."""
        now = self._clock()
        code = error.code if isinstance(error, RefusedError) else Code.HOST_UNREACHABLE
        return Outage(site, code, now - self._since.setdefault(site.port, now))

    def ended(self, site: Site) -> None:
        """It answers."""
        self._since.pop(site.port, None)


class Outage:
    """A server that does not answer; `seconds` since that was found."""

    def __init__(self, site: Site, code: Code, seconds: float) -> None:
        self._site, self._code, self._seconds = site, code, seconds

    def reply(self, head: RequestHead) -> Reply:
        """To this request, as the visitor sent it."""
        status, title, why = _SAID.get(self._code, _OTHERWISE)
        title = title.format(host_of(head).decode("latin-1"))
        place = "the machine's loopback" if self._site.loopback else "the shared machine"
        tried = f"Port {self._site.port} of {place} was tried just now: {why}."
        if self._seconds >= 1:
            tried += f" It has been so for {describe_duration(self._seconds)}."
        hint = "Who shares the site can start it, or say where it is."
        return page_reply(head, Page(status, title, [tried, hint], retry_after=RETRY_AFTER))
