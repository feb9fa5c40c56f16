"""The gateway's connections to shares: one client per share, a stream per visitor."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from http import HTTPStatus

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from relay.accounts.quotas import Over, Quotas
from relay.http_rules import HttpError
from relay.lot import LotClosedError, NoParkedError
from relay.registry import LocalRegistry, Share
from relay.routes import SOLE, Site
from relay.streams import UpstreamStream
from tunnel.alerts import ShareNotFoundError
from tunnel.client import Client
from tunnel.codes import Code
from tunnel.control import Publish
from tunnel.ends import End
from tunnel.errors import RefusedError, VshareError
from tunnel.identity import Identity
from tunnel.parking import Paired

HTTP_PORT, HTTPS_PORT = 80, 443  # how the share is told how a visitor came
MAX_STREAMS = 512  # of one share, at a time

_STATUS = {
    Code.CONNECTION_REFUSED: HTTPStatus.BAD_GATEWAY,
    Code.TIMED_OUT: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_ALLOWED: HTTPStatus.FORBIDDEN,
    Code.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}

log = logging.getLogger(__name__)


class Door(msgspec.Struct, frozen=True):
    """A site of a share, and whether the visitor came with TLS."""

    site: Site
    tls: bool

    @property
    def name(self) -> str:
        """The site's, for people: `NAME` or `NAME--LABEL`."""
        return _name_of(self.site)


class _ShareClient:
    """The client of one session of a share, for as long as the session or a stream lasts."""

    def __init__(self, share: Share, published: Publish, quotas: Quotas) -> None:
        self.share, self.published, self._quotas = share, published, quotas
        self.client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self.streams = 0
        self.unused = asyncio.Event()

    def is_for(self, published: Publish) -> bool:
        """Whether what is published now is this client's, too: other sites make no other one."""
        now, then = published, self.published
        return now is then or (now.certificate, now.ca) == (then.certificate, then.ca)

    async def run(self, key: EllipticCurvePrivateKey) -> None:
        """Keep the client until the session is over and its last stream has ended."""
        try:
            identity = Identity(key, _der(self.published.certificate), _der(self.published.ca))
            async with Client(self._dial, identity, self.share.name, min_idle=1) as client:
                self.client.set_result(client)
                await self.share.over.wait()
                while self.streams:
                    self.unused.clear()
                    await self.unused.wait()
        except (ValueError, ssl.SSLError) as error:
            log.info("share %s published an unusable certificate: %s", self.share.name, error)
        finally:
            if not self.client.done():
                self.client.cancel()

    async def _dial(self) -> socket.socket:
        try:
            sock = await self.share.lot.take(Paired("gateway", ""))
        except LotClosedError as error:  # for good: nobody is to wait for this session any more
            raise ShareNotFoundError(error.text) from error
        self._quotas.pace_line(self.share, sock)
        return sock


class Upstreams:
    """Opens streams to shares. `run` must be running."""

    def __init__(self, registry: LocalRegistry, key: EllipticCurvePrivateKey) -> None:
        self._registry, self._key = registry, key
        self._clients: dict[Share, _ShareClient] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Hold the clients until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.get_running_loop().create_future()

    def expects(self, site: Site) -> bool:
        """Whether `wait_for` is worth it: the relay has just begun, and the share is not back."""
        if not self._registry.expected.is_on or site == SOLE:
            return False
        share = self._registry.get(site.name)
        if share is None:
            return self._registry.is_site_away(site.name)
        return share.http and not share.passthrough and share.published is None

    async def wait_for(self, site: Site) -> None:
        """Wait a little until the share is back."""
        await self._registry.expected.wait(site.name)

    def door_of(self, site: Site, *, tls: bool) -> Door:
        """What `site` is to a visitor who came with or without TLS. Raises HttpError."""
        if site == SOLE:
            site = self._sole_site()
        if site.label not in self._published(site)[1].sites:
            raise _unknown(site)
        return Door(site, tls)

    async def open(self, door: Door) -> UpstreamStream:
        """A stream to a share's site. Raises HttpError with a sentence for the visitor."""
        site = door.site
        share, published = self._published(site)
        holder = self._clients.get(share)
        if holder is None or not holder.is_for(published):
            holder = self._start(share, published)
        if holder.streams >= MAX_STREAMS:
            raise HttpError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{site.name} has too many visitors",
                "Try again soon.",
            )
        over = self._registry.quotas.refusal(share)
        if over is not None:
            raise _over(site, over)
        holder.streams += 1
        try:
            client = await asyncio.shield(holder.client)
            port = HTTPS_PORT if door.tls else HTTP_PORT
            end = await client.open_special("http", site.label, port)
        except BaseException as error:
            self._release(holder)
            if isinstance(error, ShareNotFoundError):
                return await self._open_after(share, door)
            if isinstance(error, VshareError):
                raise _explain(door, error) from error
            raise
        end.finished.add_done_callback(lambda _: self._release(holder))
        return self._counted(share, end)

    async def _open_after(self, left: Share, door: Door) -> UpstreamStream:
        """As `open`, once that session of the share is over: in the one that follows it."""
        if self.expects(door.site):
            await self.wait_for(door.site)
        if self._published(door.site)[0] is left:
            raise _away(door.site)
        return await self.open(door)

    def maybe_open(self, door: Door, begin: bytes) -> UpstreamStream | None:
        """As `open`, of a stream on which `begin` was sent already; None: that is not possible now.

        Where the share refuses, the stream is lost, and `open` has the sentence.
        """
        try:
            share, published = self._published(door.site)
        except HttpError:
            return None
        holder = self._clients.get(share)
        if holder is None or not holder.is_for(published) or not holder.client.done():
            return None
        if holder.client.cancelled() or holder.streams >= MAX_STREAMS:
            return None
        if self._registry.quotas.refusal(share) is not None:
            return None
        port = HTTPS_PORT if door.tls else HTTP_PORT
        end = holder.client.result().maybe_open("http", door.site.label, port, begin)
        if end is None:
            return None
        holder.streams += 1
        end.finished.add_done_callback(lambda _: self._release(holder))
        return self._counted(share, end, len(begin))

    def _counted(self, share: Share, end: End, ahead: int = 0) -> UpstreamStream:
        """The stream over `end`, on which `ahead` bytes were sent, as one of the share's."""
        stream, quotas = UpstreamStream(end), self._registry.quotas
        flow = quotas.begin(share, lambda: stream.received + stream.sent + ahead, stream.abort)
        end.finished.add_done_callback(lambda _: quotas.end(flow))
        stream.flow = flow
        return stream

    def _release(self, holder: _ShareClient) -> None:
        holder.streams -= 1
        holder.unused.set()

    def _start(self, share: Share, published: Publish) -> _ShareClient:
        if self._group is None:
            raise RuntimeError("the gateway is not running")
        holder = self._clients[share] = _ShareClient(share, published, self._registry.quotas)
        task = self._group.create_task(holder.run(self._key), name=f"gateway {share.name}")
        task.add_done_callback(lambda _: self._forget(share, holder))
        return holder

    def _forget(self, share: Share, holder: _ShareClient) -> None:
        if self._clients.get(share) is holder:
            del self._clients[share]

    def _sole_site(self) -> Site:
        share = self._registry.sole()
        if share is None or not _has_url(share):
            raise HttpError(
                HTTPStatus.NOT_FOUND, "Nothing is shared here now", "The share may have ended."
            )
        return Site(share.name)

    def _published(self, site: Site) -> tuple[Share, Publish]:
        """The share and what it publishes. Raises HttpError: to strangers a share without a
        website is as unknown as a name that nobody has, and one that registered (again) and has
        not published yet is not back."""
        share = self._registry.get(site.name)
        if share is None and self._registry.is_site_away(site.name):
            raise _away(site)
        if share is None or not _has_url(share):
            raise _gone(site) if self._registry.is_site_gone(site.name) else _unknown(site)
        if share.published is None:
            raise _away(site)
        return share, share.published


def _has_url(share: Share) -> bool:
    """Whether the gateway brings visitors there, or will as soon as the share has published."""
    if share.passthrough or not share.http:
        return False
    return share.published is None or bool(share.published.sites)


def _unknown(site: Site) -> HttpError:
    return HttpError(
        HTTPStatus.NOT_FOUND,
        f"Nothing is shared under the name {_name_of(site)}",
        "The share may have ended, or the address may be mistyped. Ask its owner.",
    )


def _gone(site: Site) -> HttpError:
    return HttpError(
        HTTPStatus.GONE,
        f"The share {site.name} has ended",
        "Its owner has ended it, or its time was over. Ask the owner whether it goes on.",
    )


def _away(site: Site) -> HttpError:
    return HttpError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"The computer that shares {site.name} is away",
        "It may be asleep or without a network. The share goes on when it is back: try again then.",
    )


def _over(site: Site, over: Over) -> HttpError:
    """The share's limits are not the visitor's business, but how long it is so."""
    sentence, hint = f"{site.name} has too many visitors", "Try again soon."
    if over.today:
        sentence = f"{site.name} has had its traffic for today"
        hint = "Its relay moves so much a day for it. It goes on at midnight UTC."
    return HttpError(HTTPStatus.SERVICE_UNAVAILABLE, sentence, hint, over.seconds)


def _name_of(site: Site) -> str:
    return f"{site.name}--{site.label}" if site.label else str(site.name)


def _explain(door: Door, error: VshareError) -> HttpError:
    """The page for a stream that could not be opened."""
    if isinstance(error, NoParkedError):
        return HttpError(
            HTTPStatus.SERVICE_UNAVAILABLE, f"{door.name} is too busy to answer", "Try again soon."
        )
    if not isinstance(error, RefusedError):
        return HttpError(
            HTTPStatus.BAD_GATEWAY,
            f"{door.name} cannot be reached",
            f"Its owner's computer does not answer: {error.text}.",
        )
    status = _STATUS.get(error.code, HTTPStatus.BAD_GATEWAY)
    sentence = f"The application behind {door.name} does not answer"
    if error.code is Code.NOT_ALLOWED:
        sentence = f"{door.name} is not open to browsers"
    elif error.code is Code.CONNECTION_REFUSED:
        sentence = f"The application behind {door.name} is not running"
    return HttpError(status, sentence, f"The shared machine's side says: {error.text}.")


def _der(pem: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem)
