"""A relay: everything in this package put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from starlette.types import ASGIApp

from relay import join_line
from relay.accounting import How, Kind
from relay.accounts.permits import Permits
from relay.acme import AcmeCertificate, acme_certificate
from relay.acme_proofs import HttpProof
from relay.app import make_app
from relay.asgi import AsgiServer
from relay.blind_sites import BlindSites
from relay.certificate import kept, load_identity, make_key, parse_key
from relay.certificate_files import CertificateFiles, ShownIdentity
from relay.config import RelayConfig
from relay.control import Control, Urls
from relay.decoy import Decoys
from relay.drain import Drain
from relay.front import (
    ACCESS_DENIED,
    INTERNAL_ERROR,
    QUOTA_SPENT,
    UNRECOGNIZED_NAME,
    Front,
    Visitor,
    refuse,
)
from relay.gateway import Gateway
from relay.history.recorder import Recorder, recording
from relay.house import House, house_of
from relay.join_limits import JoinLimits
from relay.kept_up import kept_up
from relay.limits import Admission, budget_for
from relay.listening import Listening, at_once
from relay.lot import LotClosedError, NoParkedError
from relay.names import NameBook
from relay.operation.panel import Panel
from relay.operation.sources import Sources
from relay.own_domains.setup import OwnDomainService, own_domains_of
from relay.parker import Parker
from relay.registry import MAX_SHARES, LocalRegistry, Share
from relay.routes import Answerer
from tunnel import splice
from tunnel.address import RelayAddress
from tunnel.errors import VshareError
from tunnel.identity import public_der
from tunnel.lan_address import lan_address
from tunnel.names import ShareName
from tunnel.open_files import open_files_limit
from tunnel.parking import Paired
from tunnel.source import source_of

if TYPE_CHECKING:
    from relay.cluster.ends import SharesElsewhere
    from relay.cluster.histories import HistoriesElsewhere
    from relay.cluster.node import ClusterNode
    from relay.cluster.pages import PagesTogether
    from relay.own_domains.desk import OwnDomainDesk

HTTP_PORT = 80  # where browsers come that are given no port
UNSPECIFIED = ("0.0.0.0", "::")  # listening there is listening on every address

# Why a visitor was refused, for metrics.
_REFUSED = {
    UNRECOGNIZED_NAME: "unknown",
    INTERNAL_ERROR: "away",
    ACCESS_DENIED: "limit",
    QUOTA_SPENT: "quota",
}

log = logging.getLogger(__name__)


class Relay:
    """`async with Relay(config) as relay:` serves until the block ends.

    Raises VshareError when it cannot listen or its certificate cannot be used. `before_accepting`
    is waited for when all is ready and nobody was let in yet; `leaving` lets everybody leave.
    """

    def __init__(
        self,
        config: RelayConfig,
        listening: Listening | None = None,
        before_accepting: Callable[[], Awaitable[None]] = at_once,
    ) -> None:
        self._config = config
        self.listening = listening or Listening()
        self._before_accepting = before_accepting
        self.leaving: Drain  # while it serves
        self._stack = contextlib.AsyncExitStack()
        self.domain = config.domain.lower()
        self.port = self.metrics_port = 0
        self._shown: ShownIdentity | None = None
        self._files: CertificateFiles | None = None
        self._acme: AcmeCertificate | None = None
        self._elsewhere: SharesElsewhere | None = None
        self._histories: HistoriesElsewhere | None = None
        self._together: PagesTogether | None = None
        self._proof = HttpProof()
        self.registry: LocalRegistry  # while it serves
        self.cluster: ClusterNode | None = None

    @property
    def address(self) -> RelayAddress:
        """Where others find this relay, with the pin of its certificate if it made that itself.

        Where it listens on all addresses, that is its domain, or else its network's address.
        """
        host = self._config.host
        if host in UNSPECIFIED:
            host = self.domain if self.domain != "localhost" else lan_address("the relay")
        pin = None if self._config.certificate or self._config.acme else self.fingerprint
        return RelayAddress(host, self.port, pin)

    @property
    def fingerprint(self) -> str:
        """Of the certificate that new connections get; empty before it serves."""
        return self._shown.current.fingerprint if self._shown else ""

    def reload(self) -> str:
        """Read the certificate's files again; what came of it, for people. Raises VshareError, and
        then the certificate that was in use stays."""
        if self._acme is not None:
            return "the relay gets its certificate itself, and renews it in time"
        if self._files is None:
            return "the relay made its certificate itself: there are no files to read again"
        return self._files.reload()

    def stand_back(self) -> None:
        """Let nobody in any more: another process goes on with the same state directory."""
        self.leaving.close_doors()
        self.registry.hand_over()

    async def settled(self) -> None:
        """Wait until the relay has its certificate, or has failed to get it from the authority;
        then it has said why, and goes on trying."""
        if self._acme is not None:
            await self._acme.tried.wait()

    async def __aenter__(self) -> Relay:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._run())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        config = self._config
        shown, shown_for_sites = self._take_identities()
        budget = budget_for(open_files_limit())
        splice.PIPES.limit = budget.pipes
        with contextlib.ExitStack() as stack:
            gateway_key, names = _load_state(config.state_dir)
            stack.enter_context(names)
            self.registry = LocalRegistry(names, 1 if config.sole_share else MAX_SHARES)
            history = stack.enter_context(
                recording(self.registry.accounting, config.state_dir, config.history)
            )
            house = stack.enter_context(house_of(self.registry, config))
            places = ((config.host, config.port), *config.more_places)
            listeners = [stack.enter_context(self.listening.at(*place)) for place in places]
            self.port = listeners[0].getsockname()[1]
            own = own_domains_of(config, self.registry, self._proof, shown_for_sites)
            sites = own.sites(self.domain, _sole_host(config))
            http_port = HTTP_PORT if any(port == HTTP_PORT for _, port in places) else 0
            urls = Urls(self.domain, config.public_port or self.port, sites.sole_host, http_port)
            public = public_der(gateway_key.public_key())
            control = Control(self.registry, names, urls, public, house.permits, house.rules)
            control.own_domains = own.desk
            gateway = Gateway(self.registry, gateway_key, sites, shown_for_sites, own.identity)
            admission = Admission(budget)
            cluster = self._cluster(names, admission, control)
            website = self._website(urls, house.permits, control, own.desk)
            values, host = self._proof.values, config.pages_host
            app = make_app(self.registry, self.domain, values, host, website, sites=sites)
            asgi = AsgiServer(app, control.open, admission)
            blind = BlindSites(self.registry, admission, gateway.misses, urls.port)
            desk = _Desk(self.registry, shown, _Browsers(blind, gateway), asgi, admission)
            answers = cluster.around(desk.answers) if cluster else desk.answers
            fronts = [Front(each, admission, sites, answers, house.is_banned) for each in listeners]
            if cluster is not None:
                if house.accounts is not None:
                    cluster.share_accounts(house.accounts)
                own.join(cluster.member)
                place = stack.enter_context(self.listening.at(*cluster.place, "--node-address"))
                fronts.append(cluster.front(place, sites, desk.answers, house.is_banned))
            panel = stack.enter_context(_panel(config.metrics, self.listening))
            sources = Sources(self.registry, admission, shown, control, fronts, names, self._acme)
            sources.state_dir, sources.history = config.state_dir, history
            sources.cluster, sources.is_leaving = cluster, lambda: self.leaving.has_begun
            self.metrics_port = panel.port
            await self._before_accepting()
            self.registry.expected.begin()
            parts = _Parts(own, asgi, house, fronts, panel, sources, gateway, cluster, history)
            async with self._at_work(parts):
                yield

    @contextlib.asynccontextmanager
    async def _at_work(self, parts: _Parts) -> AsyncIterator[None]:
        asgi, fronts, gateway, cluster = parts.asgi, parts.fronts, parts.gateway, parts.cluster
        try:
            async with asyncio.TaskGroup() as group:

                def keep(run: Callable[[], Awaitable[None]], what: str) -> asyncio.Task[None]:
                    return group.create_task(kept_up(run, what), name=what)

                keep(self.registry.keep_house, "housekeeping")
                keep(parts.own.run, "own domains")
                watching = keep(asgi.keep_house, "channels")
                renewing = keep(self._keep_certificate, "certificate")
                looking = keep(lambda: parts.house.run(fronts), "accounts")
                serving = [group.create_task(each.run(), name="front") for each in fronts]
                serving.append(group.create_task(parts.panel.run(parts.sources), name="metrics"))
                gathering = group.create_task(gateway.run(), name="gateway")
                if cluster is not None:
                    serving.append(keep(lambda: cluster.run(str(self.address)), "cluster"))
                if parts.history is not None:
                    keep(parts.history.run, "history")
                self.leaving = Drain(fronts, asgi, gateway, [renewing, serving[len(fronts)]])
                try:
                    yield
                finally:
                    await self._wind_down(*serving, gathering, watching, renewing, looking)
                    raise _StopError
        except* _StopError:
            pass
        finally:
            await asgi.close()
            splice.PIPES.close_idle()

    def _take_identities(self) -> tuple[ShownIdentity, ShownIdentity]:
        """What is shown at the relay's own name, and at shares' sites."""
        config = self._config
        identity = load_identity(config.certificate, config.key, config.state_dir, self.domain)
        own = sites = self._shown = ShownIdentity(identity)
        if config.certificate is not None:
            self._files = CertificateFiles(own, config.certificate, config.key, config.names)
            self._files.warn_of_dates()
            self._files.warn_of_names()
        elif config.acme is not None and config.state_dir is not None:
            if config.acme.dns_hook is None:  # what comes is for the relay's own name alone
                sites = ShownIdentity(identity)
            self._acme = acme_certificate(
                config.acme, config.state_dir, config.names, own, self._proof
            )
        return own, sites

    def _website(
        self,
        urls: Urls,
        permits: Permits | None,
        control: Control,
        domains: OwnDomainDesk | None,
    ) -> ASGIApp | None:
        """The pages for those who have tokens: at a host of their own, or nowhere."""
        config = self._config
        if permits is None or config.state_dir is None or not config.pages_host:
            return None
        from relay.website.app import Parts, make_website  # what few need is loaded by those

        parts = Parts(
            self.registry,
            permits,
            urls,
            config.state_dir,
            control.end_lease,
            config.limits,
            domains.states_of if domains else None,
            self._elsewhere,
            histories=self._histories,
            together=self._together,
        )
        return make_website(config.pages_host, parts)

    def _cluster(
        self, names: NameBook, admission: Admission, control: Control
    ) -> ClusterNode | None:
        """This relay as a node, if it is to be one."""
        config = self._config
        if config.cluster is None:
            return None
        from relay.cluster.ends import SharesElsewhere  # with what speaks to Redis
        from relay.cluster.histories import HistoriesElsewhere
        from relay.cluster.node import ClusterNode

        node = ClusterNode(config.cluster, self.registry, names, admission, config.state_dir)
        self._elsewhere = SharesElsewhere(node.member, self.registry, control.end_lease)
        self._histories = HistoriesElsewhere(node.member, self.registry, config.state_dir)
        self._together = node.pages
        control.cluster = self.cluster = node
        return node

    async def _keep_certificate(self) -> None:
        if self._files is not None:
            await self._files.keep_watch()
        elif self._acme is not None:
            await self._acme.run()

    async def _wind_down(self, *tasks: asyncio.Task[None]) -> None:
        for share in self.registry.shares():
            share.finish(How.STOPPED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a relay is made of that has something to run."""

    own: OwnDomainService
    asgi: AsgiServer
    house: House
    fronts: list[Front]
    panel: Panel
    sources: Sources
    gateway: Gateway
    cluster: ClusterNode | None
    history: Recorder | None


class _StopError(Exception):
    """Ends the task group from within."""


class _Browsers:
    """Visitors of sites: for the share itself where it ends their TLS, else for the gateway."""

    def __init__(self, blind: BlindSites, gateway: Gateway) -> None:
        self._blind, self._gateway = blind, gateway

    async def serve(self, visitor: Visitor) -> None:
        if not await self._blind.maybe_serve(visitor):
            await self._gateway.serve(visitor)


class _Desk:
    """What happens to a visitor once it is known who answers."""

    def __init__(
        self,
        registry: LocalRegistry,
        shown: ShownIdentity,
        browsers: _Browsers,
        asgi: AsgiServer,
        admission: Admission,
    ) -> None:
        self._registry, self._asgi = registry, asgi
        self._shown = shown
        self._parker = Parker(registry, shown, admission)
        self._admission = admission
        self._joins = JoinLimits(admission.budget.joins)
        self._decoys = Decoys(registry.round_trips)
        registry.on_change = self._decoys.forget
        self.answers = {
            Answerer.SHARE: self._pair,
            Answerer.JOIN: self._join,
            Answerer.PARK: self._park,
            Answerer.GATEWAY: browsers.serve,
            Answerer.APPLICATION: self._application,
            Answerer.NOBODY: self._nobody,
        }

    async def _pair(self, visitor: Visitor) -> None:
        """A guest: whoever knows the route may know how the share is."""
        route = visitor.route.share_route
        share = self._registry.get_by_route(route)
        if share is None and self._registry.is_route_away(route):
            await self._registry.expected.wait(route)
            share = self._registry.get_by_route(route)
        if share is None:
            away = self._registry.is_route_away(route)
            self._refuse(visitor, INTERNAL_ERROR if away else UNRECOGNIZED_NAME)
            return
        over = self._registry.quotas.refusal(share, is_guest=True)
        if over is not None or share.visitors >= self._admission.budget.per_share:
            self._refuse(visitor, QUOTA_SPENT if over and over.today else ACCESS_DENIED)
            return
        share.visitors += 1
        try:
            parked = await share.lot.take(Paired("visitor", visitor.address))
        except LotClosedError:
            if self._registry.get_by_route(route) not in (share, None):
                await self._pair(visitor)  # it registered again: what it parks now is alive
            else:
                self._refuse(visitor, INTERNAL_ERROR)
        except NoParkedError:
            self._refuse(visitor, INTERNAL_ERROR)
        else:
            visiting = self._registry.accounting.visit(share, Kind.CONNECT, visitor.address)
            with (
                self._admission.another(),
                self._registry.carrying(share, parked),
                visiting as visit,
                self._registry.quotas.carrying(
                    share, visit.total, (visitor.sock, parked), is_guest=True
                ),
            ):
                totals = await splice.splice_sockets(visitor.sock, parked, visit.measure)
            log.debug("%s for %s: %s", visitor.address, share.name, totals)
        finally:
            share.visitors -= 1

    async def _join(self, visitor: Visitor) -> None:
        """Somebody with a code, or without: nothing here may depend on whether the name is
        shared, but who answers in the end."""
        name = visitor.route.name
        loop = asyncio.get_running_loop()
        source = source_of(visitor.address)
        wait = self._joins.enter(name, source, loop.time()) if name else None
        if name is None or wait is None:
            self._admission.joins["refused"] += 1
            self._refuse(visitor, ACCESS_DENIED)
            return
        try:
            await asyncio.sleep(wait)
            found = await self._parked_for_join(name, visitor.address)
            self._admission.joins["share" if found else "decoy"] += 1
            with self._admission.another():
                if found is not None:
                    share, parked = found
                    visit = self._registry.accounting.visit(share, Kind.JOIN, visitor.address)
                    with visit:
                        await join_line.connect(visitor.sock, parked, count=visit.count)
                else:
                    await self._decoys.serve(visitor.sock, name, visitor.address)
        finally:
            self._joins.leave()

    async def _parked_for_join(
        self, name: ShareName, address: str
    ) -> tuple[Share, socket.socket] | None:
        share = self._registry.get(name)
        if share is None:
            return None
        try:
            return share, await share.lot.take(Paired("visitor", address), join=True)
        except NoParkedError:  # as good as away: it has been out of reach for seconds
            return None

    async def _park(self, visitor: Visitor) -> None:
        await self._parker.park(visitor)

    async def _application(self, visitor: Visitor) -> None:
        await self._asgi.serve(visitor, self._shown.current if visitor.route.tls else None)

    async def _nobody(self, visitor: Visitor) -> None:
        self._refuse(visitor, UNRECOGNIZED_NAME)

    def _refuse(self, visitor: Visitor, alert: int) -> None:
        self._admission.refused[_REFUSED[alert]] += 1
        refuse(visitor, alert)


def _load_state(folder: Path | None) -> tuple[EllipticCurvePrivateKey, NameBook]:
    """What is kept from one start to the next. Raises VshareError."""
    try:
        key = parse_key(kept(folder and folder / "gateway.key", make_key()))
        return key, NameBook(folder and folder / "names.sqlite")
    except (OSError, sqlite3.OperationalError) as error:
        raise VshareError(
            f"the state directory {folder} cannot be used: {error}",
            "make it writable, or choose another with --state-dir",
        ) from error


def _sole_host(config: RelayConfig) -> str:
    """The host of the relay's one share, as a Host field has it (RFC 3986 3.2.2)."""
    if not config.sole_share:
        return ""
    return f"[{config.host}]" if ":" in config.host else config.host


@contextlib.contextmanager
def _panel(place: tuple[str, int] | None, listening: Listening) -> Iterator[Panel]:
    """What the operator's programs ask, there; None: nowhere. Raises VshareError."""
    with listening.at(*place, "--metrics") if place else contextlib.nullcontext() as listener:
        yield Panel(listener)
