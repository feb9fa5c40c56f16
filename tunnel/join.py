"""Joining a share with its code: SPAKE2 bound to both certificates (docs/protocol.md 7). Pure.

SPAKE2 (RFC 9382, as the package `spake2` does it) tells two people apart who know the code
from one who does not, and gives a machine in the middle one guess per attempt. Bound into
it are the guest's certificate request and the share's certificate as the guest sees it, so a
relay that swaps either makes the keys differ.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from spake2 import SPAKE2_A, SPAKE2_B

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.pake import Entropy, expand, finish, parse_or_raise, transcript

ALPN = "vshare-join/1"
VERSION = 1
JOIN_TIMEOUT = 20.0  # seconds for all messages; a person's typing is not in it
APPROVAL_WITHIN = 300.0  # seconds from message 3 to message 4: the sharer may have to be asked
MAX_WAITINGS = 64  # messages in place of message 4 that say why it takes a while
MAX_WAITING = 300  # characters of one
MAX_NAME = 64  # characters of a guest's name
MAX_PLATE = 16  # characters; the longest word of a code has 8

Plate: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_PLATE)]
Route: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")]


class JoinRequest(msgspec.Struct, array_like=True, frozen=True):
    """Message 1, the guest's. `plate` says which code it will prove; "" the share's own."""

    version: int
    share: str
    guest: str
    request: bytes
    pake: bytes
    plate: Plate = ""


class JoinPake(msgspec.Struct, array_like=True, frozen=True):
    """Message 2, the share's."""

    pake: bytes


class JoinConfirm(msgspec.Struct, array_like=True, frozen=True):
    """Message 3, the guest's: first to prove that it knows the code."""

    confirm: bytes


class JoinWaiting(msgspec.Struct, array_like=True, frozen=True):
    """Before message 4, the share's: it takes a while, and why. Its first member is text, where
    message 4 has bytes and a refusal a number."""

    text: Annotated[str, msgspec.Meta(max_length=MAX_WAITING)]
    confirm: bytes


class JoinIssued(msgspec.Struct, array_like=True, frozen=True):
    """Message 4, the share's. `route` is the share's address at the relay, 32 hex digits."""

    confirm: bytes
    certificate: bytes
    ca: bytes
    route: Route = ""


T = TypeVar("T", JoinRequest, JoinPake, JoinConfirm, JoinIssued)
_encode = msgspec.msgpack.encode


@dataclass(frozen=True, slots=True)
class _Keys:
    """What both sides derive: the confirmations' keys and what they are computed over."""

    guest: bytes
    share: bytes
    waiting: bytes
    bound: bytes

    def confirm_guest(self) -> bytes:
        return hmac.digest(self.guest, self.bound, "sha256")

    def confirm_share(self, certificate: bytes, ca: bytes, route: str) -> bytes:
        issued = b"".join(
            hashlib.sha256(each).digest() for each in (certificate, ca, route.encode())
        )
        return hmac.digest(self.share, self.bound + issued, "sha256")

    def confirm_waiting(self, text: str) -> bytes:
        return hmac.digest(self.waiting, self.bound + text.encode("utf-8", "replace"), "sha256")


def _derive(key: bytes, name: str, first: bytes, second: bytes) -> _Keys:
    bound = str(VERSION).encode() + name.encode() + transcript(first, second)
    return _Keys(
        guest=expand(key, b"vshare-join/1 guest"),
        share=expand(key, b"vshare-join/1 share"),
        waiting=expand(key, b"vshare-join/1 waiting"),
        bound=bound,
    )


class GuestJoin:
    """The guest's side: `first()`, `second(...)`, `finish(...)`. About 18 ms of CPU each."""

    def __init__(
        self,
        name: str,
        guest: str,
        request: bytes,
        code: str,
        certificate: bytes,
        entropy: Entropy,
        plate: str = "",
    ) -> None:
        self._name = name
        self._plate = plate
        self._guest = guest[:MAX_NAME]
        self._request = request
        self._spake = SPAKE2_A(
            code.encode(),
            idA=hashlib.sha256(request).digest(),
            idB=hashlib.sha256(certificate).digest(),
            entropy_f=entropy,
        )
        self._first = b""
        self._keys: _Keys | None = None

    def first(self) -> bytes:
        """Message 1."""
        pake = self._spake.start()
        message = JoinRequest(VERSION, self._name, self._guest, self._request, pake, self._plate)
        self._first = _encode(message)
        return self._first

    def second(self, message: bytes) -> bytes:
        """Message 3, from message 2. Raises RefusedError or RemoteProtocolError."""
        pake = parse_or_raise(JoinPake, message)
        key = finish(self._spake, pake.pake)
        self._keys = _derive(key, self._name, self._first, message)
        return _encode(JoinConfirm(self._keys.confirm_guest()))

    def maybe_waiting(self, message: bytes) -> str | None:
        """Why message 4 takes a while, if `message` says that; None if it is to be `finish`ed.

        Raises RemoteProtocolError: these words are shown, so they are the share's or nobody's.
        """
        try:
            waiting = msgspec.msgpack.decode(message, type=JoinWaiting)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        if self._keys is None:
            raise RemoteProtocolError("the join is out of order")
        if not hmac.compare_digest(self._keys.confirm_waiting(waiting.text), waiting.confirm):
            raise RemoteProtocolError("whoever answered does not know the code: not the share")
        return waiting.text

    def finish(self, message: bytes) -> JoinIssued:
        """What the share issued, from message 4. Raises RefusedError or RemoteProtocolError."""
        issued = parse_or_raise(JoinIssued, message)
        if self._keys is None:
            raise RemoteProtocolError("the join is out of order")
        expected = self._keys.confirm_share(issued.certificate, issued.ca, issued.route)
        if not hmac.compare_digest(expected, issued.confirm):
            raise RemoteProtocolError("whoever answered does not know the code: not the share")
        return issued


class ShareJoin:
    """The share's side: `answer(...)`, then `confirm(...)`, then `issue(...)`."""

    def __init__(self, name: str, code: str, certificate: bytes, entropy: Entropy) -> None:
        self._name = name
        self._code = code
        self._certificate = certificate
        self._entropy = entropy
        self._keys: _Keys | None = None
        self.guest = ""
        self.request = b""

    def answer(self, message: bytes) -> bytes:
        """Message 2, from message 1. Raises RemoteProtocolError for anything wrong with it."""
        first = _parse_request(message, self._name)
        self.guest, self.request = first.guest[:MAX_NAME], first.request
        spake = SPAKE2_B(
            self._code.encode(),
            idA=hashlib.sha256(first.request).digest(),
            idB=hashlib.sha256(self._certificate).digest(),
            entropy_f=self._entropy,
        )
        second = _encode(JoinPake(spake.start()))
        self._keys = _derive(finish(spake, first.pake), self._name, message, second)
        return second

    def confirm(self, message: bytes) -> None:
        """Check message 3. Raises RefusedError(wrong-code) unless it proves the code."""
        try:
            confirm = parse_or_raise(JoinConfirm, message).confirm
        except (RemoteProtocolError, RefusedError) as error:
            raise RefusedError(Code.WRONG_CODE, "the code is not right") from error
        if self._keys is None or not hmac.compare_digest(self._keys.confirm_guest(), confirm):
            raise RefusedError(Code.WRONG_CODE, "the code is not right")

    def waiting(self, text: str) -> bytes:
        """Before message 4: why it takes a while."""
        if self._keys is None:
            raise RemoteProtocolError("the join is out of order")
        text = text[:MAX_WAITING]
        return _encode(JoinWaiting(text, self._keys.confirm_waiting(text)))

    def issue(self, certificate: bytes, ca: bytes, route: str = "") -> bytes:
        """Message 4."""
        if self._keys is None:
            raise RemoteProtocolError("the join is out of order")
        confirm = self._keys.confirm_share(certificate, ca, route)
        return _encode(JoinIssued(confirm, certificate, ca, route))


def plate_of_request(message: bytes, name: str) -> str:
    """Which code message 1 for the share `name` is about. Raises RemoteProtocolError."""
    return _parse_request(message, name).plate


def _parse_request(message: bytes, name: str) -> JoinRequest:
    try:
        first = parse_or_raise(JoinRequest, message)
    except RefusedError as error:  # a no is for the share to say
        raise RemoteProtocolError("a join that begins with a refusal") from error
    if first.version != VERSION or first.share != name:
        raise RemoteProtocolError("a join for another share or of another version")
    return first
