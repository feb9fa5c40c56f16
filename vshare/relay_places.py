"""Where a share's relay is: as configured, and, where several are one, where each of them is.

A relay tells a share that registered its own address, and those of others that would do as well
(docs/protocol.md 4.3). So the share parks where its control channel is, and when that relay has
gone it is with another one at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from dataclasses import dataclass, replace

from tunnel.address import RelayAddress, parse_relay
from tunnel.control import Registered
from tunnel.errors import UsageError, VshareError
from tunnel.parking import PARK_ALPN
from tunnel.relay_tls import RelayError, anchor_of, context_for, dial_relay

DIAL_EVERY = 0.5  # seconds between SYNs while earlier ones hang: the kernel's own pauses double
MAX_DIALS = 16  # under way
MAX_PLACES = 8  # that are remembered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One way to the relay: what is dialled, and whose certificate has to be shown there."""

    dialled: RelayAddress
    shown: RelayAddress


@dataclass(frozen=True, slots=True)
class Contexts:
    """For a place's control channel, and for parking there."""

    channel: ssl.SSLContext
    park: ssl.SSLContext


class RelayPlaces:
    """The places of one relay; `current` is where the share is registered, or was last."""

    def __init__(self, relay: RelayAddress) -> None:
        self.configured = relay
        self.current = Place(relay, relay)
        self._told: list[Place] = []
        self._contexts: dict[Place, Contexts] = {}
        self._was_public = False

    def in_turn(self) -> list[Place]:
        """All of them: where it was last, then others that the relay has told of, at the end what
        was configured."""
        configured = Place(self.configured, self.configured)
        if not self._told:
            return [configured]
        return list(dict.fromkeys((self.current, *self._told, configured)))

    @property
    def named(self) -> list[str]:
        """What the relay has told, for guests: without pins, which they do not need."""
        places = dict.fromkeys((self.current, *self._told)) if self._told else {}
        return [str(replace(place.dialled, fingerprint=None)) for place in places]

    def told(self, registered: Registered, sock: socket.socket) -> None:
        """The relay that is reached by `sock` has said where it is, and where others are."""
        self._was_public = _is_public(sock)
        here = self._parse(registered.here)
        others = [self._parse(text) for text in registered.others[:MAX_PLACES]]
        self._told = [place for place in (here, *others) if place is not None]
        if here is not None:
            self.current = here

    def pass_over(self) -> None:
        """It did not work out there: others come first."""
        places = self.in_turn()
        if len(places) > 1:
            self._told = [place for place in self._told if place != self.current] + [self.current]
            self.current = places[1]

    def _parse(self, text: str) -> Place | None:
        """What a relay says; None for nothing, and for what cannot be verified."""
        if not text:
            return None
        try:
            address = parse_relay(text)
        except UsageError as error:
            log.debug("the relay told of a place that is none: %s", error.text)
            return None
        if address.fingerprint is not None:
            return Place(address, address)
        if self.configured.fingerprint is not None:
            return None
        return Place(address, self.configured)

    async def contexts(self, place: Place) -> Contexts:
        """What verifies that place; made once. Raises RelayError."""
        if place not in self._contexts:
            anchor = await anchor_of(place.shown)
            channel = context_for(anchor, "http/1.1")
            self._contexts[place] = Contexts(channel, context_for(anchor, PARK_ALPN))
        return self._contexts[place]

    def forget_contexts(self) -> None:
        """A pinned relay may show a new certificate: look again."""
        self._contexts.clear()

    async def dial(self) -> tuple[socket.socket, Place]:
        """A connection to the relay: the first that comes about. Raises VshareError when all places
        have failed."""
        places = self.in_turn()
        won: list[tuple[socket.socket, Place]] = []
        errors: list[VshareError] = []

        async def attempt(place: Place) -> None:
            try:
                won.append((await self._dial_place(place), place))
            except VshareError as error:
                errors.append(error)

        try:
            async with asyncio.TaskGroup() as group:
                dials: set[asyncio.Task[None]] = set()
                made = 0
                while not won and len(errors) < len(places):
                    if len(dials) < MAX_DIALS:
                        place = places[made % len(places)]
                        dials.add(group.create_task(attempt(place), name="dial relay"))
                        made += 1
                    _, dials = await asyncio.wait(
                        dials, timeout=DIAL_EVERY, return_when=asyncio.FIRST_COMPLETED
                    )
                for task in dials:
                    task.cancel()
            if not won:
                raise errors[0]
            return won.pop(0)
        finally:
            for sock, _ in won:
                sock.close()

    async def park(self) -> socket.socket:
        """A connection to where the share is registered, to be parked. Raises VshareError."""
        return await self._dial_place(self.current)

    async def _dial_place(self, place: Place) -> socket.socket:
        sock = await dial_relay(place.dialled)
        if place.dialled != self.configured and self._was_public and not _is_public(sock):
            sock.close()  # a relay out there has no business in this network
            raise RelayError(f"the relay {self.configured} names a place in a private network")
        return sock


def _is_public(sock: socket.socket) -> bool:
    try:
        return ipaddress.ip_address(str(sock.getpeername()[0]).partition("%")[0]).is_global
    except (OSError, ValueError):
        return False
