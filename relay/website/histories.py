"""What was, for the pages: of this relay, or of all the relays of its cluster together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from relay.history.reader import Page, Wanted
from relay.website.asking import (
    MAX_TOKENS,
    Asked,
    Cursor,
    Entry,
    ListAsked,
    Place,
    Row,
    StoryAsked,
    TokensAsked,
    Told,
    cursor_text,
    parse_cursor,
    parse_reference,
    parse_rows,
    parse_tokens,
    parse_told,
    read,
    rows_of,
    serialize,
    session_of,
    story_in,
    time_of,
)
from relay.website.door import Viewer
from relay.website.records import Records
from tunnel.errors import RemoteProtocolError, VshareError
from tunnel.names import ShareName

_DIGITS = 15  # of an ID: more are none

log = logging.getLogger(__name__)


class Others(Protocol):
    """The histories of the cluster's other relays (relay/cluster/histories.py)."""

    def here(self) -> Place:
        """This relay."""

    def places(self) -> list[Place]:
        """The other relays that live."""

    def home_of(self, account: int) -> tuple[Place, int] | None:
        """The other relay whose an account is, and its number there; None: it is this one's."""

    def place_of(self, name: ShareName) -> Place | None:
        """The other relay that the share of that name is connected to."""

    async def ask(self, places: Collection[Place], question: bytes) -> dict[str, bytes]:
        """The answers, by homes, of those who gave one in time."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of a list. `older` is where the next one begins, `missing` who did not answer;
    `are_several`: the rows may be of several relays."""

    rows: Sequence[Row]
    older: str | int | None
    is_first: bool
    missing: Sequence[str] = ()
    are_several: bool = False


@dataclass(frozen=True, slots=True)
class Story:
    """What is told of a session, and the relay that it was at (empty: this one)."""

    told: Told
    place: str = ""


class UnansweredError(Exception):
    """The relay at `place` that would know does not answer."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class Histories(Protocol):
    """What was. All raise VshareError."""

    async def rows(self, viewer: Viewer, asked: ListAsked, before: str) -> Listing:
        """Those asked for (`tokens` and `after` are set here, from who looks and from `before`,
        the `older` of the page before) but the last one, which tells that there are more."""

    async def story(self, viewer: Viewer, reference: str) -> Story | None:
        """Of the session that a row names so, if it is his. Raises UnansweredError."""

    async def current(self, viewer: Viewer, name: str) -> Story | None:
        """Of the share of that name that is connected, if it is his. Raises UnansweredError."""


class OwnHistory:
    """Of a relay that is alone."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def rows(self, viewer: Viewer, asked: ListAsked, before: str) -> Listing:
        """See Histories."""
        wanted = Wanted(search=asked.search, status=asked.status)
        number = _number(before)
        page = Page(number, asked.limit)
        found = await self._records.history(
            viewer, lambda reader: read(reader, asked.of, wanted, page)
        )
        rows = [Row(each, str(session_of(each))) for each in found[: asked.limit - 1]]
        older = rows[-1].entry.id if len(found) == asked.limit else None
        return Listing(rows, older, is_first=number is None)

    async def story(self, viewer: Viewer, reference: str) -> Story | None:
        """See Histories."""
        number = _number(reference)
        return await self._tell(viewer, StoryAsked(None, number)) if number is not None else None

    async def current(self, viewer: Viewer, name: str) -> Story | None:
        """See Histories."""
        return await self._tell(viewer, StoryAsked(None, name=name))

    async def _tell(self, viewer: Viewer, asked: StoryAsked) -> Story | None:
        told = await self._records.history(
            viewer, lambda reader: story_in(reader, asked, time.time())
        )
        return Story(told) if told is not None else None


class AllHistories:
    """Of a cluster's relays, each of which is asked when somebody looks."""

    def __init__(self, records: Records, others: Others) -> None:
        self._records, self._others = records, others

    async def rows(self, viewer: Viewer, asked: ListAsked, before: str) -> Listing:
        """See Histories."""
        after, here, places = parse_cursor(before), self._others.here(), self._others.places()
        answers: dict[Place, Sequence[Entry]] = {}
        tokens, silent = await self._tokens_of(viewer)
        limit = asked.limit
        asked = ListAsked(asked.of, tokens, limit, asked.search, asked.status, after)

        async def read_own() -> None:
            try:
                answers[here] = await self._records.history_of(
                    tokens, lambda reader: rows_of(reader, asked, here.home)
                )
            except VshareError as error:
                log.warning("the pages: %s", error.text)

        async def ask() -> None:
            asking = [place for place in places if place.home != silent]
            for home, text in (await self._others.ask(asking, serialize(asked))).items():
                place = next(each for each in asking if each.home == home)
                try:
                    answers[place] = parse_rows(asked, text)
                except RemoteProtocolError as error:
                    log.warning("what %s answered: %s", place.name, error.text)

        async with asyncio.TaskGroup() as group:
            group.create_task(read_own(), name="own history")
            group.create_task(ask(), name="other histories")
        missing = [place.name for place in (here, *places) if place not in answers]
        return _merged(answers, limit - 1, after, missing, are_several=bool(places))

    async def story(self, viewer: Viewer, reference: str) -> Story | None:
        """See Histories."""
        here, number = self._others.here().home, _number(reference)
        home, number = parse_reference(reference) or (here, number)
        if number is None:
            return None
        if home == here:
            return await self._tell(viewer, StoryAsked(None, number))
        place = next((each for each in self._others.places() if each.home == home), None)
        if place is None:
            return None
        return await self._ask_of(place, viewer, StoryAsked(None, number))

    async def current(self, viewer: Viewer, name: str) -> Story | None:
        """See Histories."""
        place = self._others.place_of(ShareName(name))
        if place is None:
            return await self._tell(viewer, StoryAsked(None, name=name))
        return await self._ask_of(place, viewer, StoryAsked(None, name=name))

    async def _tell(self, viewer: Viewer, asked: StoryAsked) -> Story | None:
        """Of a session at this relay."""
        tokens, _ = await self._tokens_of(viewer)
        told = await self._records.history_of(
            tokens, lambda reader: story_in(reader, asked, time.time())
        )
        return Story(told) if told is not None else None

    async def _ask_of(self, place: Place, viewer: Viewer, asked: StoryAsked) -> Story | None:
        tokens, silent = await self._tokens_of(viewer)
        if silent == place.home:
            raise UnansweredError(place.name)
        told = await self._answer_of(place, StoryAsked(tokens, asked.session, asked.name))
        try:
            parsed = parse_told(told)
        except RemoteProtocolError as error:
            log.warning("what %s answered: %s", place.name, error.text)
            raise UnansweredError(place.name) from None
        return Story(parsed, place.name) if parsed is not None else None

    async def _answer_of(self, place: Place, asked: Asked) -> bytes:
        answers = await self._others.ask([place], serialize(asked))
        if place.home not in answers:
            raise UnansweredError(place.name)
        return answers[place.home]

    async def _tokens_of(self, viewer: Viewer) -> tuple[list[str] | None, str]:
        """Whose rows he sees (see Records.tokens), those of revoked tokens among them: the relay
        at whose home his account is knows them. And its home, if it did not answer: what is good
        still is known here, too."""
        tokens = await self._records.tokens(viewer)
        home = self._others.home_of(viewer.account)
        if tokens is None:
            return None, ""
        silent = ""
        if home is not None:
            place, account = home
            try:
                tokens += parse_tokens(await self._answer_of(place, TokensAsked(account)))
            except UnansweredError:
                silent = place.home
            except RemoteProtocolError as error:
                log.warning("what %s answered: %s", place.name, error.text)
                silent = place.home
        return list(dict.fromkeys(tokens))[:MAX_TOKENS], silent


def _merged(
    answers: dict[Place, Sequence[Entry]],
    size: int,
    after: Cursor | None,
    missing: list[str],
    *,
    are_several: bool,
) -> Listing:
    """A page of the rows of several relays, each of which gave what comes first there."""
    found = [
        (time_of(each), at.home, each.id, each, at) for at, of in answers.items() for each in of
    ]
    found.sort(key=lambda row: row[:3], reverse=True)
    shown = found[:size]
    older = cursor_text(*shown[-1][:3]) if len(found) > size else None
    rows = [
        Row(each, f"{at.home}-{session_of(each)}", at.name if are_several else "")
        for *_, each, at in shown
    ]
    return Listing(rows, older, after is None, missing, are_several)


def _number(text: str) -> int | None:
    """An ID; None: it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
