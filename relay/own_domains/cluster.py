"""Own domains at several relays that are one: each says what its shares have, and hears the others.

A visitor at any of them is brought to the share by its name. Each relay asks the DNS for its own
shares. Where two have proven the same domain at two relays, both records stand, and it stays with
who had it earlier.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias

import msgspec

from relay.own_domains.claims import Holder
from relay.own_domains.desk import Elsewhere, OwnDomainDesk, epoch_of
from tunnel.control import Host
from tunnel.errors import RemoteProtocolError
from tunnel.names import ShareName

if TYPE_CHECKING:
    from relay.cluster.member import Member

TOPIC = "own-domains"
MAX_NOTICE = 4 * 1024 * 1024  # bytes of one relay's: 8,192 domains have 2 MiB

# Host, the share's name, the hash of its key, and since when (seconds since the epoch).
_Row: TypeAlias = tuple[Host, str, Annotated[bytes, msgspec.Meta(max_length=32)], float]

log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(list[_Row])


class Seals(Protocol):
    """See relay.cluster.seals."""

    def seal(self, topic: str, home: str, stamp: int, text: bytes) -> bytes:
        """What a node says."""

    def open(self, topic: str, home: str, sealed: bytes) -> tuple[int, bytes]:
        """Stamp and text. Raises RemoteProtocolError."""


class Place(Protocol):
    """This relay in its cluster (relay.cluster.member)."""

    @property
    def home(self) -> str:
        """Its own."""

    @property
    def seals(self) -> Seals:
        """The cluster's."""

    def others(self) -> list[str]:
        """The homes of the others that are well."""

    def post(self, text: bytes) -> None:
        """Say that, in place of what was said before."""


class MemberPlace:
    """See Place."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.home, self.seals = member.info.home, member.seals

    def others(self) -> list[str]:
        """See Place."""
        return [node.home for node in self._member.directory.others()]

    def post(self, text: bytes) -> None:
        """See Place."""
        self._member.post(TOPIC, text)


def share_own_domains(member: Member, desk: OwnDomainDesk) -> None:
    """What shares have at one relay, visitors of all find."""
    member.listen(TOPIC, SharedOwnDomains(MemberPlace(member), desk).heard)


class SharedOwnDomains:
    """Posts what `desk` holds, and tells it of the others. `heard` is to be called with what each
    relay says, by its home."""

    def __init__(self, place: Place, desk: OwnDomainDesk) -> None:
        self._place, self._desk = place, desk
        self._stamps: dict[str, int] = {}  # the highest of each relay's
        self._theirs: dict[str, dict[str, Elsewhere]] = {}  # by home, by host
        self._said: set[tuple[str, str, bytes]] = set()
        desk.elsewhere = self._find
        desk.on_change = self._changed

    def heard(self, notices: dict[str, bytes]) -> None:
        """What the relays say now."""
        own: dict[str, Holder] = dict(self._desk.holders())
        for home, sealed in notices.items():
            rows = self._open(home, sealed) if home != self._place.home else None
            if rows is not None:
                self._theirs[home] = rows
        rivals = [
            host
            for rows in self._theirs.values()
            for host, each in rows.items()
            if host in own and own[host].key_hash != each.key_hash
        ]
        self._desk.look_again(rivals)

    def _find(self, host: str) -> Elsewhere | None:
        others = [self._theirs[home] for home in self._place.others() if home in self._theirs]
        found = [rows[host] for rows in others if host in rows]
        return min(found, key=lambda each: each.since, default=None)

    def _changed(self) -> None:
        holders = self._desk.holders()
        said = {(str(host), str(holder.name), holder.key_hash) for host, holder in holders}
        if said == self._said:
            return
        self._said = said
        rows = [
            (host, str(holder.name), holder.key_hash, epoch_of(holder.since))
            for host, holder in holders
        ]
        home, text = self._place.home, msgspec.json.encode(rows)
        self._place.post(self._place.seals.seal(TOPIC, home, time.time_ns(), text))

    def _open(self, home: str, sealed: bytes) -> dict[str, Elsewhere] | None:
        try:
            if len(sealed) > MAX_NOTICE:
                raise RemoteProtocolError("it is too long")
            stamp, text = self._place.seals.open(TOPIC, home, sealed)
            rows = _decoder.decode(text)
        except (RemoteProtocolError, msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            log.warning("the own domains of node %s cannot be read: %s", home, error)
            return None
        if stamp < self._stamps.get(home, 0):
            return None  # it has said something else since
        self._stamps[home] = stamp
        return {
            host: Elsewhere(ShareName(name), key_hash, since)
            for host, name, key_hash, since in rows
        }
