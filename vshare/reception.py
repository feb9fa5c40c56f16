"""Who comes in: the codes that count, the sharer's word where it is asked, the guest list.

What tunnel/join_server.py asks on the share's side of a join.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
import time
from collections.abc import Callable

from tunnel.codes import Code
from tunnel.errors import RefusedError
from tunnel.identity import Authority, PublicKey, Role, fingerprint
from tunnel.join_server import Issued, Newcomer
from tunnel.names import JoinCode, make_code
from vshare.approvals import Approvals
from vshare.group import Group
from vshare.guests import Guests
from vshare.invites import Invite, Invites
from vshare.news import Newsroom
from vshare.policy import EVERYTHING

LOOK_EVERY = 1.0  # seconds, for invites whose time is over


class Reception:
    """A JoinDesk. `route` is what guests are given to find the share by (docs/protocol.md 3)."""

    def __init__(
        self,
        authority: Authority,
        guests: Guests,
        newsroom: Newsroom,
        *,
        route: str,
        approve: bool = False,
        group: Group | None = None,
    ) -> None:
        self._authority = authority
        self._guests = guests
        self._newsroom = newsroom
        self._route = route
        self.group = group or Group()
        self.invites = Invites(secrets.randbelow)
        self.approvals = Approvals() if approve else None

    @property
    def code(self) -> JoinCode:
        """The share's own code, and its group's."""
        return self.group.code

    @code.setter
    def code(self, code: JoinCode) -> None:
        self.group.code = code

    def code_for(self, plate: str) -> JoinCode:
        """The secret to be proven; for an invite that is not there, one that nobody knows."""
        if not plate:
            return self.code
        invite = self.invites.find(plate, time.time())
        return invite.code if invite is not None else make_code(secrets.randbelow)

    async def admit(self, newcomer: Newcomer, wait: Callable[[str], None]) -> Issued:
        """Enter whoever proved a code into the list. Raises RefusedError.

        An invite is the sharer's word already: it waits for no approval.
        """
        if newcomer.plate:
            invite = self.invites.claim(newcomer.plate, time.time())
            try:
                return self._enter(newcomer, newcomer.guest, invite)
            except BaseException:
                self.invites.give_back(invite)
                raise
        self._require_current(newcomer)
        name = newcomer.guest
        if self.approvals is not None and not self.group.is_welcome(newcomer.key):
            self.approvals.require_room()
            waiting = {each.guest for each in self.approvals.all()}
            name = self._guests.free_name(name, waiting)
            quoted = shlex.quote(name)  # people paste it
            self._newsroom.tell(
                "waiting",
                f"{name} (from {newcomer.address}, as the relay says) waits to be let in:"
                f" vshare approve {quoted}, or vshare deny {quoted}",
                guest=name,
                address=newcomer.address,
            )
            wait("the sharer is asked to let you in")
            try:
                await self.approvals.ask(name, newcomer.address)
            except BaseException:
                self._newsroom.tell("denied", f"{name} was not let in", guest=name)
                raise
            self._require_current(newcomer)
            self.group.welcome(newcomer.key)
            self._newsroom.tell("approved", guest=name)
        return self._enter(newcomer, name, None)

    def _require_current(self, newcomer: Newcomer) -> None:
        """Raise RefusedError for a code that was rotated away while it was being proven."""
        if newcomer.code != self.code:
            raise RefusedError(Code.WRONG_CODE, "the code is not right")

    def _enter(self, newcomer: Newcomer, wanted: str, invite: Invite | None) -> Issued:
        name = self._guests.free_name((invite.guest if invite else None) or wanted)
        certificate = self._authority.issue(Role.GUEST, name, newcomer.key)
        guest = self._guests.add(
            Role.GUEST,
            name,
            fingerprint(certificate),
            newcomer.address,
            rights=invite.rights if invite else EVERYTHING,
            invite=invite.plate if invite else "",
        )
        by = f" by the invite {invite.plate!r}" if invite else ""
        self._newsroom.tell(
            "joined",
            f"{name} joined{by} (from {guest.address}, as the relay says)",
            guest=name,
            address=guest.address,
            invite=guest.invite,
        )
        return Issued(certificate, self._authority.certificate, self._route)

    def failed(self, text: str, address: str, guessed: bool) -> None:
        """A join came to nothing; `guessed`: it may have been a try of the code."""
        if guessed:
            self._newsroom.tell(
                "join-failed",
                f"somebody tried to join from {address} (as the relay says): {text}",
                warning=True,
                address=address,
                reason=text,
            )

    def issue_gateway(self, key: PublicKey) -> tuple[bytes, bytes]:
        """The gateway's certificate and the CA (DER): it may open the HTTP ports, no more.

        There is one gateway: an earlier one's certificate counts no more.
        """
        for earlier in self._guests.of_role(Role.GATEWAY):
            self._guests.remove(earlier)
        certificate = self._authority.issue(Role.GATEWAY, "gateway", key)
        self._guests.add(Role.GATEWAY, "gateway", fingerprint(certificate), "the relay")
        return certificate, self._authority.certificate

    def remove_who_came_by(self, invite: Invite, why: str) -> list[str]:
        """Strike the guests of an invite off; their names."""
        guests = [each for each in self._guests.of_role(Role.GUEST) if each.invite == invite.plate]
        for guest in guests:
            self._guests.remove(guest, why)
        return [guest.name for guest in guests]

    async def end_invites(self) -> None:
        """Run until cancelled: when an invite's time is over, it goes, and who came by it."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = time.time()
            for invite in self.invites.all():
                if invite.is_over(now):
                    self.invites.remove(invite.plate)
                    self.remove_who_came_by(invite, "the time of your invite is over")
                    self._newsroom.tell(
                        "invite-over",
                        f"the time of the invite {invite.plate!r} is over",
                        invite=invite.plate,
                    )

    def rotate(self) -> JoinCode:
        """A new code for newcomers; the guests who are in stay, those who wait do not."""
        self.code = make_code(secrets.randbelow)
        self.refuse_waiting()
        return self.code

    def refuse_waiting(self) -> None:
        """The code that they have proven is void."""
        self.group.forget_welcomes()
        if self.approvals is not None:
            self.approvals.refuse_all()
