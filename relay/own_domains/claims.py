"""Who asks for one own domain, who has it, and what the DNS said last. Pure.

One answer of the DNS decides for everybody at once, so that there is never a moment in which two
have it. Who has it keeps it while its record stands, whoever else has one; where the records name
another share in its place, that share has it from then on: the domain's owner has decided.
"""

from __future__ import annotations

import enum
from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_value

GONE_AFTER = 600.0  # seconds without the record: somebody edits it, or a server of many is behind
UNKNOWN_AFTER = 86_400.0  # seconds without any answer: DNS servers are down for hours at times
AGAIN_HELD = 3600.0  # seconds between looks at a domain that a share has
AGAIN_DOUBTED = 60.0  # the same, while its record seems to be gone, or nothing is known
# For how long (seconds) a record is looked for how often: somebody has just been told to make it.
_AGAIN = ((60.0, 5.0), (900.0, 15.0), (7200.0, 60.0))
AGAIN_LAST = 600.0  # and from then on


class State(enum.Enum):
    """How it is with a domain for a share that asks for it (docs/protocol.md 4.2)."""

    GOOD = "good"
    UNPROVEN = "unproven"
    UNANSWERED = "unanswered"
    TAKEN = "taken"
    REFUSED = "refused"


class Asker(Protocol):
    """A share's session."""

    @property
    def name(self) -> ShareName:
        """Its name."""

    @property
    def key_hash(self) -> bytes:
        """SHA-256 of its key."""


@dataclass(slots=True)
class Holder:
    """The share that has the domain, connected or not. Times are the caller's clock's, seconds."""

    name: ShareName
    key_hash: bytes
    since: float
    proven_at: float
    gone_since: float | None = None  # when the record was first seen to be missing
    payer: str = ""  # whom its certificate counts for (relay.own_domains.desk.Shown)


class Claim:
    """All that is about `host`."""

    __slots__ = ("_since", "_texts", "asking", "holder", "host", "was_looked_at")

    def __init__(self, host: OwnDomain, now: float) -> None:
        self.host = host
        self.asking: list[Asker] = []  # who came first is first
        self.holder: Holder | None = None
        self._since = now  # when somebody asked anew
        self._texts: Set[str] | None = None  # the last answer; None: there was none
        self.was_looked_at = False

    @property
    def is_over(self) -> bool:
        """Whether nobody asks, and nobody has it."""
        return not self.asking and self.holder is None

    def is_of(self, key_hash: bytes) -> bool:
        """Whether the share with that key has it."""
        return self.holder is not None and self.holder.key_hash == key_hash

    def is_known(self, key_hash: bytes) -> bool:
        """Whether that share has it, or asks for it already."""
        return self.is_of(key_hash) or any(each.key_hash == key_hash for each in self.asking)

    def ask(self, asker: Asker, now: float) -> None:
        """`asker` wants it; a share that has it already, and comes back, has it at once."""
        if not self.is_known(asker.key_hash):
            self._since = now
        self.asking.append(asker)
        if self.holder is not None and self.is_of(asker.key_hash):
            self.holder.name = asker.name

    def leave(self, asker: Asker, *, gives_up: bool) -> None:
        """`asker` has gone, and may come back; or it `gives_up` the domain."""
        self.asking.remove(asker)
        if self.holder is None or not self.is_of(asker.key_hash):
            return
        same = [each for each in self.asking if each.key_hash == asker.key_hash]
        if same:  # it changed its name, or it did not
            self.holder.name = same[-1].name
        elif gives_up:
            self.release()

    def release(self) -> None:
        """Nobody has it any more, until somebody proves it."""
        self.holder = None

    def answered(self, texts: Set[str], now: float) -> None:
        """The DNS says that these are the records."""
        self._texts, self.was_looked_at = texts, True
        holder = self.holder
        if holder is not None and self._proves(holder.key_hash):
            holder.proven_at, holder.gone_since = now, None
            return
        other = next((each for each in self.asking if self._proves(each.key_hash)), None)
        if other is not None:
            self.holder = Holder(other.name, other.key_hash, now, now)
        elif holder is not None:
            holder.gone_since = now if holder.gone_since is None else holder.gone_since
            if now - holder.gone_since >= GONE_AFTER:
                self.release()

    def yield_to(self, key_hash: bytes, *, is_earlier: bool) -> None:
        """A share with that key has the domain at another relay of the cluster, and had it earlier,
        or later. Here it is let go where the last answer says that it is that one's."""
        if self.holder is None or self.is_of(key_hash) or not self._proves(key_hash):
            return
        if is_earlier or not self._proves(self.holder.key_hash):
            self.release()

    def unanswered(self, now: float) -> None:
        """The DNS says nothing."""
        self._texts, self.was_looked_at = None, True
        if self.holder is not None and now - self.holder.proven_at >= UNKNOWN_AFTER:
            self.release()

    def state_of(self, asker: Asker) -> State:
        """How it is for one that asks."""
        if self.is_of(asker.key_hash):
            return State.GOOD
        if self._texts is None:
            return State.UNANSWERED
        return State.TAKEN if self._proves(asker.key_hash) else State.UNPROVEN

    def again_in(self, now: float) -> float:
        """Seconds until the DNS should be asked again."""
        if self.holder is not None:
            doubted = self._texts is None or self.holder.gone_since is not None
            return AGAIN_DOUBTED if doubted else AGAIN_HELD
        age = now - self._since
        return next((pause for until, pause in _AGAIN if age < until), AGAIN_LAST)

    def _proves(self, key_hash: bytes) -> bool:
        return self._texts is not None and challenge_value(key_hash, self.host) in self._texts
