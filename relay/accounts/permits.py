"""What each token allows, as it was when the accounts were read last. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from relay.accounts.limits import UNLIMITED, Limits
from tunnel.errors import UsageError
from tunnel.relay_token import parse_token

SHARE = "share"  # the scope of what shares are registered with
PAGES = "pages"  # of what somebody signs in with to the relay's pages
ADMIN = "admin"  # of who may see and end everybody's shares there
SCOPES = (SHARE, PAGES, ADMIN)
NAMES = "names:"  # with what a token's names have to begin behind it; without: any
_NO_HASH = bytes(32)  # compared with, where there is none


@dataclass(frozen=True, slots=True)
class Permit:
    """One token that is not revoked. Times are seconds since the epoch; None: not ever.

    `account` is whose it is: a number that no other account gets later; `limits` are the token's,
    `account_limits` those of all tokens of that account together.
    """

    token: str  # its ID
    account: int
    hash: bytes = field(repr=False)
    scopes: frozenset[str]
    limits: Limits
    expires_at: float | None
    account_limits: Limits = UNLIMITED

    def is_over(self, now: float) -> bool:
        """Whether its time is."""
        return self.expires_at is not None and self.expires_at <= now

    def may_take(self, name: str) -> bool:
        """Whether a share with this token may have that name (empty: any), for all that its scopes
        say."""
        begin = self._beginnings()
        return not begin or name.startswith(begin)

    @property
    def beginnings(self) -> str:
        """What its shares' names have to begin with, for people."""
        return " or ".join(self._beginnings())

    @property
    def scope_for_shares(self) -> str:
        """Of a token for shares with no more than this one's."""
        return " ".join((SHARE, *(NAMES + begin for begin in self._beginnings())))

    def _beginnings(self) -> tuple[str, ...]:
        scopes = sorted(self.scopes)
        return tuple(each.removeprefix(NAMES) for each in scopes if each.startswith(NAMES))


class Permits:
    """Looked up in memory: the disk is waited for elsewhere (relay/accounts/watch.py)."""

    def __init__(self) -> None:
        self._permits: Mapping[str, Permit] = {}
        self._account_limits: Mapping[int, Limits] = {}
        self.version = 0  # of what is here

    def replace(self, permits: Mapping[str, Permit]) -> None:
        """From now on there are these, by their tokens' IDs."""
        self._account_limits = {each.account: each.account_limits for each in permits.values()}
        self._permits = permits
        self.version += 1

    def find(self, text: str, now: float) -> Permit | None:
        """What the token `text` allows a share; None: nothing, for whatever reason."""
        permit = self.known(text, now)
        return permit if permit is not None and self.is_good(permit.token, now) else None

    def known(self, text: str, now: float) -> Permit | None:
        """What the token `text` is for, be it sharing or not; None: nothing."""
        try:
            token = parse_token(text)
        except UsageError:
            return None
        permit = self._permits.get(token.id)
        matches = hmac.compare_digest(permit.hash if permit else _NO_HASH, token.hash)
        if permit is None or not matches:
            return None
        return self.get(token.id, now)

    def get(self, token: str, now: float) -> Permit | None:
        """What the token with that ID is for (still); None: nothing."""
        permit = self._permits.get(token)
        return permit if permit is not None and not permit.is_over(now) else None

    def tokens_of(self, account: int) -> list[str]:
        """The IDs of an account's tokens that are not revoked."""
        return [each.token for each in self._permits.values() if each.account == account]

    def is_good(self, token: str, now: float) -> bool:
        """Whether the token with that ID may share (still)."""
        permit = self.get(token, now)
        return permit is not None and SHARE in permit.scopes

    def limits_of(self, token: str) -> Limits:
        """Those of the token with that ID."""
        permit = self._permits.get(token)
        return permit.limits if permit else UNLIMITED

    def limits_of_account(self, account: int) -> Limits:
        """Those of all its tokens together."""
        return self._account_limits.get(account, UNLIMITED)


class ReservedNames:
    """Names that shares of one account alone may have; also by what they begin with (`acme-*`)."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._beginnings: dict[str, int] = {}

    def replace(self, names: Iterable[tuple[str, int]]) -> None:
        """From now on there are these, each with its account."""
        both = dict(names)
        self._names = {name: who for name, who in both.items() if not name.endswith("*")}
        self._beginnings = {name[:-1]: who for name, who in both.items() if name.endswith("*")}

    def account_of(self, name: str) -> int:
        """Whose `name` is; 0: anybody's. The name itself counts for more than a beginning, and of
        those the longest."""
        if name in self._names:
            return self._names[name]
        for size in range(len(name), 0, -1) if self._beginnings else ():
            if name[:size] in self._beginnings:
                return self._beginnings[name[:size]]
        return 0
