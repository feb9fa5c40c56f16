"""Shares of the cluster's other nodes, for a node's pages: which there are, and their end.

A node says which shares it wants ended, by the numbers of their leases, and the node that has one
of them ends it: so a share that has come back meanwhile is another one, and stays, also when it is
said again. It is sealed (relay/cluster/seals.py): Redis itself ends nothing.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from relay.cluster.member import Member
from relay.cluster.records import Record
from relay.ends import Owned, end_share
from relay.registry import LocalRegistry, Share
from tunnel.errors import RemoteProtocolError
from tunnel.names import ShareName

TOPIC = "ends"
MAX_WISHES = 256  # that are said: what is older was heard long since
MAX_NOTICE = 64 * 1024  # bytes of one node's

log = logging.getLogger(__name__)


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """That the share with that name ends, if its lease has that number."""

    name: str
    fence: str
    by_operator: bool


_decoder = msgspec.json.Decoder(list[Wish])


class SharesElsewhere:
    """See relay.website.holdings.Elsewhere."""

    def __init__(
        self, member: Member, registry: LocalRegistry, end_lease: Callable[[Share], None]
    ) -> None:
        self._member, self._registry, self._end_lease = member, registry, end_lease
        self._wishes: deque[Wish] = deque(maxlen=MAX_WISHES)
        member.listen(TOPIC, self._heard)

    def shares(self) -> Iterator[Owned]:
        """See Elsewhere."""
        for name, record in list(self._member.directory.records.items()):
            if (owned := self._owned(name, record)) is not None:
                yield owned

    def find(self, name: ShareName) -> Owned | None:
        """See Elsewhere."""
        record = self._member.directory.records.get(name)
        return self._owned(name, record) if record is not None else None

    def end(self, name: ShareName, *, by_operator: bool) -> None:
        """See Elsewhere."""
        record = self._member.directory.records.get(name)
        if record is not None:
            self._wishes.append(Wish(name, record.fence, by_operator))
            text, home = msgspec.json.encode(list(self._wishes)), self._member.info.home
            stamp = time.time_ns() // 1000
            self._member.post(TOPIC, self._member.seals.seal(TOPIC, home, stamp, text))

    def _owned(self, name: ShareName, record: Record) -> Owned | None:
        node = self._member.directory.node_of(name)
        if node is None:
            return None
        return Owned(name, record.token, record.until / 1000, place=node.place)

    def _heard(self, notices: dict[str, bytes]) -> None:
        for home, text in notices.items():
            for wish in self._parse(home, text):
                share = self._registry.get(ShareName(wish.name))
                if share is not None and self._member.fence_of(share) == wish.fence:
                    log.info("share %s is ended from the pages of another node", share.name)
                    end_share(share, self._end_lease, by_operator=wish.by_operator)

    def _parse(self, home: str, sealed: bytes) -> list[Wish]:
        if home == self._member.info.home or len(sealed) > MAX_NOTICE:
            return []
        try:
            return _decoder.decode(self._member.seals.open(TOPIC, home, sealed)[1])
        except (RemoteProtocolError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("what node %s wants ended cannot be read: %s", home, error)
            return []
