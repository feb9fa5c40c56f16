from __future__ import annotations

import hashlib
import hmac
import os

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st
from spake2 import SPAKE2_A

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.key_handover import (
    GuestHandover,
    HandoverConfirm,
    HandoverPake,
    HandoverRequest,
    HandoverSealed,
    KeyPackage,
    ShareHandover,
    wrong_password,
)
from tunnel.pake import parse_or_raise, refuse

PASSWORD = "correct horse"
BOB, ALICE, SHARE = (hashlib.sha256(each).digest() for each in (b"bob", b"alice", b"share"))
PACKAGE = KeyPackage("vagrant", 22, ["ssh-ed25519 AAAA"], b"-----BEGIN...", True, False)
encode = msgspec.msgpack.encode


def guest(password: str | None = PASSWORD, own: bytes = BOB, share: bytes = SHARE) -> GuestHandover:
    return GuestHandover(password, own, share, os.urandom)


def share(password: str | None = PASSWORD, of: bytes = BOB) -> ShareHandover:
    return ShareHandover(password, of, SHARE, os.urandom)


def confirmed(one: GuestHandover, other: ShareHandover) -> None:
    other.confirm(one.second(other.answer(one.first())))


def test_the_right_password() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    sealed = other.seal(PACKAGE)
    assert PACKAGE.private_key not in sealed
    assert one.finish(sealed) == PACKAGE
    assert "BEGIN" not in repr(PACKAGE)


@pytest.mark.parametrize(
    "other",
    [
        guest("correct hors"),
        guest(""),
        guest(own=ALICE),  # bob's messages, sent on by alice
        guest(share=ALICE),  # meant for another share
    ],
    ids=["password", "empty", "guest", "share"],
)
def test_whoever_differs_is_not_confirmed(other: GuestHandover) -> None:
    with pytest.raises(RefusedError, match="the password is not right") as caught:
        confirmed(other, share())
    assert caught.value.code is Code.WRONG_CODE


def test_messages_swapped_between_two_guests() -> None:
    """Both know the password, yet neither can use what was meant for the other."""
    bob, alice = guest(), guest(own=ALICE)
    for_bob, for_alice = share(), share(of=ALICE)
    to_bob, to_alice = for_bob.answer(bob.first()), for_alice.answer(alice.first())
    from_bob, from_alice = bob.second(to_alice), alice.second(to_bob)
    for one, message in ((for_bob, from_alice), (for_alice, from_bob)):
        with pytest.raises(RefusedError):
            one.confirm(message)


def test_a_seal_for_one_guest_does_not_open_for_another() -> None:
    bob, alice = guest(), guest(own=ALICE)
    for_bob, for_alice = share(), share(of=ALICE)
    confirmed(bob, for_bob)
    confirmed(alice, for_alice)
    with pytest.raises(RemoteProtocolError):
        alice.finish(for_bob.seal(PACKAGE))


@pytest.mark.parametrize("part", ["confirm", "sealed"])
@pytest.mark.parametrize("at", [0, -1])
def test_a_changed_seal(part: str, at: int) -> None:
    one, other = guest(), share()
    confirmed(one, other)
    message = parse_or_raise(HandoverSealed, other.seal(PACKAGE))
    changed = bytearray(getattr(message, part))
    changed[at] ^= 1
    message = msgspec.structs.replace(message, **{part: bytes(changed)})
    with pytest.raises(RemoteProtocolError, match="does not know the password"):
        one.finish(encode(message))


def test_a_seal_that_is_cut() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    message = other.seal(PACKAGE)
    for size in range(len(message)):
        with pytest.raises(RemoteProtocolError):
            one.finish(message[:size])


def test_the_guests_confirmation_is_not_the_shares() -> None:
    one, other = guest(), share()
    third = one.second(other.answer(one.first()))
    echoed = HandoverSealed(parse_or_raise(HandoverConfirm, third).confirm, b"")
    with pytest.raises(RemoteProtocolError, match="does not know the password"):
        one.finish(encode(echoed))


def test_a_recorded_handover_does_not_work_again() -> None:
    one, other = guest(), share()
    first = one.first()
    third = one.second(other.answer(first))
    other.confirm(third)
    again = share()
    again.answer(first)
    with pytest.raises(RefusedError):
        again.confirm(third)


def test_nothing_is_sealed_before_it_was_proven() -> None:
    one, other = guest(), share()
    with pytest.raises(RemoteProtocolError, match="order"):
        other.seal(PACKAGE)
    other.answer(one.first())
    with pytest.raises(RemoteProtocolError, match="order"):
        other.seal(PACKAGE)
    with pytest.raises(RefusedError):
        other.confirm(encode(HandoverConfirm(bytes(32))))
    with pytest.raises(RemoteProtocolError, match="order"):
        other.seal(PACKAGE)


def test_out_of_order_at_the_guest() -> None:
    with pytest.raises(RemoteProtocolError, match="order"):
        guest().finish(encode(HandoverSealed(b"", b"")))
    with pytest.raises(RemoteProtocolError, match="order"):
        guest().second(encode(HandoverPake(b"B" + bytes(32))))


def test_refusals_reach_the_guest() -> None:
    one, other = guest(), share()
    error = wrong_password(2)
    for receive in (one.second, one.finish, one.open):
        with pytest.raises(RefusedError, match="2 tries left") as caught:
            receive(refuse(error.code, error.text))
        assert caught.value.code is Code.WRONG_CODE
    with pytest.raises(RemoteProtocolError):
        other.answer(refuse(Code.BUSY, "no"))
    assert wrong_password(1).text.endswith("1 try left")
    assert wrong_password(0).text.endswith("no tries are left")


def test_without_a_password() -> None:
    one, other = guest(None), share(None)
    package = msgspec.structs.replace(PACKAGE, encrypted=False)
    assert one.open(other.open(one.first(), package)) == package


def test_one_side_expects_a_password() -> None:
    with pytest.raises(RefusedError, match="has a password"):
        share().answer(guest(None).first())
    with pytest.raises(RemoteProtocolError):
        share().open(guest(None).first(), PACKAGE)
    with pytest.raises(RemoteProtocolError):
        share(None).open(guest().first(), PACKAGE)
    with pytest.raises(RemoteProtocolError):
        share(None).answer(guest().first())
    one = guest()
    one.first()
    with pytest.raises(RemoteProtocolError):  # a share that has none all of a sudden
        one.second(share(None).open(guest(None).first(), PACKAGE))


@pytest.mark.parametrize(
    "changed",
    [
        {"user": "-oProxyCommand=id"},
        {"user": "a b"},
        {"user": "a\n"},
        {"user": "%r"},
        {"user": "x" * 65},
        {"user": ""},
        {"port": 0},
        {"port": 65_536},
        {"host_keys": []},
        {"host_keys": ["ssh-ed25519 AAAA\n* ssh-ed25519 BBBB"]},
        {"host_keys": ["ssh-ed25519 AAAA\n"]},
        {"host_keys": ["@revoked AAAA"]},
        {"host_keys": ["ssh-ed25519 AAAA"] * 17},
        {"private_key": bytes(4097)},
    ],
)
def test_what_would_reach_the_command_line_of_ssh_is_checked(changed: dict[str, object]) -> None:
    one, other = guest(), share()
    confirmed(one, other)
    with pytest.raises(RemoteProtocolError, match="bad KeyPackage"):
        one.finish(other.seal(msgspec.structs.replace(PACKAGE, **changed)))
    with pytest.raises(RemoteProtocolError):
        guest(None).open(encode([msgspec.structs.replace(PACKAGE, **changed)]))


@pytest.mark.parametrize("changed", [{"version": 2}, {"pake": b"A"}, {"pake": b"A" * 33}])
def test_message_1_is_checked(changed: dict[str, object]) -> None:
    first = parse_or_raise(HandoverRequest, guest().first())
    with pytest.raises(RemoteProtocolError):
        share().answer(encode(msgspec.structs.replace(first, **changed)))


@pytest.mark.parametrize("element", [bytes(32), b"\x01" + bytes(31)])
def test_elements_of_small_order_are_refused(element: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        share().answer(encode(HandoverRequest(1, b"A" + element)))
    one = guest()
    one.first()
    with pytest.raises(RemoteProtocolError):
        one.second(encode(HandoverPake(b"B" + element)))


VALUES = st.none() | st.integers(-(2**63), 2**63) | st.binary(max_size=40) | st.text(max_size=40)
MESSAGES = st.binary(max_size=200) | st.lists(
    VALUES | st.lists(VALUES, max_size=7), max_size=5
).map(encode)
ANSWERED = share()
ANSWERED.answer(guest().first())
ASKED = guest()
ASKED.first()


@given(MESSAGES)
def test_garbage_raises_what_is_documented_and_nothing_else(message: bytes) -> None:
    refused = (RemoteProtocolError, RefusedError)
    with pytest.raises(RefusedError):
        ANSWERED.confirm(message)
    for receive in (ASKED.second, ASKED.finish, ASKED.open, share().answer):
        with pytest.raises(refused):
            receive(message)
    if message != guest(None).first():
        with pytest.raises(RemoteProtocolError):
            share(None).open(message, PACKAGE)


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) without a salt, 32 bytes."""
    return hmac.digest(hmac.digest(bytes(32), key, "sha256"), info + b"\x01", "sha256")


def test_a_guest_written_from_the_protocols_text() -> None:
    """docs/protocol.md 8.6, by itself: what is on the wire is what is written there."""
    spake = SPAKE2_A(PASSWORD.encode(), idA=BOB, idB=SHARE)
    first = encode([1, spake.start()])
    other = share()
    second = other.answer(first)
    (pake,) = msgspec.msgpack.decode(second)
    key = spake.finish(pake)
    sent = b"".join(len(each).to_bytes(2, "big") + each for each in (first, second))
    bound = b"1" + hashlib.sha256(sent).digest()
    other.confirm(encode([hmac.digest(expand(key, b"vshare/1 ssh-key guest"), bound, "sha256")]))
    confirm, sealed = msgspec.msgpack.decode(other.seal(PACKAGE))
    covered = bound + hashlib.sha256(sealed).digest()
    assert confirm == hmac.digest(expand(key, b"vshare/1 ssh-key share"), covered, "sha256")
    cipher = ChaCha20Poly1305(expand(key, b"vshare/1 ssh-key seal"))
    package = msgspec.msgpack.decode(cipher.decrypt(bytes(12), sealed, bound))
    assert package == ["vagrant", 22, ["ssh-ed25519 AAAA"], b"-----BEGIN...", True, False]
