"""Who may register a share, under which name, and whom it counts for then. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from relay.accounts.bans import Ban, Bans
from relay.accounts.holders import Holders, holders_of
from relay.accounts.permits import Permit, ReservedNames
from relay.accounts.quotas import Quotas
from tunnel.source import is_loopback

Refusal = tuple[str, str]  # the code (docs/protocol.md 4), and what is wrong, in words


@dataclass(frozen=True, slots=True)
class Applicant:
    """A share that wants to register. `name`: empty where any will do; `permit` None: it needs
    none; `source` as from `source_of`."""

    name: str
    key_hash: bytes
    permit: Permit | None
    address: str
    source: str

    @property
    def account(self) -> int:
        """0: there are none."""
        return self.permit.account if self.permit else 0

    @property
    def holders(self) -> Holders:
        """Whom it counts for. Loopback is a proxy, or this machine: nobody."""
        token = self.permit.token if self.permit else ""
        return holders_of(token, self.account, "" if is_loopback(self.source) else self.source)


class Rules:
    """The relay's, as its operator has them now."""

    def __init__(
        self, quotas: Quotas, bans: Bans | None = None, reserved: ReservedNames | None = None
    ) -> None:
        self._quotas = quotas
        self._bans, self._reserved = bans or Bans(), reserved or ReservedNames()

    def ban_of(self, address: str, token: str, name: str, now: float) -> Ban | None:
        """What bans a share from there, with the token of that ID, of that name."""
        return (
            self._bans.of_address(address, now)
            or self._bans.of_token(token, now)
            or self._bans.of_name(name, now)
        )

    def refusal(self, applicant: Applicant, now: float) -> Refusal | None:
        """Why it cannot register; None: for all that is known here, it can."""
        permit, name = applicant.permit, applicant.name
        ban = self.ban_of(applicant.address, permit.token if permit else "", name, now)
        if ban is not None:
            return "banned", ban.sentence
        if permit is not None and not permit.may_take(name):
            return "name-invalid", f"its token is for names that begin with {permit.beginnings}"
        if name and not self.may_have(name, applicant.account):
            return "name-taken", f"the name {name} is reserved for somebody else"
        full = self._quotas.share_refusal(applicant.holders, name, applicant.key_hash)
        return ("quota", full) if full else None

    def may_have(self, name: str, account: int) -> bool:
        """Whether a name is reserved for that account, or for nobody."""
        return self._reserved.account_of(name) in (0, account)

    def is_by_right(self, name: str, account: int) -> bool:
        """Whether a name is reserved for that account: then no lease stands in its way."""
        return bool(account) and self._reserved.account_of(name) == account
