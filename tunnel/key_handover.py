"""Handing out the SSH key to whoever knows its password (docs/protocol.md 8.6). Pure.

A second SPAKE2, on the password, inside the end-to-end TLS of a guest who has joined. Bound
into it are both certificates, so a message is of no use to another guest. The password never
travels, and a guess costs one of the guest's tries. A key that the sharer gave no password
comes at once.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from spake2 import SPAKE2_A, SPAKE2_B

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.pake import Entropy, expand, finish, parse_or_raise, transcript

PROTOCOL = "ssh-key"  # the protocol in OPEN
VERSION = 1
TRIES = 3  # guesses of the password per guest; the share counts them
HANDOVER_TIMEOUT = 20.0  # seconds for all messages; a person's typing is not in it
_INFO = b"vshare/1 ssh-key "
_NONCE = bytes(12)  # each key seals once

# What `ssh` is told stands on its command line and in its known_hosts: nothing else may be in it.
_User = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*\Z")]
_HostKey = Annotated[
    str, msgspec.Meta(max_length=4096, pattern=r"^[a-z][a-z0-9@.-]* [A-Za-z0-9+/]+=*\Z")
]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class KeyPackage(msgspec.Struct, array_like=True, frozen=True):
    """What it takes to log in. `private_key` is an OpenSSH PEM, encrypted with the password
    when `encrypted` says so; after `once` nobody else is given it."""

    user: _User
    port: _Port
    host_keys: Annotated[list[_HostKey], msgspec.Meta(min_length=1, max_length=16)]
    private_key: Annotated[bytes, msgspec.Meta(max_length=4096)]
    encrypted: bool
    once: bool

    def __repr__(self) -> str:
        return f"KeyPackage({self.user!r}, {self.port})"


class HandoverRequest(msgspec.Struct, array_like=True, frozen=True):
    """Message 1, the guest's; `pake` is empty for a key without a password."""

    version: int
    pake: bytes


class HandoverPake(msgspec.Struct, array_like=True, frozen=True):
    """Message 2, the share's."""

    pake: bytes


class HandoverConfirm(msgspec.Struct, array_like=True, frozen=True):
    """Message 3, the guest's: first to prove that it knows the password."""

    confirm: bytes


class HandoverSealed(msgspec.Struct, array_like=True, frozen=True):
    """Message 4, the share's."""

    confirm: bytes
    sealed: bytes


class HandoverOpen(msgspec.Struct, array_like=True, frozen=True):
    """Message 2 for a key without a password."""

    package: KeyPackage


_encode = msgspec.msgpack.encode


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    """What both sides derive: two confirmation keys, one to seal with, and what they cover."""

    guest: bytes
    share: bytes
    seal: bytes
    bound: bytes

    def confirm_guest(self) -> bytes:
        return hmac.digest(self.guest, self.bound, "sha256")

    def confirm_share(self, sealed: bytes) -> bytes:
        return hmac.digest(self.share, self.bound + hashlib.sha256(sealed).digest(), "sha256")

    def encrypt(self, package: bytes) -> bytes:
        return ChaCha20Poly1305(self.seal).encrypt(_NONCE, package, self.bound)

    def decrypt(self, sealed: bytes) -> bytes:
        """Raises RemoteProtocolError when it was sealed by somebody else."""
        try:
            return ChaCha20Poly1305(self.seal).decrypt(_NONCE, sealed, self.bound)
        except InvalidTag:
            raise RemoteProtocolError("the SSH key was changed on its way") from None


def _derive(key: bytes, first: bytes, second: bytes) -> _Keys:
    bound = str(VERSION).encode() + transcript(first, second)
    guest, share, seal = (expand(key, _INFO + use) for use in (b"guest", b"share", b"seal"))
    return _Keys(guest, share, seal, bound)


def wrong_password(left: int) -> RefusedError:
    """What a guest is told whose guess was wrong and who has `left` more."""
    more = f"{left} {'try' if left == 1 else 'tries'} left" if left else "no tries are left"
    return RefusedError(Code.WRONG_CODE, f"the password is not right; {more}")


class GuestHandover:
    """The guest's side: `first()`, then `second(...)` and `finish(...)`; `open(...)` in place of
    both for a key without a password (`password` None). Fingerprints are SHA-256 of certificates.
    """

    def __init__(
        self,
        password: str | None,
        guest_fingerprint: bytes,
        share_fingerprint: bytes,
        entropy: Entropy,
    ) -> None:
        self._spake: SPAKE2_A | None = None
        if password is not None:
            self._spake = SPAKE2_A(
                password.encode(), idA=guest_fingerprint, idB=share_fingerprint, entropy_f=entropy
            )
        self._first = b""
        self._keys: _Keys | None = None

    def first(self) -> bytes:
        """Message 1."""
        pake = b"" if self._spake is None else self._spake.start()
        self._first = _encode(HandoverRequest(VERSION, pake))
        return self._first

    def open(self, message: bytes) -> KeyPackage:
        """The key without a password, from message 2. Raises RefusedError or
        RemoteProtocolError."""
        return parse_or_raise(HandoverOpen, message).package

    def second(self, message: bytes) -> bytes:
        """Message 3, from message 2. Raises RefusedError or RemoteProtocolError."""
        pake = parse_or_raise(HandoverPake, message).pake
        if self._spake is None or not self._first:
            raise RemoteProtocolError("the handover is out of order")
        self._keys = _derive(finish(self._spake, pake), self._first, message)
        return _encode(HandoverConfirm(self._keys.confirm_guest()))

    def finish(self, message: bytes) -> KeyPackage:
        """What the share sealed, from message 4. Raises RefusedError or RemoteProtocolError."""
        answer = parse_or_raise(HandoverSealed, message)
        if self._keys is None:
            raise RemoteProtocolError("the handover is out of order")
        if not hmac.compare_digest(self._keys.confirm_share(answer.sealed), answer.confirm):
            raise RemoteProtocolError("whoever answered does not know the password")
        package = self._keys.decrypt(answer.sealed)
        try:
            return msgspec.msgpack.decode(package, type=KeyPackage)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise RemoteProtocolError(f"bad KeyPackage: {error}") from error


class ShareHandover:
    """The share's side: `answer(...)`, `confirm(...)`, `seal(...)`; for a key without a password
    (`password` None) `open(...)` alone. About 18 ms of CPU for `answer` with a password."""

    def __init__(
        self,
        password: str | None,
        guest_fingerprint: bytes,
        share_fingerprint: bytes,
        entropy: Entropy,
    ) -> None:
        self._password = password
        self._guest = guest_fingerprint
        self._share = share_fingerprint
        self._entropy = entropy
        self._keys: _Keys | None = None
        self._proven = False

    def answer(self, message: bytes) -> bytes:
        """Message 2, from message 1. Raises RemoteProtocolError for anything wrong with it, and
        RefusedError for a guest who does not expect a password."""
        first = _request(message)
        if self._password is None:
            raise RemoteProtocolError("the handover is out of order")
        if not first.pake:
            raise RefusedError(Code.WRONG_CODE, "the SSH key has a password")
        spake = SPAKE2_B(
            self._password.encode(), idA=self._guest, idB=self._share, entropy_f=self._entropy
        )
        second = _encode(HandoverPake(spake.start()))
        self._keys = _derive(finish(spake, first.pake), message, second)
        return second

    def confirm(self, message: bytes) -> None:
        """Check message 3. Raises RefusedError(wrong-code) unless it proves the password."""
        wrong = RefusedError(Code.WRONG_CODE, "the password is not right")
        try:
            confirm = parse_or_raise(HandoverConfirm, message).confirm
        except (RemoteProtocolError, RefusedError) as error:
            raise wrong from error
        if self._keys is None or not hmac.compare_digest(self._keys.confirm_guest(), confirm):
            raise wrong
        self._proven = True

    def seal(self, package: KeyPackage) -> bytes:
        """Message 4, after `confirm`."""
        if self._keys is None or not self._proven:
            raise RemoteProtocolError("the handover is out of order")
        sealed = self._keys.encrypt(_encode(package))
        return _encode(HandoverSealed(self._keys.confirm_share(sealed), sealed))

    def open(self, message: bytes, package: KeyPackage) -> bytes:
        """Message 2 for a key without a password. Raises RemoteProtocolError."""
        if self._password is not None or _request(message).pake:
            raise RemoteProtocolError("the SSH key has no password")
        return _encode(HandoverOpen(package))


def _request(message: bytes) -> HandoverRequest:
    try:
        first = parse_or_raise(HandoverRequest, message)
    except RefusedError as error:  # a no is for the share to say
        raise RemoteProtocolError("a handover that begins with a refusal") from error
    if first.version != VERSION:
        raise RemoteProtocolError(f"a handover of version {first.version}")
    return first
