"""What guests open: each stream and flow, asked of the policy, carried, and accounted for."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from tunnel import follow
from tunnel.codes import Code
from tunnel.connection import Connection
from tunnel.datagrams import GuestFlows, ServerFlow, ServerLane
from tunnel.ends import End, bridge
from tunnel.errors import RefusedError, RemoteProtocolError, VshareError
from tunnel.flows import CountingFlow, FlowReceiver
from tunnel.frames import Open, Resume
from tunnel.identity import Role
from tunnel.resumable_end import ResumableEnd
from tunnel.stream_end import StreamEnd
from tunnel.terminal_messages import PROTOCOL as TERMINAL
from vshare.dashboard.figures import StreamRow, Totals
from vshare.guests import Guest
from vshare.news import Newsroom
from vshare.policy import MACHINE, Policy, Target
from vshare.reach import Reach
from vshare.resumables import Resumables
from vshare.ssh_guard import SshGuard
from vshare.ssh_sharing import SshSharing
from vshare.terminals.hub import Hub
from vshare.terminals.identity import Identity
from vshare.terminals.viewer_end import ViewerEnd
from vshare.together.board import Board
from vshare.together.followers import Followers
from vshare.web.browser_end import BrowserEnd
from vshare.web.rules import Gallery
from vshare.web.sites import HTTPS_PORT, Site, Sites
from vshare.web.visits import Visits

log = logging.getLogger(__name__)

# A call of protocol `api`, by name: gives what is sent as JSON.
Calls = Mapping[str, Callable[[Guest, Policy], object]]


@dataclass(slots=True, eq=False)
class _Stream:
    """One that is open: its two ends."""

    guest: Guest
    end: StreamEnd | ResumableEnd | BrowserEnd
    machine: End
    asked: Open
    began: float  # loop time


@dataclass(frozen=True, slots=True)
class _Traffic:
    """What one that has ended carried: bytes from the guest, and to it."""

    bytes_in: int
    bytes_out: int
    seconds: float
    code: Code | None
    dropped: int = 0  # datagrams


class Streams:
    """Serves what guests open. `policy` may be replaced while the share runs."""

    def __init__(
        self,
        policy: Policy,
        reach: Reach,
        calls: Calls,
        newsroom: Newsroom,
        ssh: SshSharing | None = None,
        visits: Visits | None = None,
    ) -> None:
        self.policy = policy
        self.visits = visits or Visits(Sites())
        self.board = Board()
        self.terminals = Hub(newsroom.tell, self._terminals_changed)
        self._followers = Followers(self.board)
        self._reach = reach
        self._calls = calls
        self._newsroom = newsroom
        self._ssh = ssh
        self._open: set[_Stream] = set()
        self._flows: dict[str, GuestFlows] = {}  # by the guest's fingerprint
        self._resumables = Resumables()
        self._bytes_in = self._bytes_out = 0  # of what has ended

    def totals(self) -> Totals:
        """Of all guests and visitors, up to now, at the cost of a look at each open stream."""
        flows = [flow for each in self._flows.values() for flow in each.open]
        return Totals(
            self._bytes_in
            + sum(stream.machine.bytes_sent for stream in self._open)
            + sum(flow.bytes_in for flow in flows),
            self._bytes_out
            + sum(stream.end.bytes_sent for stream in self._open)
            + sum(flow.bytes_out for flow in flows),
            self.visits.requests,
            len(self._open) + len(flows),
        )

    def open_streams(self, limit: int) -> list[StreamRow]:
        """At most `limit` of those that are open, the oldest first."""
        now = asyncio.get_running_loop().time()
        oldest = heapq.nsmallest(limit, self._open, key=lambda each: each.began)
        return [
            StreamRow(
                each.guest.name,
                each.asked.protocol,
                each.asked.host,
                each.asked.port,
                now - each.began,
                each.machine.bytes_sent,
                each.end.bytes_sent,
            )
            for each in oldest
        ]

    def traffic(self, guest: Guest) -> tuple[int, int]:
        """Bytes from the guest and to it, up to now."""
        running = [stream for stream in self._open if stream.guest is guest]
        flows = self._flows_of(guest)
        return (
            guest.bytes_in
            + sum(stream.machine.bytes_sent for stream in running)
            + sum(flow.bytes_in for flow in flows),
            guest.bytes_out
            + sum(stream.end.bytes_sent for stream in running)
            + sum(flow.bytes_out for flow in flows),
        )

    def dropped(self, guest: Guest) -> int:
        """Datagrams from the guest and to it that were lost here for want of room, up to now."""
        return guest.dropped + sum(flow.dropped for flow in self._flows_of(guest))

    def _flows_of(self, guest: Guest) -> list[ServerFlow]:
        flows = self._flows.get(guest.fingerprint)
        return flows.open if flows is not None else []

    async def serve(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        """One stream, from OPEN to its end. Does not raise, unless cancelled."""
        counts = message.protocol != follow.PROTOCOL  # every guest has one, all the time
        guest.streams += counts
        try:
            if message.protocol == "api":
                self._answer_call(connection, guest, message, end)
            elif message.protocol == "ssh-key":
                await self._hand_over_key(connection, guest, end)
            elif message.protocol == "tcp":
                await self._serve_tcp(connection, guest, message, end)
            elif message.protocol == "http":
                await self._serve_http(connection, guest, message, end)
            elif message.protocol == TERMINAL:
                await self._show_terminal(connection, guest, message, end)
            elif message.protocol == follow.PROTOCOL:
                await self._followers.serve(connection, guest, end)
            else:
                raise RefusedError(Code.UNSUPPORTED, f"protocol {message.protocol[:20]!r}")
        except VshareError as error:
            code = error.code if isinstance(error, RefusedError) else Code.HOST_UNREACHABLE
            connection.refuse(end, code, error.text)
            self._refused(guest, message.protocol, message.host, message.port, error)
        except asyncio.CancelledError:
            end.reset(Code.CLOSED)
            raise
        except Exception:
            log.exception("a stream met a fault")  # which must not end the share for all
            end.reset(Code.INTERNAL)
        finally:
            guest.streams -= counts

    def _refused(
        self, guest: Guest, protocol: str, host: str, port: int, error: VshareError
    ) -> None:
        log.info("%s: %s port %s is refused: %s", guest.name, protocol, port, error.text)
        self._newsroom.tell(
            "refused",
            guest=guest.name,
            protocol=protocol,
            host=host,
            port=port,
            reason=error.text,
        )

    # -- TCP

    async def _serve_tcp(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        if guest.role is not Role.GUEST:
            raise RefusedError(Code.NOT_ALLOWED, "the gateway opens sites, not ports")
        target = self._decide(guest, "tcp", message.host, message.port)
        machine = await self._reach.open_tcp(target.host, target.port)
        try:
            self._decide(guest, "tcp", message.host, message.port)  # as it is by now: see `cut`
        except RefusedError:
            machine.reset(Code.CLOSED)
            raise
        visitor = self._accept(connection, guest, message, end)
        ssh = self._ssh if target.is_ssh else None
        with self._carried(guest, message, visitor, machine):
            if ssh is None:
                await bridge(SshGuard(visitor, machine), machine)
                return
            ssh.ssh_opened(guest)
            try:
                await bridge(visitor, machine)
            finally:
                ssh.ssh_closed(guest)

    async def _serve_http(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        """A visitor of the public URL, for a site of the machine's."""
        if guest.role is not Role.GATEWAY:
            raise RefusedError(Code.NOT_ALLOWED, "sites are for the public URL; open the port")
        site = self.visits.sites.find(message.host, message.port)
        target = self._decide_site(guest, site)
        connection.accept(end)
        await self._visit(guest, message, (site, target), end)

    async def serve_browser(self, guest: Guest, label: str, end: BrowserEnd) -> None:
        """A browser whose TLS ended here, for the site with `label`; `guest` is who all of them
        are, with the gateway's role. Raises RefusedError, and then `end` was not linked."""
        message = Open(b"", "http", label, HTTPS_PORT, resumable=False)
        try:
            site = self.visits.sites.find(label, HTTPS_PORT)
            target = self._decide_site(guest, site)
        except RefusedError as error:
            self._refused(guest, message.protocol, message.host, message.port, error)
            raise
        guest.streams += 1
        try:
            await self._visit(guest, message, (site, target), end)
        finally:
            guest.streams -= 1

    def _decide_site(self, guest: Guest, site: Site) -> Target:
        """Where the site is; the machine has no part in one of the share's own."""
        if site.is_own:
            return Target(MACHINE, site.port)
        return self._decide(guest, "tcp", MACHINE, site.port)

    async def _visit(
        self, guest: Guest, message: Open, to: tuple[Site, Target], end: StreamEnd | BrowserEnd
    ) -> None:
        site, target = to
        stage = self.visits.stage(site, end)
        machine, error = await self.visits.open(site, target, self._reach, stage)
        if error is not None:
            self._refused(guest, message.protocol, message.host, message.port, error)
        with self._carried(guest, message, end, machine):
            await bridge(stage, machine)

    async def carry(self, label: str, port: int, end: End, gallery: Gallery) -> None:
        """A stream as a visitor's, of the sharer's own, which `gallery` alone looks at.

        Raises RefusedError; where the machine is not reached, `end` is told as a visitor is.
        """
        site = self.visits.sites.find(label, port)
        target = self.policy.decide(Role.GATEWAY, "tcp", MACHINE, site.port)
        stage = self.visits.stage(site, end, gallery)
        machine, _ = await self.visits.open(site, target, self._reach, stage)
        await bridge(stage, machine)

    @contextlib.contextmanager
    def _carried(
        self,
        guest: Guest,
        message: Open,
        visitor: StreamEnd | ResumableEnd | BrowserEnd,
        machine: End,
    ) -> Iterator[None]:
        """Accounts for the stream that is carried inside."""
        began = asyncio.get_running_loop().time()
        stream = _Stream(guest, visitor, machine, message, began)
        self._open.add(stream)
        try:
            yield
        finally:
            self._open.discard(stream)
            guest.bytes_in += machine.bytes_sent
            guest.bytes_out += visitor.bytes_sent
            seconds = asyncio.get_running_loop().time() - began
            traffic = _Traffic(machine.bytes_sent, visitor.bytes_sent, seconds, visitor.reason)
            self._ended(guest, message.protocol, message.host, message.port, traffic)

    def _accept(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> StreamEnd | ResumableEnd:
        """Answer OPENED. A guest's stream outlives its connection, if the guest wants that."""
        if message.resumable and guest.role is Role.GUEST and not self._resumables.is_full:
            return self._resumables.accept(connection, guest, message, end)
        connection.accept(end)
        return end

    def resume(self, connection: Connection, guest: Guest, message: Resume, end: StreamEnd) -> None:
        """Go on with a stream of this guest's whose connection was lost. Does not raise."""
        try:
            self._resumables.resume(connection, guest, message, end)
        except RefusedError as error:
            connection.refuse(end, error.code, error.text)
        except RemoteProtocolError as error:
            connection.refuse(end, Code.PROTOCOL_ERROR, error.text)

    def in_use(self, guest: Guest) -> list[tuple[str, str, int]]:
        """Protocol, host and port of what is open, each once, in the order of its opening."""
        streams = [each for each in self._open if each.guest is guest]
        streams.sort(key=lambda each: each.began)
        open_ = [(each.asked.protocol, each.asked.host, each.asked.port) for each in streams]
        open_ += [("udp", each.host, each.port) for each in self._flows_of(guest)]
        return list(dict.fromkeys(open_))

    def cut(self, port: int) -> int:
        """End guests' streams to `port` of the machine, which the policy gives no more; how many
        there were."""
        found = [
            each
            for each in self._open
            if each.guest.role is Role.GUEST
            and each.asked.port == port
            and self.policy.is_machine(each.asked.host)
        ]
        for each in found:
            each.end.reset(Code.NOT_ALLOWED)
            each.machine.reset(Code.CLOSED)
        return len(found)

    def end_all(self, guest: Guest | None = None) -> None:
        """The guest was struck off the list, or the share ends: no stream waits to go on."""
        self._resumables.end_all(guest)
        if guest is None:
            self.terminals.end_all("the share has ended", Code.EXPIRED)
        for fingerprint in [guest.fingerprint] if guest is not None else list(self._flows):
            flows = self._flows.pop(fingerprint, None)
            if flows is not None:
                flows.end_all()

    def _ended(self, guest: Guest, protocol: str, host: str, port: int, traffic: _Traffic) -> None:
        self._bytes_in += traffic.bytes_in
        self._bytes_out += traffic.bytes_out
        self._newsroom.tell(
            "stream",
            guest=guest.name,
            protocol=protocol,
            host=host,
            port=port,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            seconds=round(traffic.seconds, 3),
            code=traffic.code.name.lower() if traffic.code is not None else None,
            dropped=traffic.dropped,
        )

    def _decide(self, guest: Guest, protocol: str, host: str, port: int) -> Target:
        return self.policy.decide(
            guest.role,
            protocol,
            host,
            port,
            rights=guest.rights,
            has_ssh_key=guest.has_ssh_key,
        )

    def _terminals_changed(self, terminals: list[dict[str, object]]) -> None:
        self.board.set("terminals", terminals, _sees_terminals)

    async def _show_terminal(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        self.policy.decide_terminal(guest.role, guest.rights)
        viewer = ViewerEnd(self.terminals, message.host, Identity(guest.fingerprint, guest.name))
        connection.accept(end)
        with self._carried(guest, message, end, viewer):
            await bridge(viewer, end)

    # -- calls and the key

    def _answer_call(
        self, connection: Connection, guest: Guest, message: Open, end: StreamEnd
    ) -> None:
        call = self._calls.get(message.host)
        if call is None or guest.role is not Role.GUEST:
            raise RefusedError(Code.UNSUPPORTED, f"no call named {message.host[:40]!r}")
        connection.accept(end)
        end.send(msgspec.json.encode(call(guest, self.policy)))
        end.send_eof()
        end.discard()

    async def _hand_over_key(self, connection: Connection, guest: Guest, end: StreamEnd) -> None:
        if guest.role is not Role.GUEST:
            raise RefusedError(Code.NOT_ALLOWED, "SSH is for guests")
        if self._ssh is None:
            raise RefusedError(
                Code.NOT_ALLOWED,
                "SSH is not shared; the sharer can share it with --ssh",
            )
        # The key opens nothing where this guest may not open the port.
        self.policy.decide(
            guest.role, "tcp", MACHINE, self._ssh.port, rights=guest.rights, has_ssh_key=True
        )
        connection.accept(end)
        await self._ssh.serve(guest, end)

    # -- datagrams

    async def serve_lane(self, connection: Connection, guest: Guest, end: StreamEnd) -> None:
        """The connection is a lane until it ends."""
        if guest.role is not Role.GUEST:
            connection.refuse(end, Code.NOT_ALLOWED, "datagrams are for guests")
            return
        connection.accept(end)

        async def open_flow(host: str, port: int, receiver: FlowReceiver) -> CountingFlow:
            try:
                target = self._decide(guest, "udp", host, port)
                return await self._reach.open_udp(target.host, target.port, receiver)
            except VshareError as error:
                self._refused(guest, "udp", host, port, error)
                if isinstance(error, RefusedError):
                    raise
                raise RefusedError(Code.HOST_UNREACHABLE, error.text) from error

        flows = self._flows.get(guest.fingerprint)
        if flows is None:
            flows = GuestFlows(lambda *told: self._flow_ended(guest, *told))
            self._flows[guest.fingerprint] = flows
        await ServerLane(connection, flows).serve(open_flow)

    def _flow_ended(
        self, guest: Guest, flow: ServerFlow, seconds: float, code: Code | None
    ) -> None:
        guest.bytes_in += flow.bytes_in
        guest.bytes_out += flow.bytes_out
        guest.dropped += flow.dropped
        traffic = _Traffic(flow.bytes_in, flow.bytes_out, seconds, code, flow.dropped)
        self._ended(guest, "udp", flow.host, flow.port, traffic)


def _sees_terminals(item: object, guest: Guest) -> bool:
    return guest.rights.sees_terminals
