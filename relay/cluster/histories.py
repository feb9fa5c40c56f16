"""The histories of a cluster's nodes, for the pages of each: asked, and answered.

Each node has its own in its own SQLite (docs/protocol.md 4.3). Whose rows are wanted is said by who
asks, which is a node: it has the cluster's secret, and its pages know who has signed in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from relay.accounts.book import account_book
from relay.accounts.database import FILE
from relay.cluster.member import Member
from relay.cluster.records import LOCAL_BITS, NodeInfo, at
from relay.history.reader import HistoryReader, history_reader
from relay.registry import LocalRegistry
from relay.website.asking import (
    MAX_PRESENT,
    MAX_TOKENS,
    ListAsked,
    Place,
    Present,
    StoryAsked,
    TokensAsked,
    Told,
    parse_asked,
    rows_of,
    serialize,
    story_in,
)
from relay.website.records import tokens_at
from tunnel.errors import LocalProtocolError
from tunnel.names import ShareName

TOPIC = "history"
WITHIN = 2.0  # seconds for a node's answer: a page waits as long for one that is stuck
AT_ONCE = 2  # threads that wait for a disk on behalf of other nodes
# Questions that wait for those threads; fewer than a node answers at once, for there are others,
# on which more depends.
MAX_WAITING = 8
ASKED_AT_ONCE = 4  # pages of this node that others are asked for

T = TypeVar("T")


class HistoriesElsewhere:
    """See relay.website.histories.Others. `folder` is this node's state directory."""

    def __init__(self, member: Member, registry: LocalRegistry, folder: Path | None) -> None:
        self._member, self._registry, self._folder = member, registry, folder
        self._turns, self._asking = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(ASKED_AT_ONCE)
        self._waiting = 0
        member.questions.answer(TOPIC, self._answer)

    # -- asked

    def here(self) -> Place:
        """See Others."""
        return _place(self._member.info)

    def places(self) -> list[Place]:
        """See Others. One that was started again is known twice for a while."""
        places = {node.home: _place(node) for node in self._member.directory.others()}
        places.pop(self._member.info.home, None)
        return [places[home] for home in sorted(places)]

    def home_of(self, account: int) -> tuple[Place, int] | None:
        """See Others."""
        for place in self.places():
            number = at(account, place.home)
            if account >> LOCAL_BITS and not number >> LOCAL_BITS:
                return place, number
        return None

    def place_of(self, name: ShareName) -> Place | None:
        """See Others."""
        node = self._member.directory.node_of(name)
        return _place(node) if node is not None else None

    async def ask(self, places: Collection[Place], question: bytes) -> dict[str, bytes]:
        """See Others."""
        homes = {place.home for place in places}
        nodes = [node for node in self._member.directory.others() if node.home in homes]
        if not nodes:
            return {}
        async with self._asking:
            answers = await self._member.ask_all(nodes, TOPIC, question, WITHIN)
        return {node.home: answer for node, answer in answers if answer is not None}

    # -- answered

    async def _answer(self, question: bytes) -> bytes:
        """Raises VshareError: that is no answer."""
        if self._waiting >= MAX_WAITING:
            raise LocalProtocolError("too many ask for the history at once")
        asked, home = parse_asked(question), self._member.info.home
        self._waiting += 1
        try:
            match asked:
                case TokensAsked():
                    return serialize(await self._in_thread(lambda: self._tokens_of(asked.account)))
                case ListAsked():
                    rows = await self._read(asked.tokens, lambda it: rows_of(it, asked, home))
                    return serialize(rows)
                case StoryAsked():
                    return serialize(await self._tell(asked))
        finally:
            self._waiting -= 1

    async def _tell(self, asked: StoryAsked) -> Told | None:
        told = await self._read(asked.tokens, lambda it: story_in(it, asked, time.time()))
        return self._with_visits(told) if told is not None and asked.name else told

    def _with_visits(self, told: Told) -> Told:
        """With who is connected now, if it is that session that has the name now."""
        share = self._registry.get(ShareName(told.session.name))
        if share is None or share.token != told.session.token:
            return told
        visits = [each for each in self._registry.accounting.visits if each.share is share]
        visits.sort(key=lambda each: each.began, reverse=True)
        present = [
            Present(each.began_at, each.source, each.kind.value, each.received, each.sent)
            for each in visits[:MAX_PRESENT]
        ]
        return msgspec.structs.replace(told, present=present, count=len(visits))

    def _tokens_of(self, account: int) -> list[str]:
        if self._folder is None or not (self._folder / FILE).exists():
            return []
        with account_book(self._folder) as book:
            return [each.id for each in tokens_at(book, account)[:MAX_TOKENS]]

    async def _read(self, tokens: Collection[str] | None, act: Callable[[HistoryReader], T]) -> T:
        def work() -> T:
            with history_reader(self._folder or Path("/nowhere"), tokens) as reader:
                return act(reader)

        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._turns:
            return await asyncio.to_thread(work)


def _place(node: NodeInfo) -> Place:
    return Place(node.home, node.place)
