"""What tokens, users and sources use at all nodes, so that a limit is one of the cluster's.

Each node says what they have there (docs/protocol.md 4.3), whole and again whenever that changes,
and adds to its own what the others say: of nodes that live what is now, and of all that spoke today
the bytes. It is sealed (relay/cluster/seals.py), and addresses are not in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Annotated

import msgspec

from relay.accounts.elsewhere import NOTHING, Numbers
from relay.accounts.holders import SOURCE, USER
from relay.accounts.quotas import Quotas
from relay.cluster.member import Member
from relay.cluster.records import Wish, everywhere
from tunnel.errors import RemoteProtocolError
from tunnel.names import ShareName

TOPIC = "usage"
SAY_EVERY = 1.0  # seconds: a limit is overrun for as long, and a look, at most
# What others had when Redis was heard last goes on to count for so long: they cannot be asked, and
# nobody is to be kept out by what has ended meanwhile.
COUNT_WITHOUT_REDIS = 30.0  # seconds
MAX_SAID = 4_096  # holders: some milliseconds to write and to read
MAX_HOLDER = 64  # characters
MAX_NOTICE = MAX_SAID * 192 + 1_024  # bytes of one node's: a row has a holder and five numbers
MAX_REMEMBERED = 20_000  # holders whose names elsewhere are remembered

log = logging.getLogger(__name__)
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**18)]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What one holder has: see Numbers."""

    holder: Annotated[str, msgspec.Meta(max_length=MAX_HOLDER)]
    moved: _Count
    guests: _Count
    streams: _Count
    wanting: _Count
    rate: _Count


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a node (by its ID) says of all that have something there; bytes are of `day`."""

    node: str
    day: int
    rows: Annotated[list[Row], msgspec.Meta(max_length=MAX_SAID)]


_decoder = msgspec.json.Decoder(Said)


class SharedUsage:
    """Tells the others what `quotas` count, and those what the others have. `run` does the work."""

    def __init__(self, member: Member, quotas: Quotas) -> None:
        self._member, self._quotas, self._home = member, quotas, member.info.home
        self._heard_of: dict[str, bytes] = {}  # notices as they were read last, by home
        self._said: dict[str, Said] = {}  # what was good of those: also when Redis has lost it
        self._stamps: dict[str, int] = {}  # the highest of each node's
        self._own = b""
        self._is_cut = False
        self._sums: dict[str, Numbers] = {}
        self._summed: tuple[frozenset[str], int] | None = None  # nodes and day of that
        self._reached_at = time.monotonic()  # when Redis heard this node last
        self._names: dict[str, str] = {}
        member.listen(TOPIC, self._heard)
        quotas.elsewhere = self

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._say()
            if self._summed != self._present():
                self._sum()
            await asyncio.sleep(SAY_EVERY)

    # -- what this node asks

    def numbers(self, holder: str) -> Numbers:
        """See relay.accounts.elsewhere.Elsewhere."""
        return self._sums.get(self.holder_everywhere(holder), NOTHING) if self._sums else NOTHING

    def shares(self, holder: str, name: str, key_hash: bytes, room: int) -> int:
        """See relay.accounts.elsewhere.Elsewhere. Those of users: of the others Redis knows."""
        if not holder.startswith(USER):
            return 0
        directory, key = self._member.directory, key_hash.hex()
        account = everywhere(int(holder.removeprefix(USER)), self._home)
        names = directory.names_of(str(account))
        if len(names) < room:
            return 0  # nearly always: no look at thousands
        return sum(
            each != name and directory.records[each].key != key
            for each in names
            if directory.node_of(ShareName(each)) is not None
        )

    def holder_everywhere(self, holder: str) -> str:
        """As all nodes call it: users by a number that no other has, sources by no address."""
        if holder not in self._names:
            if len(self._names) >= MAX_REMEMBERED:
                self._names.clear()
            self._names[holder] = self._name(holder)
        return self._names[holder]

    def hide(self, wish: Wish) -> Wish:
        """The same, with no address in it."""
        if not wish.token.startswith(SOURCE):
            return wish
        is_counted = wish.shares is not None
        return replace(wish, token=self.holder_everywhere(wish.token) if is_counted else "")

    def _name(self, holder: str) -> str:
        if holder.startswith(USER):
            return f"{USER}{everywhere(int(holder.removeprefix(USER)), self._home)}"
        if holder.startswith(SOURCE):
            return SOURCE + self._member.seals.hide(holder.removeprefix(SOURCE))
        return holder

    # -- what it says

    def _say(self) -> None:
        present = self._quotas.present(MAX_SAID + 1)
        if len(present) > MAX_SAID and not self._is_cut:
            log.warning(
                "more than %d tokens, users and sources with limits are active: the other nodes"
                " hear of those that are nearest to a limit",
                MAX_SAID,
            )
        self._is_cut = len(present) > MAX_SAID
        rows = [
            Row(
                self.holder_everywhere(holder),
                each.moved,
                each.guests,
                each.streams,
                each.wanting,
                each.rate,
            )
            for holder, each in present[:MAX_SAID]
        ]
        rows.sort(key=lambda row: row.holder)
        text = msgspec.json.encode(Said(self._member.info.id, self._quotas.day, rows))
        if text != self._own:
            self._own = text
            self._post()

    def _post(self) -> None:
        stamp = max(time.time_ns(), self._stamps.get(self._home, 0) + 1)
        self._stamps[self._home] = stamp
        self._member.post(TOPIC, self._member.seals.seal(TOPIC, self._home, stamp, self._own))

    # -- what the others say

    def _heard(self, notices: dict[str, bytes]) -> None:
        for home, sealed in notices.items():
            if self._heard_of.get(home) == sealed:
                continue
            text = self._open(home, sealed)
            if home == self._home:
                self._heard_own(text)
            elif text is not None:
                self._take(home, text)
        self._heard_of = notices
        self._sum()

    def _heard_own(self, text: bytes | None) -> None:
        if text is not None and self._own and text != self._own:
            self._post()  # the clock was later when this node ran last

    def _take(self, home: str, text: bytes) -> None:
        try:
            self._said[home] = _decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("what is used at node %s cannot be read: %s", home, error)

    def _open(self, home: str, sealed: bytes) -> bytes | None:
        """The text; None: that node did not say it, or something else later."""
        try:
            if len(sealed) > MAX_NOTICE:
                raise RemoteProtocolError("it is too long")
            stamp, text = self._member.seals.open(TOPIC, home, sealed)
        except RemoteProtocolError as error:
            log.warning("what is used at node %s cannot be read: %s", home, error.text)
            return None
        if stamp < self._stamps.get(home, 0):
            return None
        self._stamps[home] = stamp
        return text

    def _present(self) -> tuple[frozenset[str], int]:
        """The nodes of which counts what they have now, and today."""
        now = time.monotonic()
        if self._member.has_store:
            self._reached_at = now
        known = now - self._reached_at < COUNT_WITHOUT_REDIS
        others = self._member.directory.others() if known else []
        return frozenset(node.id for node in others), self._quotas.day

    def _sum(self) -> None:
        self._summed = nodes, today = self._present()
        sums: dict[str, Numbers] = {}
        for home, said in list(self._said.items()):
            lives, counts = said.node in nodes, said.day == today
            if not lives and not counts:
                if self._member.has_store:
                    del self._said[home]
                continue
            for row in said.rows:
                numbers = Numbers(
                    row.moved if counts else 0,
                    *((row.guests, row.streams, row.wanting, row.rate) if lives else ()),
                )
                before = sums.get(row.holder)
                sums[row.holder] = before.plus(numbers) if before else numbers
        self._sums = sums
