"""The pages about tokens: whose there are, a new one, the end of one."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.accounts.book import TokenEntry
from relay.accounts.limits import Limits
from relay.website.door import Asker, Door, Viewer
from relay.website.forms import Form
from relay.website.paging import page_of
from relay.website.together import Together
from relay.website.token_asking import (
    FIELDS,
    MAX_FIELD,
    ListAsked,
    Listed,
    Made,
    MakeAsked,
    Refused,
    Told,
    entries_in,
    parse_told,
    serialize,
    token_in,
)
from relay.website.token_desk import NOT_HERE, NotMadeError, TokenDesk
from tunnel.errors import RemoteProtocolError
from tunnel.relay_token import RelayToken

PER_PAGE = 50  # tokens
NOT_MADE = "No token was made"
AWAY = (
    "The relay that keeps your tokens does not answer now: try again. If a token was made after"
    " all, it is in the list then, and may be revoked."
)

log = logging.getLogger(__name__)


class TokenPages:
    """`defaults` are the limits of each token that has none of its own; `together`: of relays that
    are one, each keeps its own accounts, and is asked about them."""

    def __init__(
        self, door: Door, desk: TokenDesk, defaults: Limits, together: Together | None
    ) -> None:
        self._door, self._desk, self._defaults = door, desk, defaults
        self._together = together
        if together is not None:
            together.answer_tokens(desk.answer)
        self.routes = [
            Route("/tokens", door.looking(self._list, "tokens"), methods=["GET"]),
            Route("/tokens", door.acting(self._create), methods=["POST"]),
            Route("/tokens/{id}/revoke", door.acting(self._revoke), methods=["POST"]),
        ]

    async def _list(self, request: Request, viewer: Viewer) -> Response:
        entries, is_whole = await self._entries(viewer)
        part = page_of(entries, request.query_params.get("page", ""), PER_PAGE)
        made = viewer.session.fresh.pop("token", "")
        return self._door.show(
            request,
            viewer,
            "tokens.html",
            at="/tokens",
            page=part,
            now=time.time(),
            made=made,
            own=viewer.permit.limits.or_else(self._defaults),
            is_whole=is_whole,
        )

    async def _entries(self, asker: Asker) -> tuple[list[TokenEntry], bool]:
        """His, and whether they are all."""
        entries = await self._desk.entries(asker)
        if self._together is None:
            return entries, True
        question = serialize(ListAsked(asker.permit.token))
        if asker.is_admin:
            answers = await self._together.ask_others(question)
        elif self._together.is_elsewhere(asker.account):
            answers = [await self._together.ask_home(asker.account, question)]
        else:
            return entries, True
        told = [_parse(each) for each in answers]
        lists = [each for each in told if isinstance(each, Listed)]
        if not lists and not asker.is_admin:
            return self._desk.known_entries(asker), False
        theirs = await self._desk.as_known_here([e for each in lists for e in entries_in(each)])
        return self._desk.sorted([*entries, *theirs]), len(lists) == len(told)

    async def _create(self, request: Request, viewer: Viewer, form: Form) -> Response:
        try:
            made = await self._make(viewer, form)
        except NotMadeError as error:
            status = HTTPStatus.BAD_REQUEST if error.is_wish else HTTPStatus.CONFLICT
            return self._door.refuse(viewer, status, NOT_MADE, error.text)
        viewer.session.fresh["token"] = made.text
        return self._door.done(viewer, f"The token {made.id} was made.", "tokens")

    async def _make(self, asker: Asker, form: Form) -> RelayToken:
        """A new one, of the relay that keeps his account. Raises NotMadeError, VshareError."""
        if self._together is None or not self._together.is_elsewhere(asker.account):
            return await self._desk.make(asker, form)
        known = {name: form[name][: MAX_FIELD + 1] for name in FIELDS if name in form}
        if any(len(text) > MAX_FIELD for text in known.values()):
            raise NotMadeError("That is too long.", is_wish=True)
        question = serialize(MakeAsked(asker.permit.token, known))
        match _parse(await self._together.ask_home(asker.account, question)):
            case Made() as made:
                return token_in(made)
            case Refused(text, is_wish):
                raise NotMadeError(text, is_wish=is_wish)
            case Listed():
                raise NotMadeError(NOT_HERE)
            case None:
                raise NotMadeError(AWAY)

    async def _revoke(self, request: Request, viewer: Viewer, form: Form) -> Response:
        token = request.path_params["id"]
        if not await self._desk.revoke(viewer, token):
            return self._door.not_found(viewer)
        return self._door.done(viewer, f"The token {token} was revoked: its shares end.", "tokens")


def _parse(answer: bytes | None) -> Told | None:
    """None: there is no answer, or one that is none."""
    if answer is None:
        return None
    try:
        return parse_told(answer)
    except RemoteProtocolError as error:
        log.warning("another relay's pages: %s", error.text)
        return None
