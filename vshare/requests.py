"""What other terminals ask of a running share, and what it answers. Pure.

The form is that of tunnel/requests.py. Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from tunnel.requests import MAX_REQUEST as MAX_REQUEST
from tunnel.requests import Failure as Failure
from tunnel.requests import Request as Request
from tunnel.requests import Result as Result
from tunnel.requests import parse_answer as parse_answer
from tunnel.requests import parse_with
from tunnel.requests import serialize as serialize
from tunnel.requests import serialize_failure as serialize_failure
from tunnel.requests import serialize_result as serialize_result
from vshare.guest_page.requests import ChangePage, GuestPage
from vshare.news import News
from vshare.own_domain_requests import AddDomain, Domains, OwnDomainRow, RemoveDomain
from vshare.terminals.requests import (
    EndTerminal,
    GrantTerminal,
    LockTerminal,
    Terminal,
    Terminals,
)
from vshare.together.requests import SayToAll, Serve, Servers, Unserve

MAX_GUEST = 64  # characters: 40, and the number that makes a name unlike others
MAX_NAME = 128  # characters of a share's name; the right ones are fewer (tunnel/names.py)
MAX_PLATE = 16  # characters of a word that codes are made of, and a margin
MAX_PORTS = 1_024  # of one invite
MIN_SECONDS, MAX_SECONDS = 10.0, 365 * 86_400.0  # that a share or an invite goes on

GuestName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_GUEST)]
Plate: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PLATE)]
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=MIN_SECONDS, le=MAX_SECONDS)]


class Status(Request, frozen=True, tag="status"):
    """What the share is, and until when: ShareState."""


class Guests(Request, frozen=True, tag="guests"):
    """Who is in, and who waits to be let in: GuestList."""


class Kick(Request, frozen=True, tag="kick"):
    """Strike `guest`, or a visitor of the guest page, off the list and end its connections:
    OneGuest."""

    guest: GuestName


class Approve(Request, frozen=True, tag="approve"):
    """Let `guest`, who waits, in: OneGuest."""

    guest: GuestName


class Deny(Request, frozen=True, tag="deny"):
    """Send `guest`, who waits, away: OneGuest."""

    guest: GuestName


class Extend(Request, frozen=True, tag="extend"):
    """Let the share end `seconds` from now: Expiry."""

    seconds: Seconds


class Code(Request, frozen=True, tag="code"):
    """The share's code; `rotate` makes a new one first, which voids the old: ShareCode."""

    rotate: bool = False


class MakeInvite(Request, frozen=True, tag="invite"):
    """A code of its own: NewInvite.

    `guest` is what the guest will be called (empty: what it calls itself), `once` whether the
    code is void when it was used, `expires_in` seconds (None: with the share), `ports` all that
    it opens (empty: what the share gives), `terminals` whether it sees shared terminals in spite
    of them.
    """

    guest: Annotated[str, msgspec.Meta(max_length=MAX_GUEST)] = ""
    once: bool = False
    expires_in: Seconds | None = None
    ports: Annotated[list[Port], msgspec.Meta(max_length=MAX_PORTS)] = msgspec.field(
        default_factory=list
    )
    terminals: bool = False


class Invites(Request, frozen=True, tag="invites"):
    """The invites that were made and not revoked: InviteList."""


class Revoke(Request, frozen=True, tag="revoke"):
    """Void the invite with the plate `invite`, and remove who came by it: Revoked."""

    invite: Plate


class Unfence(Request, frozen=True, tag="unfence"):
    """Open `port`, which the share had closed by itself: Unfenced."""

    port: Port


class Dashboard(Request, frozen=True, tag="dashboard"):
    """A URL that opens the page of the share, once: DashboardUrl."""


class Line(Request, frozen=True, tag="line"):
    """The line that the share's terminal has at its bottom: LineText."""


class Rename(Request, frozen=True, tag="rename"):
    """Let the share be called `name` from now on, and no more what it is called now: Renamed."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class Stop(Request, frozen=True, tag="stop"):
    """End the share: Stopped."""


class Follow(Request, frozen=True, tag="follow"):
    """Following, then the news as they come, a line each, until either side hangs up."""


AnyRequest: TypeAlias = (
    Status
    | Guests
    | Kick
    | Approve
    | Deny
    | Extend
    | Code
    | MakeInvite
    | Invites
    | Revoke
    | Unfence
    | Dashboard
    | Line
    | Rename
    | Stop
    | Follow
    | Serve
    | Unserve
    | Servers
    | SayToAll
    | Terminal
    | Terminals
    | LockTerminal
    | GrantTerminal
    | EndTerminal
    | GuestPage
    | ChangePage
    | AddDomain
    | RemoveDomain
    | Domains
)


class ShareState(Result, frozen=True):
    """`relay` as in a connect line, `connect` what `vconnect` is given, `guests` how many,
    `shared` what guests can open, in words; `url` is empty where there is none; `requests` is how
    many have come by it, `since` when it began, `process` the id of the process that shares."""

    name: str
    machine: str
    relay: str
    url: str
    connect: str
    expires_at: float
    guests: int
    shared: str
    requests: int = 0
    since: float = 0.0
    process: int = 0
    own_domains: list[OwnDomainRow] = msgspec.field(default_factory=list)


class GuestRow(Result, frozen=True):
    """One guest. `address` is the relay's word, `direct` how many of `connections` come directly
    and not through the relay, `bytes_in` came from the guest, `bytes_out` went to it, `dropped`
    datagrams were lost here for want of room, `invite` is the plate of the invite it came by,
    `ssh` whether it was given the key, `uses` what it has open now: names of servers, or ports,
    `terminal NAME`. `where`: it comes by `vconnect`, or by the guest page in a `browser`, whose
    `connections` are those of the page."""

    name: str
    since: float
    address: str
    streams: int = 0
    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    invite: str = ""
    ssh: bool = False
    dropped: int = 0
    direct: int = 0
    uses: list[str] = msgspec.field(default_factory=list)
    where: str = "vconnect"


class WaitingRow(Result, frozen=True):
    """Somebody with the code who waits to be let in, `since` then."""

    name: str
    address: str
    since: float


class GuestList(Result, frozen=True):
    """Guests in the order in which they came."""

    guests: list[GuestRow]
    waiting: list[WaitingRow] = msgspec.field(default_factory=list)


class OneGuest(Result, frozen=True):
    """Whom it was done to."""

    guest: str


class Expiry(Result, frozen=True):
    """When the share ends."""

    expires_at: float


class ShareCode(Result, frozen=True):
    """What a guest needs. `connect` is what `vconnect` is given."""

    name: str
    code: str
    connect: str

    def __repr__(self) -> str:
        return f"ShareCode(name={self.name!r}, code=...)"


class NewInvite(Result, frozen=True):
    """`invite` is its plate, which is no secret; `expires_at` None: with the share."""

    invite: str
    code: str
    connect: str
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"NewInvite(invite={self.invite!r}, code=...)"


class InviteRow(Result, frozen=True):
    """One invite. `used` counts its guests; the rest is as MakeInvite has it."""

    invite: str
    guest: str
    once: bool
    used: int
    expires_at: float | None
    ports: list[int]
    code: str
    terminals: bool = False

    def __repr__(self) -> str:
        return f"InviteRow(invite={self.invite!r}, code=...)"


class InviteList(Result, frozen=True):
    """Invites in the order in which they were made."""

    invites: list[InviteRow]


class Revoked(Result, frozen=True):
    """`removed` are the guests who had come by the invite."""

    invite: str
    removed: list[str]


class Unfenced(Result, frozen=True):
    """The port that guests may open now."""

    port: int


class DashboardUrl(Result, frozen=True):
    """`url` opens it once: to whoever has it first."""

    url: str

    def __repr__(self) -> str:
        return "DashboardUrl(url=...)"


class LineText(Result, frozen=True):
    """Who is there, what goes through."""

    text: str


class Renamed(Result, frozen=True):
    """`before` is what it was called; `url` is empty where there is none, and so is `file`: the
    vshare.toml that was read when the share began."""

    name: str
    before: str
    url: str
    connect: str
    file: str = ""


class Stopped(Result, frozen=True):
    """The share ends now."""


class Following(Result, frozen=True):
    """News follow."""


_encoder = msgspec.json.Encoder()
_request: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)


def parse(line: bytes) -> AnyRequest:
    """What a terminal asks. Raises RemoteProtocolError."""
    return parse_with(_request, line)


def serialize_news(news: News) -> bytes:
    """The line that tells a follower."""
    told = {"event": news.kind, "text": news.text, "warning": news.warning}
    return _encoder.encode({**news.fields, **told}) + b"\n"
