"""What a running share does when another terminal asks (vshare/requests.py)."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Mapping

from tunnel.control_socket import Handler, on
from tunnel.errors import RefusedError, UsageError, VshareError
from tunnel.identity import Role
from vshare import requests
from vshare.guest_page.visitors import Visitor
from vshare.invites import Invite
from vshare.live_line import line_of
from vshare.live_share import LiveShare
from vshare.own_domain_requests import OwnDomainRow
from vshare.policy import EVERYTHING, MACHINE, Policy, Rights

KICKED = "the sharer removed you from this share"
INVITE_OVER = "the invite that you came by was taken back"


class Handlers:
    """The commands, each a method. They raise VshareError, which the other terminal shows."""

    def __init__(self, share: LiveShare) -> None:
        self._share = share
        self._guests = share.server.guests
        self._reception = share.reception
        self._line = line_of(share)

    def table(self) -> Mapping[type[requests.Request], Handler]:
        """For the control socket."""
        return dict(
            [
                on(requests.Status, self.status),
                on(requests.Guests, self.guests),
                on(requests.Kick, self.kick),
                on(requests.Approve, self.approve),
                on(requests.Deny, self.deny),
                on(requests.Extend, self.extend),
                on(requests.Code, self.code),
                on(requests.MakeInvite, self.make_invite),
                on(requests.Invites, self.invites),
                on(requests.Revoke, self.revoke),
                on(requests.Unfence, self.unfence),
                on(requests.Dashboard, self.dashboard),
                on(requests.Line, self.line),
                on(requests.Stop, self.stop),
            ]
        )

    async def status(self, request: requests.Status) -> requests.ShareState:
        """See requests.Status."""
        share = self._share
        return requests.ShareState(
            name=share.name,
            machine=share.machine,
            relay=str(share.relay),
            url=share.url,
            connect=share.connect,
            expires_at=share.expiry.at,
            guests=len(self._guests.of_role(Role.GUEST)) + len(share.visitors),
            shared=share.streams.policy.describe(),
            requests=share.streams.visits.requests,
            since=share.since,
            process=os.getpid(),
            own_domains=[
                OwnDomainRow(**dataclasses.asdict(row)) for row in self._share.link.own_domains.rows
            ],
        )

    async def guests(self, request: requests.Guests) -> requests.GuestList:
        """See requests.Guests."""
        rows, together = [], self._share.together
        for guest in self._guests.of_role(Role.GUEST):
            bytes_in, bytes_out = self._share.streams.traffic(guest)
            rows.append(
                requests.GuestRow(
                    name=guest.name,
                    since=guest.joined_at,
                    address=guest.address,
                    streams=guest.streams,
                    connections=guest.connections,
                    direct=guest.direct,
                    bytes_in=bytes_in,
                    bytes_out=bytes_out,
                    dropped=self._share.streams.dropped(guest),
                    invite=guest.invite,
                    ssh=guest.has_ssh_key,
                    uses=together.servers.used_by(guest) if together is not None else [],
                )
            )
        rows += [self._visitor_row(each) for each in self._share.visitors]
        approvals = self._reception.approvals
        waiting = [
            requests.WaitingRow(each.guest, each.address, each.since)
            for each in (approvals.all() if approvals is not None else ())
        ]
        return requests.GuestList(rows, waiting)

    def _visitor_row(self, visitor: Visitor) -> requests.GuestRow:
        page, guest = self._share.guest_page, visitor.session.visitor
        assert page is not None  # whose visitor it is
        uses = [f"terminal {each}" for each in visitor.terminals]
        return requests.GuestRow(
            name=guest.name,
            since=guest.joined_at,
            address=guest.address,
            streams=visitor.opened,
            connections=visitor.opened or int(visitor.is_here),
            bytes_in=guest.bytes_in,
            bytes_out=guest.bytes_out,
            uses=uses + page.server_names(visitor.sites),
            where="browser",
        )

    async def kick(self, request: requests.Kick) -> requests.OneGuest:
        """See requests.Kick."""
        names = [each.name for each in self._guests.of_role(Role.GUEST)]
        page = self._share.guest_page
        if page is not None:
            is_guest = request.guest in names
            visitor = page.visitors.maybe_named(request.guest, exactly=is_guest)
            if visitor is not None:
                page.visitors.kick(visitor)
                return requests.OneGuest(visitor.visitor.name)
        guest = self._guests.named(request.guest)
        self._guests.remove(guest, KICKED)
        self._reception.group.forget_welcomes()
        self._share.newsroom.tell("kicked", f"{guest.name} was removed", guest=guest.name)
        return requests.OneGuest(guest.name)

    async def approve(self, request: requests.Approve) -> requests.OneGuest:
        """See requests.Approve."""
        return requests.OneGuest(self._answer(request.guest, welcome=True))

    async def deny(self, request: requests.Deny) -> requests.OneGuest:
        """See requests.Deny."""
        return requests.OneGuest(self._answer(request.guest, welcome=False))

    def _answer(self, guest: str, *, welcome: bool) -> str:
        if self._reception.approvals is None:
            raise UsageError(
                "newcomers do not wait here", "start the share with --approve to be asked"
            )
        return self._reception.approvals.answer(guest, welcome=welcome)

    async def extend(self, request: requests.Extend) -> requests.Expiry:
        """See requests.Extend."""
        return requests.Expiry(await self._share.extend(time.time() + request.seconds))

    async def code(self, request: requests.Code) -> requests.ShareCode:
        """See requests.Code."""
        if request.rotate:
            self._reception.rotate()
            self._reception.group.code_changed()
        return requests.ShareCode(self._share.name, self._reception.code, self._share.connect)

    async def make_invite(self, request: requests.MakeInvite) -> requests.NewInvite:
        """See requests.MakeInvite."""
        policy = self._share.streams.policy
        for port in request.ports:
            _require_shared(policy, port)
        rights = EVERYTHING
        if request.ports:
            rights = Rights(frozenset(request.ports), terminals=request.terminals)
        expires_at = time.time() + request.expires_in if request.expires_in else None
        guest = request.guest.strip() or None
        invite = self._reception.invites.make(
            guest, once=request.once, expires_at=expires_at, rights=rights
        )
        whom = f" for {guest}" if guest else ""
        self._share.newsroom.tell(
            "invite-made",
            f"the invite {invite.plate!r} was made{whom}",
            invite=invite.plate,
            guest=guest,
            once=int(request.once),
            expires_at=expires_at,
            ports=",".join(map(str, request.ports)),
            terminals=int(rights.sees_terminals),
        )
        return requests.NewInvite(invite.plate, invite.code, self._share.connect, expires_at)

    async def invites(self, request: requests.Invites) -> requests.InviteList:
        """See requests.Invites."""
        return requests.InviteList([_row(each) for each in self._reception.invites.all()])

    async def revoke(self, request: requests.Revoke) -> requests.Revoked:
        """See requests.Revoke."""
        invite = self._reception.invites.remove(request.invite)
        removed = self._reception.remove_who_came_by(invite, INVITE_OVER)
        self._share.newsroom.tell(
            "invite-revoked", f"the invite {invite.plate!r} was taken back", invite=invite.plate
        )
        return requests.Revoked(invite.plate, removed)

    async def unfence(self, request: requests.Unfence) -> requests.Unfenced:
        """See requests.Unfence."""
        streams = self._share.streams
        fenced = dict(streams.policy.fenced)
        if fenced.pop(request.port, None) is None:
            known = ", ".join(map(str, sorted(streams.policy.fenced))) or "none"
            raise UsageError(f"port {request.port} is not fenced", f"fenced ports: {known}")
        streams.policy = dataclasses.replace(streams.policy, fenced=fenced)
        self._share.newsroom.tell(
            "unfenced", f"port {request.port} is open to guests now", port=request.port
        )
        return requests.Unfenced(request.port)

    async def dashboard(self, request: requests.Dashboard) -> requests.DashboardUrl:
        """See requests.Dashboard."""
        if self._share.dashboard is None:
            raise VshareError(
                "this share has no dashboard", "start it without --no-dashboard to have one"
            )
        return requests.DashboardUrl(self._share.dashboard.issue_url())

    async def line(self, request: requests.Line) -> requests.LineText:
        """See requests.Line."""
        return requests.LineText(self._line.text())

    async def stop(self, request: requests.Stop) -> requests.Stopped:
        """See requests.Stop."""
        # The answer first: the socket goes with the share.
        asyncio.get_running_loop().call_soon(self._share.stopped.set)
        return requests.Stopped()


def _require_shared(policy: Policy, port: int) -> None:
    """Raise UsageError for a port that an invite could not open."""
    try:
        policy.decide(Role.GUEST, "tcp", MACHINE, port, has_ssh_key=policy.ssh_shared)
    except RefusedError as error:
        raise UsageError(
            f"an invite cannot open port {port}: {error.text}",
            "an invite gives less than the share does, never more",
        ) from error


def _row(invite: Invite) -> requests.InviteRow:
    return requests.InviteRow(
        invite=invite.plate,
        guest=invite.guest or "",
        once=invite.once,
        used=invite.used,
        expires_at=invite.expires_at,
        ports=sorted(invite.rights.ports or ()),
        code=invite.code,
        terminals=invite.rights.terminals,
    )
