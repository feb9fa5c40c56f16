"""Who comes to the pages: signs in with a token, is known by a cookie, may send a form."""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from relay.accounts.permits import ADMIN, PAGES, Permit, Permits
from relay.operation.events import Event, tell
from relay.source_buckets import SourceBuckets
from relay.website.forms import Form, FormError, read_form
from relay.website.pages import Pages
from relay.website.sealed import Seal
from relay.website.sessions import COOKIE, ONCE, ONCE_WITHIN, Session, Sessions
from tunnel.errors import VshareError
from tunnel.relay_token import MAX_TOKEN
from tunnel.source import source_of

FORM_COOKIE = "__Host-vrelay-form"  # before there is a session: whose the sign-in form is
# Wrong tokens of one source at once that are logged. It is not this that keeps tokens from being
# guessed: 256 random bits do. It keeps the log short, and who has a good token is let in whatever
# others behind the same address do.
FAILURES = 10
REFILL = 6.0  # seconds until one more is
SECRET = 24  # bytes
LIVE = "x-vrelay-live"  # of the page's own looks for news: nobody has clicked
WAYS = {"shares": "/shares", "history": "/history", "log": "/log", "tokens": "/tokens"}
FIRST = "shares"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who has signed in, here or at another relay of the cluster, and what the token is for."""

    permit: Permit

    @property
    def account(self) -> int:
        """Whose things are shown."""
        return self.permit.account

    @property
    def is_admin(self) -> bool:
        """Whether everybody's are."""
        return ADMIN in self.permit.scopes


@dataclass(frozen=True, slots=True)
class Viewer(Asker):
    """Who looks: also the session."""

    session: Session


Look = Callable[[Request, Viewer], Awaitable[Response]]
Act = Callable[[Request, Viewer, Form], Awaitable[Response]]


class Door:
    """Lets in who has a token. Nothing of a token is logged, or put into an address or a page.
    With `seal` the sign-in forms are known again."""

    def __init__(self, permits: Permits, pages: Pages, sessions: Sessions, seal: Seal) -> None:
        self._permits, self._pages, self._sessions = permits, pages, sessions
        self._seal = seal
        self._failures = SourceBuckets(FAILURES, REFILL)
        self.routes = [
            Route("/", self._front),
            Route("/sign-in", self._show_form, methods=["GET"]),
            Route("/sign-in", self._sign_in, methods=["POST"]),
            Route("/sign-out", self.acting(self._sign_out), methods=["POST"]),
        ]

    # -- for the pages behind it

    def looking(self, look: Look, where: str = FIRST) -> Callable[[Request], Awaitable[Response]]:
        """`look` for who is signed in; others sign in first, and come to the way `where` then."""

        async def endpoint(request: Request) -> Response:
            viewer = self._viewer(request)
            if viewer is None:
                return _go(f"/sign-in?next={where}")
            response = await self._try(look(request, viewer), viewer)
            return self._kept(request, response, viewer.session)

        return endpoint

    def acting(self, act: Act) -> Callable[[Request], Awaitable[Response]]:
        """`act` for a form that who is signed in has sent from a page of ours."""

        async def endpoint(request: Request) -> Response:
            if not _is_from_here(request):
                return self._from_elsewhere()
            try:
                form = await read_form(request)
            except FormError as error:
                return self._pages.problem(error.status, "That did not work", error.text)
            viewer = self._viewer(request)
            if viewer is None:
                return _go("/sign-in")
            if not _equal(form.get("csrf", ""), viewer.session.csrf):
                return self._from_elsewhere()
            response = await self._try(act(request, viewer, form), viewer)
            return self._kept(request, response, viewer.session)

        return endpoint

    def _kept(self, request: Request, response: Response, session: Session) -> Response:
        """`response`, with what the browser is to keep from now on."""
        if self._sessions.has_ended(session):
            _set_cookie(response, COOKIE, "", 0)
            _set_cookie(response, ONCE, "", 0)
            return response
        if LIVE in request.headers:
            return response
        if self._sessions.click(session):
            cookie = self._sessions.cookie(session)
            _set_cookie(response, COOKIE, cookie, self._sessions.lasts(session))
        if session.fresh:
            _set_cookie(response, ONCE, self._sessions.once(session), int(ONCE_WITHIN))
        elif ONCE in request.cookies:
            _set_cookie(response, ONCE, "", 0)
        return response

    async def _try(self, answer: Awaitable[Response], viewer: Viewer) -> Response:
        """What cannot be read or written now (the disk is full) is said, and logged."""
        try:
            return await answer
        except VshareError as error:
            log.warning("the pages: %s", error.text)
            title, text = "That did not work", "The relay cannot read or write what it takes now."
            return self.refuse(viewer, HTTPStatus.SERVICE_UNAVAILABLE, title, text)

    def show(
        self, request: Request, viewer: Viewer, template: str, /, **context: object
    ) -> Response:
        """A page for who is signed in; what was to be said once is."""
        said = "" if LIVE in request.headers else viewer.session.fresh.pop("said", "")
        return self._pages.render(template, HTTPStatus.OK, viewer=viewer, said=said, **context)

    def not_found(self, viewer: Viewer) -> Response:
        """For what there is not, and for what is another's: nobody can tell which."""
        return self._pages.problem(
            HTTPStatus.NOT_FOUND,
            "There is no such thing here",
            "It may have ended, or been somebody else's.",
            viewer=viewer,
        )

    def refuse(self, viewer: Viewer, status: HTTPStatus, title: str, text: str) -> Response:
        """Why a click did nothing."""
        return self._pages.problem(status, title, text, viewer=viewer)

    def done(self, viewer: Viewer, said: str, where: str) -> Response:
        """On to the way `where`, which says what was done."""
        viewer.session.fresh["said"] = said
        return _go(WAYS[where])

    def _viewer(self, request: Request) -> Viewer | None:
        now = time.time()
        cookie = request.cookies.get(COOKIE, "")
        session = self._sessions.find(cookie, lambda token: self._let_in(token, now))
        permit = self._permits.get(session.token, now) if session is not None else None
        if session is None or permit is None:
            return None
        session.fresh = self._sessions.fresh(session, request.cookies.get(ONCE, ""))
        return Viewer(permit, session)

    def _let_in(self, token: str, now: float) -> bool:
        permit = self._permits.get(token, now)
        return permit is not None and _may_look(permit)

    # -- signing in and out

    async def _front(self, request: Request) -> Response:
        if self._viewer(request) is not None:
            return _go(WAYS[FIRST])
        return await self._show_form(request)

    async def _show_form(self, request: Request) -> Response:
        return self._form(request, _way(request.query_params.get("next", "")))

    def _form(
        self, request: Request, way: str, status: HTTPStatus = HTTPStatus.OK, wrong: str = ""
    ) -> Response:
        known = request.cookies.get(FORM_COOKIE, "")
        cookie = known or secrets.token_urlsafe(SECRET)
        response = self._pages.render(
            "sign-in.html", status, way=way, wrong=wrong, csrf=self._proof(cookie)
        )
        if not known:
            _set_cookie(response, FORM_COOKIE, cookie, None)
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            response.headers["Retry-After"] = "60"
        return response

    async def _sign_in(self, request: Request) -> Response:
        if not _is_from_here(request):
            return self._from_elsewhere()
        try:
            form = await read_form(request)
        except FormError as error:
            return self._pages.problem(error.status, "That did not work", error.text)
        way = _way(form.get("next", ""))
        cookie = request.cookies.get(FORM_COOKIE, "")
        if not cookie or not _equal(form.get("csrf", ""), self._proof(cookie)):
            wrong = "This form was too old, or the browser keeps no cookies. Try again."
            return self._form(request, way, HTTPStatus.FORBIDDEN, wrong)
        source, now = _source(request), time.monotonic()
        permit = self._permits.known(form.get("token", "")[:MAX_TOKEN], time.time())
        if permit is not None and not _may_look(permit):
            wrong = "That token is for sharing alone. One of the scope pages signs in here."
            return self._form(request, way, HTTPStatus.FORBIDDEN, wrong)
        if permit is None:
            if not self._failures.take(source, now):
                wrong = "Many tokens from where you are were wrong lately, and so is this one."
                return self._form(request, way, HTTPStatus.TOO_MANY_REQUESTS, wrong)
            text = "somebody could not sign in at the pages"
            tell(log, logging.INFO, Event.SIGN_IN_REFUSED, text, source=source)
            wrong = "That token is not good here. It may have been revoked, or its time is over."
            return self._form(request, way, HTTPStatus.FORBIDDEN, wrong)
        earlier = self._viewer(request)
        if earlier is not None:
            self._sessions.end(earlier.session)
        response = _go(WAYS[way])
        made = self._sessions.begin(permit.token)
        _set_cookie(response, COOKIE, self._sessions.cookie(made), self._sessions.lasts(made))
        _set_cookie(response, FORM_COOKIE, "", 0)
        text = f"the token {permit.token} signed in at the pages"
        tell(log, logging.INFO, Event.SIGNED_IN, text, token=permit.token, source=source)
        return response

    async def _sign_out(self, request: Request, viewer: Viewer, form: Form) -> Response:
        self._sessions.end(viewer.session)
        return _go("/")

    def _proof(self, cookie: str) -> str:
        """What a sign-in form has in it that goes with that cookie, and only that."""
        return self._seal.proof("sign-in", cookie)

    def _from_elsewhere(self) -> Response:
        return self._pages.problem(
            HTTPStatus.FORBIDDEN,
            "That came from another page",
            "Nothing was changed. Open this relay's page itself, and click there.",
        )


def _may_look(permit: Permit) -> bool:
    return PAGES in permit.scopes or ADMIN in permit.scopes


def _is_from_here(request: Request) -> bool:
    """Whether a page of this very origin sent the form, as browsers say of themselves."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return site is not None
    return origin == f"https://{request.headers.get('host', '').lower()}"


def _way(text: str) -> str:
    """Where one goes after signing in: one of ours, whatever was asked for."""
    return text if text in WAYS else FIRST


def _go(place: str) -> RedirectResponse:
    """`place` is a path of ours, and nothing that somebody sent."""
    return RedirectResponse(place, HTTPStatus.SEE_OTHER)


def _set_cookie(response: Response, name: str, value: str, lasts: int | None) -> None:
    response.set_cookie(name, value, max_age=lasts, secure=True, httponly=True, samesite="lax")


def _source(request: Request) -> str:
    address = request.client.host if request.client else ""
    return source_of(address.removeprefix("::ffff:"))


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
