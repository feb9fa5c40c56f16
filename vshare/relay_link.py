"""A share's link to its relay: control channel and parked connections (docs/protocol.md 4, 5).

The link comes back by itself, with the same key and name, after the relay restarted or
the network changed. Every visitor arrives as a plain socket whose first bytes are unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidURI,
    WebSocketException,
)

from tunnel import control
from tunnel.address import RelayAddress
from tunnel.control import (
    Ended,
    Extended,
    Notice,
    OwnDomainStates,
    Publish,
    Register,
    Registered,
    Rejected,
    Tickets,
)
from tunnel.errors import LocalProtocolError, RemoteProtocolError, VshareError
from tunnel.names import ShareName
from tunnel.network_watch import is_stranded, watch_network
from tunnel.parking import Paired
from tunnel.relay_tls import RelayError
from tunnel.relay_token import RelayToken
from vshare.own_domains import OwnDomains
from vshare.parked import await_visitor, closed_on_error, hand_in
from vshare.refusals import RejectedError
from vshare.relay_channel import REGISTER_WITHIN, challenge_on, open_channel
from vshare.relay_places import RelayPlaces

PARK_WITHIN = 15.0  # seconds from the dialling to PARKED
EXTEND_WITHIN = 5.0  # seconds for the relay's answer to `extend`; a terminal waits for it
FIRST_RETRY = 0.1  # seconds; new streams are to work within 2 s of the network's return
LAST_RETRY = 0.4  # seconds, while nobody answers: a SYN costs a relay nothing
LATER_RETRY = 1.0  # seconds, when it was so for COMES_BACK: then it was no restart
COMES_BACK = 60.0  # seconds
LAST_RETRY_BUSY = 8.0  # seconds, when it answers and has no time: a handshake costs it 1 ms
PROBE_AFTER = 10.0  # seconds without a word, where one parked connection or another is pinged
PROBE_AFTER_IN_USE = 0.5  # seconds, while there are visitors: a router may forget in silence
PROBE_WITHIN = 1.5  # seconds for the answer to a ping: a round trip on a bad link, and then some
PROBE_WITHIN_LEAST = 0.8  # seconds, where round trips are short; a machine may be busy
ROUND_TRIPS = 4  # that an answer may take
LOOK_EVERY = 0.2  # seconds
SLEPT = 3.0  # seconds that a look may be late; more, and this process or its host was asleep
SERVICE_RESTART = 1012  # IANA's WebSocket close codes
TRY_AGAIN = ("full", "unavailable")  # codes of a relay that may take the share later
MAX_PARKING = 384  # connections being parked or parked: more than a relay asks for

log = logging.getLogger(__name__)


class RelayLink:
    """`async with RelayLink(...) as link:` registers; leaving ends the share's registration.

    Entering raises VshareError when the relay cannot be reached, is not the one that its
    address names, or refuses. `on_visitor(sock, paired)` is called for each visitor, in the
    loop's thread, and owns the socket from then on. The share ends at `expires_at`, seconds since
    the epoch, and its guests find it by `route`, 32 hex digits: both are told again after each
    reconnection. `passthrough`: browsers' TLS ends at the share, and the gateway gets nothing;
    RelayError if the relay cannot do that. `token`: what the relay is shown if it asks for one;
    `own_domains`: what is asked of it then.
    `on_gateway_key(key)` is called when the relay came back
    with another gateway key than before: publish again; `on_notice(text)` when it has something to
    say to the sharer. `ended` is done when the relay ended the
    share for good.
    """

    def __init__(
        self,
        relay: RelayAddress,
        key: Ed25519PrivateKey,
        name: ShareName | None,
        *,
        on_visitor: Callable[[socket.socket, Paired], None],
        http: bool = True,
        expires_at: float,
        route: str,
        passthrough: bool = False,
        token: RelayToken | None = None,
        own_domains: OwnDomains | None = None,
        on_gateway_key: Callable[[bytes], Awaitable[None]] | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.places = RelayPlaces(relay)
        self._key, self._name, self._http = key, name, http
        self._expires_at = expires_at
        self.route = route
        self._passthrough, self._token = passthrough, token
        self.own_domains = own_domains or OwnDomains(())
        self._on_visitor, self._on_gateway_key = on_visitor, on_gateway_key
        self._on_notice = on_notice
        self._stack = contextlib.AsyncExitStack()
        self._channel: ClientConnection | None = None
        self._published: Publish | None = None
        self._parked: set[asyncio.Task[None]] = set()  # or being parked, since it registered
        self._visitors: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._sent_away = False  # by a relay that still serves the visitors who are there
        self._heard_at = 0.0  # loop time of the relay's last word
        self._round_trip = PROBE_WITHIN  # seconds, as measured last
        self._look = asyncio.Event()  # something happened: do not wait for the next look
        self._changed = asyncio.Event()  # the network did: what waits to try again need not
        self._answers = False  # whether somebody accepted the last connection
        self._extending = asyncio.Lock()
        self._extended: asyncio.Future[float | None] | None = None  # seconds; None: ask again
        self.registered: Registered
        self.gateway_key = b""
        self._new_gateway_key = False
        self.connected = asyncio.Event()
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> RelayLink:
        async with contextlib.AsyncExitStack() as stack:
            channel = await self._open()
            await stack.enter_async_context(self._run(channel))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def publish(self, sites: list[str], certificate_pem: str, ca_pem: str) -> None:
        """Tell the gateway what the public URL opens; told again after each reconnection.

        Raises LocalProtocolError with `passthrough`: the relay would come between browsers and us.
        """
        if self._passthrough:
            raise LocalProtocolError("a share that ends browsers' TLS gives the gateway nothing")
        self._published = Publish(sites, certificate_pem, ca_pem)
        await self._send_published()

    async def publish_sites(self, sites: list[str]) -> None:
        """As `publish`, of other sites with the same certificate, once that was published."""
        if self._published is not None:
            before = self._published
            self._published = Publish(sites, before.certificate, before.ca)
            await self._send_published()

    async def ask_own_domains(self) -> None:
        """They are others than before; told again after each reconnection."""
        wanted = self.own_domains.changed()
        if self._channel is not None and wanted is not None:
            with contextlib.suppress(WebSocketException):  # lost
                await self._channel.send(control.serialize(wanted))

    async def extend(self, expires_at: float) -> float:
        """Let the share end at `expires_at` (seconds since the epoch), sooner or later.

        Returns what the relay grants, which may be less. While the relay is out of reach that is
        not known: then `expires_at`, which the next registration asks for.
        """
        async with self._extending:
            self._expires_at = expires_at
            channel = self._channel
            if channel is None:
                return expires_at
            self._extended = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(EXTEND_WITHIN):
                    await channel.send(control.serialize(control.Extend(self._lasts())))
                    granted = await self._extended
            except (WebSocketException, TimeoutError):
                return expires_at
            finally:
                self._extended = None
            return expires_at if granted is None else min(expires_at, time.time() + granted)

    def _lasts(self) -> float:
        """Seconds that are left of the share's time."""
        return max(0.0, self._expires_at - time.time())

    def _answer_extend(self, granted: float | None) -> None:
        if self._extended is not None and not self._extended.done():
            self._extended.set_result(granted)

    async def _send_published(self) -> None:
        if self._channel is not None and self._published is not None:
            with contextlib.suppress(WebSocketException):  # lost: sent after the reconnection
                await self._channel.send(control.serialize(self._published))

    @contextlib.asynccontextmanager
    async def _run(self, channel: ClientConnection) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                main = group.create_task(self._keep(channel, group), name="relay-link")
                watch = group.create_task(self._watch(), name="relay-watch")
                try:
                    with watch_network(self._look.set):
                        yield
                finally:
                    await self._say_end()
                    for task in (main, watch, *self._parked):
                        task.cancel()
                    raise _StopError
        except* _StopError:
            pass

    async def _say_end(self) -> None:
        if self._channel is None:
            return
        with contextlib.suppress(WebSocketException, TimeoutError):
            async with asyncio.timeout(1):
                await self._channel.send(control.serialize(control.End()))
                await self._channel.close()

    async def _keep(self, channel: ClientConnection | None, group: asyncio.TaskGroup) -> None:
        """Converse; connect again when the channel is lost; until the relay ends the share."""
        delay = FIRST_RETRY
        while not self.ended.done():
            try:
                if channel is None:
                    channel = await self._open()
                    log.info("the relay is back; the share's name is still %s", self._name)
                    delay = FIRST_RETRY
                await self._converse(channel, group)
            except RejectedError as error:
                self.places.pass_over()
                if error.code not in TRY_AGAIN:
                    self._end(Ended(error.code, error.text))
            except (VshareError, WebSocketException, OSError, TimeoutError) as error:
                log.info("the relay is not reachable, trying again: %s", error)
                if channel is None:
                    self.places.pass_over()
            finally:
                self._channel = None
                self._answer_extend(None)
                self.connected.clear()
                if channel is not None:
                    channel.transport.abort()
                channel = None
            if not self.ended.done():
                await self._pause(delay * random.uniform(0.5, 1.0))  # not all shares at once
                delay = min(delay * 2, self._longest_pause())

    def _longest_pause(self) -> float:
        if self._answers:
            return LAST_RETRY_BUSY
        away = asyncio.get_running_loop().time() - self._heard_at
        return LATER_RETRY if away > COMES_BACK else LAST_RETRY

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than until the network changed."""
        if not self._answers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        else:
            await asyncio.sleep(seconds)
        self._changed.clear()

    async def _watch(self) -> None:
        """Probe after silence, after a sleep, and when the network changed."""
        loop = asyncio.get_running_loop()
        while True:
            asleep_since = time.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._look.wait()
            slept = time.time() - asleep_since > LOOK_EVERY + SLEPT
            quiet = loop.time() - self._heard_at
            most = PROBE_AFTER_IN_USE if self.is_used else PROBE_AFTER
            if self._look.is_set() or slept or quiet > most:
                self._look.clear()
                await self.probe()

    @property
    def is_used(self) -> bool:
        """Whether there are visitors."""
        return any(sock.fileno() >= 0 for sock in self._visitors)

    def _has_moved(self) -> bool:
        """Whether all visitors came by addresses that are not this host's any more."""
        ways = {sock.getsockname()[0]: sock for sock in self._visitors if sock.fileno() >= 0}
        return bool(ways) and all(is_stranded(sock) for sock in ways.values())

    async def probe(self) -> None:
        """Ask the relay for a sign of life, and connect anew at once if none comes soon.

        To be called when the network may have changed: what went over the old one is dead
        without a word.
        """
        self._changed.set()
        channel = self._channel
        if channel is None:
            return
        if is_stranded(channel.transport.get_extra_info("socket")):
            log.info("this host's address has changed, connecting anew")
            channel.transport.abort()
            return
        within = min(PROBE_WITHIN, max(PROBE_WITHIN_LEAST, ROUND_TRIPS * self._round_trip))
        try:
            async with asyncio.timeout(within):
                self._round_trip = await (await channel.ping())
        except (WebSocketException, TimeoutError):
            log.info("the relay is silent, connecting anew")
            channel.transport.abort()
        else:
            self._heard()

    def _heard(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()

    def _end(self, ended: Ended) -> None:
        if not self.ended.done():
            self.ended.set_result(ended)

    async def _open(self) -> ClientConnection:
        """A control channel on which this share is registered. Raises VshareError."""
        relay = self.places.configured
        try:
            async with asyncio.timeout(REGISTER_WITHIN):
                try:
                    return await self._connect_and_register()
                except ssl.SSLCertVerificationError:
                    self.places.forget_contexts()
                    return await self._connect_and_register()
        except ssl.SSLCertVerificationError as error:
            raise RelayError(
                f"the certificate of the relay {relay} is not valid: {error.verify_message}",
                "for a relay with a self-made certificate, give its address with the"
                " #fingerprint that `vrelay serve` prints",
            ) from error
        except TimeoutError:
            raise RelayError(f"the relay {relay} does not answer", "try again later") from None
        except (InvalidHandshake, InvalidURI) as error:
            raise RelayError(
                f"{relay} is not a relay: {error}", "check host and port of the relay"
            ) from error
        except (OSError, WebSocketException) as error:
            raise RelayError(
                f"the connection to the relay {relay} failed: {error}", "try again later"
            ) from error

    async def _connect_and_register(self) -> ClientConnection:
        places = self.places
        self._answers = False
        sock, places.current = await places.dial()
        self._answers = True
        with closed_on_error(sock):
            contexts = await places.contexts(places.current)
        channel = await open_channel(places.current.shown, sock, contexts.channel)
        try:
            await self._register(channel)
            places.told(self.registered, sock)
        except BaseException:
            channel.transport.abort()
            raise
        self._channel = channel
        self._heard()
        wanted = self.own_domains.wanted(self._key, self.registered)
        if wanted is not None:
            await channel.send(control.serialize(wanted))
        if not self._sent_away:
            for task in self._parked:  # of an earlier session: no visitor comes there any more
                task.cancel()
            self._parked = set()
        self._sent_away = False
        self.connected.set()
        await self._send_published_or_ask()
        return channel

    async def _register(self, channel: ClientConnection) -> None:
        challenge = await challenge_on(channel)
        certificate = channel.transport.get_extra_info("ssl_object").getpeercert(True)
        name = self._name or ""
        signature = self._key.sign(control.signed_bytes(challenge.nonce, certificate, name))
        key = self._key.public_key().public_bytes_raw()
        request = Register(
            key,
            signature,
            name,
            self._http,
            self._lasts(),
            control.VERSION,
            self.route,
            self._passthrough,
            self._token.text if self._token and challenge.token else "",
            self._has_moved(),
            notices=True,
        )
        await channel.send(control.serialize(request))
        answer = control.parse_from_relay(await channel.recv())
        if isinstance(answer, Rejected):
            raise RejectedError(answer.code, answer.text)
        if not isinstance(answer, Registered):
            raise RemoteProtocolError("the relay did not answer the registration")
        if self._name is not None and answer.name != self._name:
            text = f"it gave the name {answer.name[:60]!r} in place of {self._name!r}"
            raise RejectedError("name-invalid", text)
        if self._passthrough and not answer.passthrough:
            raise RelayError(
                f"the relay {self.places.configured} does not pass browsers' TLS through",
                "update the relay, use another one, or leave --https-passthrough out",
            )
        self._new_gateway_key = bool(self.gateway_key) and self.gateway_key != challenge.gateway_key
        self.gateway_key = challenge.gateway_key
        self.registered = answer
        self._name = ShareName(answer.name)

    async def _send_published_or_ask(self) -> None:
        if self._new_gateway_key and self._on_gateway_key is not None:
            await self._on_gateway_key(self.gateway_key)
        else:
            await self._send_published()

    async def _converse(self, channel: ClientConnection, group: asyncio.TaskGroup) -> None:
        async for text in self._messages(channel):
            self._heard()
            match control.parse_from_relay(text):
                case Tickets(tickets=tickets):
                    for ticket in tickets:
                        if len(self._parked) < MAX_PARKING:
                            self._start_parking(ticket, group)
                case Extended(expires_in=granted):
                    self._answer_extend(granted)
                case OwnDomainStates() as states:
                    self.own_domains.heard(states)
                case Notice(text=text):
                    self._on_notice(text)
                case Ended() as ended:
                    self._end(ended)
                    return
                case _:
                    raise RemoteProtocolError("the relay sent an unexpected control message")

    async def _messages(self, channel: ClientConnection) -> AsyncIterator[str | bytes]:
        """What the relay says, until it sends us away or the channel is lost."""
        try:
            async for text in channel:
                yield text
        except ConnectionClosed as error:
            self._sent_away = error.rcvd is not None and error.rcvd.code == SERVICE_RESTART
            raise

    def _start_parking(self, ticket: bytes, group: asyncio.TaskGroup) -> None:
        task = group.create_task(self._park(ticket), name="parking")
        parked = self._parked
        parked.add(task)
        task.add_done_callback(parked.discard)

    async def _park(self, ticket: bytes) -> None:
        """Park one connection and wait with it for its visitor."""
        try:
            async with asyncio.timeout(PARK_WITHIN):
                place = self.places.current
                sock = await self.places.park()
                with closed_on_error(sock):
                    contexts = await self.places.contexts(place)
                    await hand_in(sock, contexts.park, place.shown, ticket)
            with closed_on_error(sock):
                paired = await await_visitor(sock, self._heard)
                self._visitors.add(sock)
                self._on_visitor(sock, paired)
        except (VshareError, OSError, TimeoutError, ssl.SSLError) as error:
            log.debug("a parked connection was lost: %s", error)


class _StopError(Exception):
    """Ends the task group from within."""
