"""The messages of the control channel between a share and its relay (docs/protocol.md 4). Pure."""

from __future__ import annotations

import hashlib
from typing import Annotated, TypeAlias, TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError
from tunnel.relay_token import MAX_TOKEN

VERSION = 1
PATH = "/v1/share"
MAX_MESSAGE = 64 * 1024  # bytes of one JSON document; the largest is 64 tickets or 2 certificates
PING_EVERY = 20.0  # seconds
SILENCE_ENDS = 45.0  # seconds without a word: two pings and a margin
NONCE = 32  # bytes
MAX_TICKETS = 64  # in one message: the most parked connections a share keeps
MAX_TEXT = 1024  # characters of a sentence meant for people
MAX_PEM = 16 * 1024  # characters of a certificate
MAX_SITES = 128  # of one share
MAX_PLACES = 16  # other relays that a share is told of
MAX_OWN_DOMAINS = 8  # of one share: each is looked up in the DNS again and again
_SIGNED = b"vshare-register-1\0"

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Pem: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_PEM)]
Token: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TOKEN)]
Label: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{0,63}\Z")]
# 128 random bits in hex: whoever has it was told; docs/protocol.md 3. Empty: none.
Route: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")]
Host: TypeAlias = Annotated[str, msgspec.Meta(max_length=253)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=10 * 366 * 86_400)]


class _Message(msgspec.Struct, frozen=True, tag_field="type"):
    """A JSON object; unknown members are ignored."""


class Challenge(_Message, frozen=True, tag="challenge"):
    """Relay: sign this. `gateway_key` is the gateway's public key, DER SPKI; `token`: shares need
    one here."""

    nonce: bytes
    domain: Text
    version: int
    gateway_key: bytes
    token: bool = False


class Register(_Message, frozen=True, tag="register"):
    """Share: this is my key (raw Ed25519); I want `name` (empty: any) for `expires_in` seconds,
    and my guests come by `route`. `passthrough`: browsers' TLS is not to end at the relay. `token`:
    why this relay should take me; a secret, which nothing may show. `moved`: what I had parked and
    what carries my visitors was at an address that is not mine any more. `notices`: I take Notice.
    """

    key: bytes
    signature: bytes
    name: Text
    http: bool
    expires_in: Seconds
    version: int
    route: Route = ""
    passthrough: bool = False
    token: Token = ""
    moved: bool = False
    notices: bool = False

    def __repr__(self) -> str:
        return f"Register({self.name!r})"


class Registered(_Message, frozen=True, tag="registered"):
    """Relay: the name is yours for `expires_in` seconds; these are its URLs. `passthrough`: it does
    what was asked for by that name; `own_domains`: it takes OwnDomains. `here`: the address of this
    relay alone, where it is one of several that are one; `others`: theirs, as good."""

    name: Text
    domain: Text
    url: Text
    https_url: Text
    expires_in: Seconds
    passthrough: bool = False
    own_domains: bool = False
    here: Text = ""
    others: Annotated[list[Text], msgspec.Meta(max_length=MAX_PLACES)] = []


class Rejected(_Message, frozen=True, tag="rejected"):
    """Relay: no; code is `name-taken`, `name-invalid`, `route-taken`, `signature`, `full`,
    `version`, `token`, `quota`, `banned`, or `unavailable` (try again, here or elsewhere)."""

    code: Text
    text: Text


class Tickets(_Message, frozen=True, tag="tickets"):
    """Relay: park that many more connections, each with one of these."""

    tickets: Annotated[list[bytes], msgspec.Meta(max_length=MAX_TICKETS)]


class Publish(_Message, frozen=True, tag="publish"):
    """Share: the labels of its sites ("": the main one), and the gateway's certificate (PEM) to
    open them with."""

    sites: Annotated[list[Label], msgspec.Meta(max_length=MAX_SITES)]
    certificate: Pem
    ca: Pem


class OwnDomains(_Message, frozen=True, tag="own_domains"):
    """Share: these hosts are mine as well, and no others any more; their DNS says so."""

    hosts: Annotated[list[Host], msgspec.Meta(max_length=MAX_OWN_DOMAINS)]


class OwnDomainState(msgspec.Struct, frozen=True):
    """`state`: `good` (it leads to the share), `unproven`, `unanswered` (the DNS says nothing),
    `taken` or `refused`. `certificate` is what browsers are shown, where it is good: `authority`'s,
    `self-made` (of the relay's, they warn), or the `share`'s. `text`: more, for people."""

    host: Host
    state: Text
    certificate: Text = ""
    text: Text = ""


class OwnDomainStates(_Message, frozen=True, tag="own_domain_states"):
    """Relay: how it is with all that OwnDomains named; said again when that changes."""

    domains: Annotated[list[OwnDomainState], msgspec.Meta(max_length=MAX_OWN_DOMAINS)]


class Notice(_Message, frozen=True, tag="notice"):
    """Relay: for the sharer to know; code is `quota-day` or `quota-streams`."""

    code: Text
    text: Text


class Extend(_Message, frozen=True, tag="extend"):
    """Share: let the lease end in `expires_in` seconds from now, whatever was said before."""

    expires_in: Seconds


class Extended(_Message, frozen=True, tag="extended"):
    """Relay: the lease ends in `expires_in` seconds from now, which may be less than asked for."""

    expires_in: Seconds


class End(_Message, frozen=True, tag="end"):
    """Share: it is over; give up the name's lease."""


class Ended(_Message, frozen=True, tag="ended"):
    """Relay: it is over; code is `expired`, `evicted`, `closed`, `token`, `banned`, `page` or
    `operator`."""

    code: Text
    text: Text


FromRelay: TypeAlias = (
    Challenge | Registered | Rejected | Tickets | Notice | OwnDomainStates | Extended | Ended
)
FromShare: TypeAlias = Register | Publish | OwnDomains | Extend | End
AnyMessage: TypeAlias = FromRelay | FromShare

M = TypeVar("M")

_encoder = msgspec.json.Encoder()
_from_relay: msgspec.json.Decoder[FromRelay] = msgspec.json.Decoder(FromRelay)
_from_share: msgspec.json.Decoder[FromShare] = msgspec.json.Decoder(FromShare)


def serialize(message: AnyMessage) -> str:
    """The text of `message`."""
    return _encoder.encode(message).decode()


def parse_from_relay(text: str | bytes) -> FromRelay:
    """What the relay said. Raises RemoteProtocolError."""
    return _parse(_from_relay, text)


def parse_from_share(text: str | bytes) -> FromShare:
    """What the share said. Raises RemoteProtocolError."""
    return _parse(_from_share, text)


def _parse(decoder: msgspec.json.Decoder[M], text: str | bytes) -> M:
    if len(text) > MAX_MESSAGE:
        raise RemoteProtocolError(f"a control message of more than {MAX_MESSAGE} bytes")
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a control message that does not parse: {error}") from None


def signed_bytes(nonce: bytes, relay_certificate: bytes, name: str) -> bytes:
    """What a share signs to register `name`; the certificate (DER) binds it to this relay."""
    return _SIGNED + nonce + hashlib.sha256(relay_certificate).digest() + name.encode()
