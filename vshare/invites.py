"""Invites: codes of their own, with fewer rights than the share's, one by one revocable. Pure.

An invite's code is four words. The first, its plate, is public and says which invite it is, since
SPAKE2 needs to know which secret is meant before anything is proven; the others are the secret.
The clock is an argument: seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from tunnel.names import Below, JoinCode, code_words, make_invite_code
from vshare.policy import Rights

MAX_INVITES = 256  # at a time


@dataclass(slots=True)
class Invite:
    """One invite. `guest` names whoever comes by it; None lets them name themselves."""

    plate: str
    code: JoinCode = field(repr=False)
    guest: str | None
    once: bool
    expires_at: float | None
    rights: Rights
    used: int = 0

    def is_open(self, now: float) -> bool:
        """Whether somebody may still come in by it."""
        used_up = self.once and self.used > 0
        return not used_up and not self.is_over(now)

    def is_over(self, now: float) -> bool:
        """Whether its time has passed, for those who came by it as well."""
        return self.expires_at is not None and self.expires_at <= now


class Invites:
    """The invites of one share, by plate."""

    def __init__(self, below: Below) -> None:
        self._below = below
        self._invites: dict[str, Invite] = {}
        self._plates = list(code_words())  # none is drawn twice: it would name another secret

    def make(
        self, guest: str | None, *, once: bool, expires_at: float | None, rights: Rights
    ) -> Invite:
        """A fresh invite. Raises UsageError when there are too many."""
        if len(self._invites) >= MAX_INVITES:
            raise UsageError(
                f"there are {MAX_INVITES} invites already", "revoke some: vshare revoke INVITE"
            )
        if not self._plates:
            raise UsageError("this share has made as many invites as it can", "start a new share")
        plate = self._plates.pop(self._below(len(self._plates)))
        code = make_invite_code(plate, self._below)
        invite = Invite(plate, code, guest, once, expires_at, rights)
        self._invites[plate] = invite
        return invite

    def find(self, plate: str, now: float) -> Invite | None:
        """The invite with that plate, while somebody may come in by it."""
        invite = self._invites.get(plate)
        return invite if invite is not None and invite.is_open(now) else None

    def claim(self, plate: str, now: float) -> Invite:
        """Use the invite whose code was proven. Raises RefusedError when that has become
        impossible: of those who proved a one-time code in the same moment, one comes in."""
        invite = self.find(plate, now)
        if invite is None:
            raise RefusedError(Code.NOT_ALLOWED, "this invite has been used, or its time is over")
        invite.used += 1
        return invite

    def give_back(self, invite: Invite) -> None:
        """Whoever claimed it did not come in after all."""
        invite.used -= 1

    def remove(self, plate: str) -> Invite:
        """Take an invite back. Raises UsageError that names those there are."""
        try:
            return self._invites.pop(plate.strip().lower())
        except KeyError:
            known = ", ".join(self._invites) or "none"
            raise UsageError(
                f"there is no invite {plate!r}", f"invites: {known}; see vshare invites"
            ) from None

    def all(self) -> list[Invite]:
        """Every invite, the oldest first."""
        return list(self._invites.values())
