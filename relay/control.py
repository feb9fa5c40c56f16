"""The relay's side of the control channel (docs/protocol.md 4)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from relay.accounting import How
from relay.accounts.holders import TOKEN
from relay.accounts.permits import Permit, Permits
from relay.accounts.rules import Applicant, Rules
from relay.channel import POLICY_VIOLATION, SERVICE_RESTART
from relay.cluster.records import Wish
from relay.names import DRAWS, NameBook
from relay.new_names import NewNames
from relay.operation.events import Event, tell
from relay.own_domains.desk import OwnDomainDesk
from relay.registry import LocalRegistry, Share
from tunnel import control
from tunnel.control import (
    Challenge,
    FromRelay,
    FromShare,
    OwnDomains,
    Register,
    Registered,
    Rejected,
)
from tunnel.errors import RemoteProtocolError, UsageError
from tunnel.names import ShareName, make_name, parse_name
from tunnel.source import source_of

REGISTER_WITHIN = 10.0  # seconds from the challenge
MAX_LEASE = 30 * 86_400.0  # seconds; a share that lives longer registers again

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Urls:
    """How this relay's shares are reached by browsers; `sole_host` as in Sites. `http_port` is
    where they come without TLS; 0: to `port` as well."""

    domain: str
    port: int
    sole_host: str = ""
    http_port: int = 0

    def http(self, name: str) -> str:
        """The plain URL of a share."""
        host = self.sole_host or f"{name}.{self.domain}"
        port = self.http_port or self.port
        return f"http://{host}{'' if port == 80 else f':{port}'}/"

    def https(self, name: str) -> str:
        """The encrypted URL of a share; empty where TLS without a name means the relay itself."""
        if self.sole_host:
            return ""
        return f"https://{name}.{self.domain}{'' if self.port == 443 else f':{self.port}'}/"


class RejectionError(Exception):
    """A registration that is not accepted, as the message that says so."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.message = Rejected(code, text)


class Cluster(Protocol):
    """What this relay is a node of, for its registrations (relay.cluster.node)."""

    def register(
        self, desk: Control, request: Register, signed: bytes, session: ShareSession
    ) -> None:
        """Have it registered; the session is told. Raises RejectionError."""

    def places(self) -> tuple[str, list[str]]:
        """Where clients find this node alone, and the others."""

    def extended(self, share: Share) -> None:
        """Its lease is to end at another time."""

    def ended(self, share: Share) -> None:
        """Its owner has ended it."""

    def left(self, share: Share) -> None:
        """Its session is over."""


class Control:
    """Registers shares: of everybody, or of those alone whose token is in `permits`. `open` gives
    what speaks with one of them."""

    def __init__(
        self,
        registry: LocalRegistry,
        names: NameBook,
        urls: Urls,
        gateway_key: bytes,
        permits: Permits | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._rules = rules or Rules(registry.quotas)
        self._registry, self._names, self._urls = registry, names, urls
        self._gateway_key = gateway_key
        self._permits = permits
        self._new_names = NewNames()
        self.refused: Counter[str] = Counter()  # registrations, by the code of the answer
        self.own_domains: OwnDomainDesk | None = None  # None: shares get none
        self.cluster: Cluster | None = None

    def open(self, channel: Line) -> ShareSession:
        """A share's session on a channel that was just opened."""
        return ShareSession(self, channel)

    def challenge(self) -> Challenge:
        """What a registration has to sign."""
        nonce = secrets.token_bytes(control.NONCE)
        wants_token = self._permits is not None
        domain = self._urls.domain
        return Challenge(nonce, domain, control.VERSION, self._gateway_key, wants_token)

    def register(self, request: Register, signed: bytes, session: ShareSession) -> Share:
        """The share that asks, registered and told so; `signed` is what its signature has to be
        over. Raises RejectionError."""
        share = self._admit(request, signed, session)
        name, lease, urls = share.name, share.ends_at - time.time(), self._urls
        url, https_url = (urls.http(name), urls.https(name)) if request.http else ("", "")
        lasts, through = max(0.0, lease), share.passthrough
        own = self.own_domains is not None
        told = Registered(name, urls.domain, url, https_url, lasts, through, own)
        if self.cluster is not None:
            here, others = self.cluster.places()
            told = msgspec.structs.replace(told, here=here, others=others)
        share.send(told)
        share.lot.fill()
        if share.passthrough or not share.http:  # nothing is published
            self.came(share)
        by = f", token {share.token}" if share.token else ""
        text = f"share {name} registered{by}"
        who = {"share": name, "token": share.token, "source": session.source}
        tell(log, logging.INFO, Event.SHARE_REGISTERED, text, **who)
        return share

    def extend(self, share: Share, expires_in: float) -> float:
        """Move the end of a lease; what is granted, in seconds."""
        granted = min(expires_in, MAX_LEASE)
        self._registry.extend(share, time.time() + granted)
        if self.cluster is not None:
            self.cluster.extended(share)
        return granted

    def ask_own_domains(self, share: Share, request: OwnDomains, source: str) -> None:
        """The share wants these domains to lead to it. Raises RemoteProtocolError."""
        if self.own_domains is None:
            raise RemoteProtocolError("own domains, where there are none")
        self.own_domains.ask(share, request, source)

    def end_lease(self, share: Share) -> None:
        """The sharer has ended the share."""
        self._names.end_lease(share.name, time.time())
        if self.cluster is not None:
            self.cluster.ended(share)

    def came(self, share: Share) -> None:
        """The share is here with all that visitors of its site need."""
        self._registry.expected.came(share.name)

    def remove(self, share: Share) -> None:
        """The share's session is over."""
        self._registry.remove(share)
        if self.cluster is not None:
            self.cluster.left(share)

    def wish(self, request: Register, signed: bytes, session: ShareSession) -> Wish:
        """What the share asks a cluster for, if this node would let it. Raises RejectionError."""
        applicant = self._applicant(request, signed, session)
        account = applicant.account
        names = [self._parse_name(request.name)] if request.name else []
        if not self._is_own(request, applicant.key_hash):
            self._take_new_name(applicant)
        if not names:
            drawn = [make_name(secrets.randbelow) for _ in range(DRAWS)]
            names = [name for name in drawn if self._rules.may_have(name, account)]
        return Wish(
            tuple(names),
            not request.name,
            applicant.key_hash.hex(),
            min(request.expires_in, MAX_LEASE),
            request.route,
            request.http,
            request.passthrough,
            account,
            next(iter(applicant.holders), "").removeprefix(TOKEN),
            self._registry.quotas.share_limit(applicant.holders),
            bool(request.name) and self._rules.is_by_right(names[0], account),
        )

    def _applicant(self, request: Register, signed: bytes, session: ShareSession) -> Applicant:
        """The share that asks, once it is known to be that. Raises RejectionError."""
        if request.version != control.VERSION:
            raise RejectionError("version", f"this relay speaks version {control.VERSION}")
        try:
            Ed25519PublicKey.from_public_bytes(request.key).verify(request.signature, signed)
        except (ValueError, InvalidSignature):
            raise RejectionError(
                "signature", "the registration is not signed for this relay"
            ) from None
        key_hash = hashlib.sha256(request.key).digest()
        permit = self._permit(request)
        address, source = session.address, session.source
        applicant = Applicant(request.name, key_hash, permit, address, source)
        refusal = self._rules.refusal(applicant, time.time())
        if refusal is not None:
            raise RejectionError(*refusal)
        return applicant

    def _admit(self, request: Register, signed: bytes, session: ShareSession) -> Share:
        applicant = self._applicant(request, signed, session)
        key_hash, permit, account = applicant.key_hash, applicant.permit, applicant.account
        if self._names.is_anothers_route(request.route, key_hash):
            raise RejectionError("route-taken", "that route belongs to somebody else")
        ends_at = time.time() + min(request.expires_in, MAX_LEASE)
        if not self._is_own(request, key_hash):
            self._take_new_name(applicant)
        name = self._name_for(request, key_hash, ends_at, account)
        give = self._registry.give_tickets
        share = Share(
            name,
            key_hash,
            request.http,
            ends_at,
            give,
            request.route,
            session,
            passthrough=request.passthrough,
            token=permit.token if permit else "",
            holders=applicant.holders,
            address=applicant.address,
            notices=request.notices,
        )
        if not self._registry.add(share, moved=request.moved):
            raise RejectionError("full", "this relay has as many shares as it can take")
        return share

    def _permit(self, request: Register) -> Permit | None:
        """What the share's token allows; None where none is needed. Raises RejectionError."""
        if self._permits is None:
            return None
        permit = self._permits.find(request.token, time.time())
        if permit is None:
            raise RejectionError("token", "it wants a token, and none came that is good")
        return permit

    def _is_own(self, request: Register, key_hash: bytes) -> bool:
        """Whether the share asks for a name that is its key's already."""
        return bool(request.name) and self._names.is_held(ShareName(request.name), key_hash)

    def _parse_name(self, text: str) -> ShareName:
        try:
            return parse_name(text)
        except UsageError as error:
            raise RejectionError("name-invalid", f"{error.text}; {error.hint}") from None

    def _take_new_name(self, applicant: Applicant) -> None:
        source, account, chosen = applicant.source, applicant.account, bool(applicant.name)
        if not self._new_names.take(source, account, time.monotonic(), chosen=chosen):
            whose = "of this account" if account else "from where you are"
            raise RejectionError("full", f"there were too many new names {whose} lately")
        if self._names.holds_too_many(applicant.key_hash, account):
            whose = "this account" if account else "this share's key"
            raise RejectionError("full", f"{whose} has more names than one may hold")

    def _name_for(
        self, request: Register, key_hash: bytes, ends_at: float, account: int
    ) -> ShareName:
        now, names, route, http = time.time(), self._names, request.route, request.http
        through = request.passthrough
        if not request.name:
            drawn = names.draw(
                key_hash,
                now,
                ends_at,
                secrets.randbelow,
                route=route,
                http=http,
                passthrough=through,
                account=account,
                may_have=lambda name: self._rules.may_have(name, account),
            )
            if drawn is None:
                raise RejectionError("full", "no free name was found")
            return drawn
        name = self._parse_name(request.name)
        if not names.claim(
            name,
            key_hash,
            now,
            ends_at,
            route=route,
            http=http,
            passthrough=through,
            account=account,
            by_right=self._rules.is_by_right(name, account),
        ):
            raise RejectionError("name-taken", f"the name {name} belongs to somebody else")
        return name


class Line(Protocol):
    """A channel, as a session needs it."""

    certificate: bytes  # DER: what the relay showed on it
    address: str  # of the share

    def send(self, text: str) -> None:
        """Send one message."""

    def close(self, code: int) -> None:
        """End it in good order."""


class ShareSession:
    """What is spoken on one control channel, from the challenge to its end."""

    __slots__ = ("_control", "_line", "_nonce", "_share", "_timer", "is_lost")

    def __init__(self, desk: Control, line: Line) -> None:
        self._control, self._line = desk, line
        self._share: Share | None = None
        self._nonce = b""
        self._timer: asyncio.TimerHandle | None = None
        self.is_lost = False  # its channel

    @property
    def address(self) -> str:
        """Whence the share comes."""
        return self._line.address

    @property
    def source(self) -> str:
        """As it counts for limits."""
        return source_of(self._line.address)

    def opened(self) -> None:
        """See relay.channel.Session."""
        challenge = self._control.challenge()
        self._nonce = challenge.nonce
        self.deliver(challenge)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(REGISTER_WITHIN, self._line.close, SERVICE_RESTART)

    def received(self, text: bytes) -> None:
        """See relay.channel.Session."""
        try:
            message = control.parse_from_share(text)
            if self._share is None:
                self._register(message)
            else:
                self._handle(message, self._share)
        except RemoteProtocolError as error:
            broken = f"control channel: {error}"
            tell(log, logging.INFO, Event.CHANNEL_BROKEN, broken, source=self.source)
            self._forget_timer()
            if self._share is None:
                self._line.close(POLICY_VIOLATION)
            else:
                self._share.end("closed", error.text)

    def lost(self) -> None:
        """See relay.channel.Session."""
        self._forget_timer()
        self.is_lost = True
        if self._share is not None:
            self._share.finish()

    def deliver(self, message: FromRelay) -> None:
        """See relay.registry.Deliverer."""
        self._line.send(control.serialize(message))

    def hang_up(self) -> None:
        """See relay.registry.Deliverer."""
        if self._share is not None:
            self._control.remove(self._share)
            name, how = self._share.name, str(self._share.how)
            tell(log, logging.INFO, Event.SHARE_ENDED, f"share {name} left", share=name, how=how)
        self._line.close(SERVICE_RESTART)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _register(self, message: FromShare) -> None:
        if not isinstance(message, Register) or not self._nonce:
            raise RemoteProtocolError("the first message was not the one registration")
        self._forget_timer()
        signed = control.signed_bytes(self._nonce, self._line.certificate, message.name)
        self._nonce = b""
        try:
            if self._control.cluster is not None:  # which needs time
                self._control.cluster.register(self._control, message, signed, self)
            else:
                self.admitted(self._control.register(message, signed, self))
        except RejectionError as rejection:
            self.rejected(rejection)

    def admitted(self, share: Share) -> None:
        """It is registered."""
        self._share = share

    def rejected(self, rejection: RejectionError) -> None:
        """It is not, and is told why."""
        code, text = rejection.message.code, f"refused a share: {rejection.message.text}"
        self._control.refused[code] += 1
        tell(log, logging.INFO, Event.SHARE_REFUSED, text, reason=code, source=self.source)
        self.deliver(rejection.message)
        self._line.close(SERVICE_RESTART)

    def _handle(self, message: FromShare, share: Share) -> None:
        match message:
            case control.Publish():
                if share.passthrough:  # nothing here may come in the way of its browsers
                    raise RemoteProtocolError("a gateway's certificate, where there is no gateway")
                share.published = message
                self._control.came(share)
            case control.OwnDomains():
                self._control.ask_own_domains(share, message, self.source)
            case control.Extend(expires_in=expires_in):
                share.send(control.Extended(self._control.extend(share, expires_in)))
            case control.End():
                self._control.end_lease(share)
                share.finish(How.ENDED)
            case Register():
                raise RemoteProtocolError("a second registration")
