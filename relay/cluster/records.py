"""What a cluster knows of its names and its nodes, as it is written to Redis. Pure.

Times are milliseconds of Redis's clock since the epoch. The scripts (relay/cluster/scripts.py)
read and write the same members.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

from tunnel.errors import RemoteProtocolError
from tunnel.names import ShareName

LOCAL_BITS = 24  # of an account's number at its home; above them is the home's
_HOME_BITS = 30
MAX_RECORD = 4 * 1024  # bytes of one; it has a route, two hashes and some words


class Record(msgspec.Struct, frozen=True, rename={"key": "k", "account": "a", "until": "u",
    "route": "r", "http": "h", "passthrough": "p", "public_until": "g", "node": "n",
    "fence": "f", "token": "t", "before": "b", "version": "v", "was": "w"}):  # fmt: skip
    """One name: whose it is until when, and which node has its share.

    `key` is the hash of the share's key (hex), `account` a number that no other account has (0:
    none), `node` the node's ID (empty: the share is away), `fence` the number of that lease: who
    writes has to name it. `token` is the ID of the share's token, or its source (see Wish),
    `before` another name of the same share that its `route` led to before. `version` is when it
    was written (microseconds, always later). `was`: the fence that a node had before Redis forgot
    it.
    """

    key: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{2}){1,32}\Z")]
    until: float
    account: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,18}\Z")] = "0"
    route: str = ""
    http: bool = True
    passthrough: bool = False
    public_until: float = 0
    node: str = ""
    fence: str = ""
    token: str = ""
    before: str = ""
    version: str = ""
    was: str = ""


class NodeInfo(msgspec.Struct, frozen=True):
    """A node, as it presents itself to the others: where they reach it, where clients do; `proof`
    that it is a node (relay/cluster/seals.py)."""

    id: str
    home: str  # the same after it was started again
    host: str
    port: int
    public: str = ""
    proof: str = ""

    @property
    def place(self) -> str:
        """Where clients reach it, for people: without what its certificate is known by."""
        return self.public.partition("#")[0] or f"{self.host}:{self.port}"


class Change(msgspec.Struct, frozen=True):
    """What is told to all nodes: a name's new record, or that a notice was changed."""

    name: str = ""
    record: Record | None = None
    topic: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """A name that a share asks for; `names` are tried in turn, `drawn` ones if nobody ever had
    them. `shares`: the most that its `token` is for at once (where there are none `source:` and
    what stands for where it comes from); None: any number. `by_right`: no lease of another key
    stands in its way."""

    names: tuple[str, ...]
    drawn: bool
    key: str
    lasts: float  # seconds
    route: str
    http: bool
    passthrough: bool
    account: int = 0
    token: str = ""
    shares: int | None = None
    by_right: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A name that was got."""

    name: ShareName
    record: Record


T = TypeVar("T")

_record = msgspec.json.Decoder(Record)
_node = msgspec.json.Decoder(NodeInfo)
_change = msgspec.json.Decoder(Change)
_encode = msgspec.json.Encoder().encode


def parse_record(text: bytes) -> Record:
    """A name's record. Raises RemoteProtocolError."""
    return _parse(_record, text)


def parse_node(text: bytes) -> NodeInfo:
    """What a node says of itself. Raises RemoteProtocolError."""
    return _parse(_node, text)


def parse_change(text: bytes) -> Change:
    """What was told to all. Raises RemoteProtocolError."""
    return _parse(_change, text)


def serialize(thing: Record | NodeInfo) -> bytes:
    """As `parse_record` and `parse_node` read it."""
    return _encode(thing)


def _parse(decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    if len(text) > MAX_RECORD:
        raise RemoteProtocolError(f"a record of more than {MAX_RECORD} bytes")
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a record that does not parse: {error}") from None


def everywhere(account: int, home: str) -> int:
    """The number by which all nodes know an account of `home`'s; 0, and what is such a number
    already, stay."""
    if not 0 < account < 1 << LOCAL_BITS:
        return account
    return _number(home) << LOCAL_BITS | account


def at(account: int, home: str) -> int:
    """The other way: the number by which the node at `home` knows it."""
    if account >> LOCAL_BITS == _number(home):
        return account & ((1 << LOCAL_BITS) - 1)
    return account


def _number(home: str) -> int:
    digest = hashlib.sha256(home.encode()).digest()
    return int.from_bytes(digest[:4]) >> (32 - _HOME_BITS) | 1 << _HOME_BITS
