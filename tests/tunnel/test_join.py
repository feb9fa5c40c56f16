from __future__ import annotations

import hashlib
import hmac
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spake2 import SPAKE2_A

from tunnel.codes import Code
from tunnel.errors import RefusedError, RemoteProtocolError
from tunnel.join import (
    MAX_NAME,
    GuestJoin,
    JoinConfirm,
    JoinIssued,
    JoinPake,
    JoinRequest,
    JoinWaiting,
    ShareJoin,
    plate_of_request,
)
from tunnel.pake import parse_or_raise, refuse

NAME, CODE = "frosty-weasel-0857", "orange-crystal-salmon"
REQUEST, CERTIFICATE = b"request", b"certificate"
ROUTE = "0123456789abcdef" * 2


def guest(**changed: object) -> GuestJoin:
    given: dict[str, object] = {"code": CODE, "certificate": CERTIFICATE, "request": REQUEST}
    given |= changed
    return GuestJoin(NAME, "bob", given["request"], given["code"], given["certificate"], os.urandom)  # type: ignore[arg-type]  # a table of keywords


def share() -> ShareJoin:
    return ShareJoin(NAME, CODE, CERTIFICATE, os.urandom)


def confirmed(one: GuestJoin, other: ShareJoin) -> None:
    other.confirm(one.second(other.answer(one.first())))


def test_both_know_the_code() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    assert (other.guest, other.request) == ("bob", REQUEST)
    issued = one.finish(other.issue(b"issued", b"ca", ROUTE))
    assert (issued.certificate, issued.ca, issued.route) == (b"issued", b"ca", ROUTE)


def test_the_plate_is_read_before_the_code_is_known() -> None:
    one = GuestJoin(NAME, "bob", REQUEST, "tiger-" + CODE, CERTIFICATE, os.urandom, "tiger")
    first = one.first()
    assert plate_of_request(first, NAME) == "tiger"
    assert plate_of_request(guest().first(), NAME) == ""
    other = ShareJoin(NAME, "tiger-" + CODE, CERTIFICATE, os.urandom)
    other.confirm(one.second(other.answer(first)))


def test_a_changed_plate_is_not_confirmed() -> None:
    one, other = guest(), share()
    first = parse_or_raise(JoinRequest, one.first())
    changed = msgspec.structs.replace(first, plate="tiger")
    third = one.second(other.answer(msgspec.msgpack.encode(changed)))
    with pytest.raises(RefusedError):
        other.confirm(third)


def test_waiting_is_the_shares_word() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    for text in ("the sharer is asked", "still", ""):
        assert one.maybe_waiting(other.waiting(text)) == text
    said = parse_waiting(other.waiting("the sharer is asked"))
    changed = msgspec.structs.replace(said, text="type your code at http://...")
    with pytest.raises(RemoteProtocolError, match="not the share"):
        one.maybe_waiting(msgspec.msgpack.encode(changed))
    fourth = other.issue(b"issued", b"ca", ROUTE)
    assert one.maybe_waiting(fourth) is None
    assert one.maybe_waiting(refuse(Code.NOT_ALLOWED, "no")) is None
    assert one.finish(fourth).route == ROUTE


def parse_waiting(message: bytes) -> JoinWaiting:
    return msgspec.msgpack.decode(message, type=JoinWaiting)


def test_a_long_reason_to_wait_is_cut() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    assert one.maybe_waiting(other.waiting("x" * 1_000)) == "x" * 300
    too_long = msgspec.msgpack.encode(["x" * 301, bytes(32)])
    assert one.maybe_waiting(too_long) is None
    with pytest.raises(RemoteProtocolError):
        one.finish(too_long)


def test_no_message_can_be_taken_for_another() -> None:
    one, other = guest(), share()
    confirmed(one, other)
    waiting, issued = other.waiting("soon"), other.issue(b"issued", b"ca", ROUTE)
    refusal = refuse(Code.BUSY, "no")
    for message in (waiting, refusal):
        with pytest.raises((RemoteProtocolError, RefusedError)):
            parse_or_raise(JoinIssued, message)
    for message in (issued, refusal):
        with pytest.raises(msgspec.ValidationError):
            parse_waiting(message)
    for message in (waiting, issued):
        with pytest.raises(RemoteProtocolError):
            parse_or_raise(JoinRequest, message)


@pytest.mark.parametrize("route", ["A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "\n" + "0" * 31])
def test_a_route_is_32_hex_digits(route: str) -> None:
    one, other = guest(), share()
    confirmed(one, other)
    with pytest.raises(RemoteProtocolError):
        one.finish(other.issue(b"issued", b"ca", route))


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "otter-crimson-slim"},
        {"certificate": b"the relay's"},  # a machine in the middle, with TLS of its own
    ],
)
def test_whoever_differs_is_not_confirmed(changed: dict[str, object]) -> None:
    with pytest.raises(RefusedError, match="the code is not right") as caught:
        confirmed(guest(**changed), share())
    assert caught.value.code is Code.WRONG_CODE


def test_a_swapped_request_is_not_confirmed() -> None:
    """The machine in the middle puts its own key into message 1 and relays the rest."""
    one, other = guest(), share()
    first = parse_or_raise(JoinRequest, one.first())
    swapped = msgspec.structs.replace(first, request=b"the relay's")
    third = one.second(other.answer(msgspec.msgpack.encode(swapped)))
    with pytest.raises(RefusedError):
        other.confirm(third)


def test_a_changed_guest_name_is_not_confirmed() -> None:
    one, other = guest(), share()
    first = parse_or_raise(JoinRequest, one.first())
    swapped = msgspec.structs.replace(first, guest="alice")
    third = one.second(other.answer(msgspec.msgpack.encode(swapped)))
    with pytest.raises(RefusedError):
        other.confirm(third)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("confirm", b"the relay's"),
        ("certificate", b"the relay's"),
        ("ca", b"the relay's"),
        ("route", "f" * 32),
        ("route", ""),
    ],
)
def test_what_is_issued_cannot_be_changed(part: str, value: object) -> None:
    one, other = guest(), share()
    confirmed(one, other)
    issued = parse_or_raise(JoinIssued, other.issue(b"issued", b"ca", ROUTE))
    changed = msgspec.structs.replace(issued, **{part: value})
    with pytest.raises(RemoteProtocolError, match="not the share"):
        one.finish(msgspec.msgpack.encode(changed))


def test_the_guests_confirmation_is_not_the_shares() -> None:
    one, other = guest(), share()
    third = one.second(other.answer(one.first()))
    echoed = JoinIssued(parse_or_raise(JoinConfirm, third).confirm, b"issued", b"ca")
    with pytest.raises(RemoteProtocolError, match="not the share"):
        one.finish(msgspec.msgpack.encode(echoed))


def test_a_recorded_join_does_not_work_again() -> None:
    one, other = guest(), share()
    first = one.first()
    third = one.second(other.answer(first))
    other.confirm(third)
    again = share()
    again.answer(first)
    with pytest.raises(RefusedError):
        again.confirm(third)


def test_a_recorded_share_does_not_work_again() -> None:
    one, other = guest(), share()
    second = other.answer(one.first())
    other.confirm(one.second(second))
    fourth = other.issue(b"issued", b"ca")
    again = guest()
    again.first()
    again.second(second)
    with pytest.raises(RemoteProtocolError, match="not the share"):
        again.finish(fourth)


def test_the_guests_own_message_sent_back() -> None:
    one = guest()
    mirrored = JoinPake(parse_or_raise(JoinRequest, one.first()).pake)
    with pytest.raises(RemoteProtocolError):
        one.second(msgspec.msgpack.encode(mirrored))


def test_a_guesser_in_the_shares_place_learns_one_guess() -> None:
    one = guest()
    fake = ShareJoin(NAME, "otter-crimson-slim", CERTIFICATE, os.urandom)
    third = one.second(fake.answer(one.first()))
    with pytest.raises(RefusedError):
        fake.confirm(third)  # a wrong guess
    with pytest.raises(RemoteProtocolError, match="does not know the code"):
        one.finish(fake.issue(b"issued", b"ca"))


def test_out_of_order() -> None:
    with pytest.raises(RemoteProtocolError, match="order"):
        share().issue(b"issued", b"ca")
    with pytest.raises(RefusedError):
        share().confirm(msgspec.msgpack.encode(JoinConfirm(b"")))
    with pytest.raises(RemoteProtocolError, match="order"):
        guest().finish(msgspec.msgpack.encode(JoinIssued(b"", b"", b"")))


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"share": "another-name-0001"},
        {"pake": b""},
        {"pake": b"A" * 33},
        {"plate": "x" * 17},
    ],
)
def test_message_1_is_checked(changed: dict[str, object]) -> None:
    first = parse_or_raise(JoinRequest, guest().first())
    with pytest.raises(RemoteProtocolError):
        share().answer(msgspec.msgpack.encode(msgspec.structs.replace(first, **changed)))


def test_a_refusal_in_place_of_message_1() -> None:
    with pytest.raises(RemoteProtocolError):
        share().answer(refuse(Code.BUSY, "no"))


def test_refusals_reach_the_guest() -> None:
    one = guest()
    one.first()
    with pytest.raises(RefusedError, match="try again") as caught:
        one.second(refuse(Code.BUSY, "try again in a minute"))
    assert caught.value.code is Code.BUSY
    with pytest.raises(RefusedError) as strange:
        one.finish(msgspec.msgpack.encode([250, "x" * 1000]))
    assert strange.value.code is Code.INTERNAL
    assert len(strange.value.text) == 300


def test_a_long_name_is_cut() -> None:
    one = GuestJoin(NAME, "x" * 500, REQUEST, CODE, CERTIFICATE, os.urandom)
    other = share()
    confirmed(one, other)
    assert other.guest == "x" * MAX_NAME


def msgpacks() -> st.SearchStrategy[bytes]:
    """MessagePack that looks like a join message, and bytes that do not."""
    leaf = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text()
    return st.binary(max_size=200) | st.lists(leaf, max_size=6).map(msgspec.msgpack.encode)


@given(msgpacks())
def test_hostile_message_1(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        share().answer(message)


def elements() -> st.SearchStrategy[bytes]:
    small_order = [bytes(32), b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"]
    return st.binary(min_size=30, max_size=36) | st.sampled_from(small_order)


@given(st.sampled_from([b"A", b"B", b"S", b""]), elements())
def test_hostile_pake_to_the_share(side: bytes, element: bytes) -> None:
    """Either it is no element, or the key made of it is not one that the sender can use."""
    message = msgspec.msgpack.encode(JoinRequest(1, NAME, "x", REQUEST, side + element))
    other = share()
    try:
        other.answer(message)
    except RemoteProtocolError:
        return
    with pytest.raises(RefusedError):
        other.confirm(msgspec.msgpack.encode(JoinConfirm(hashlib.sha256(element).digest())))


@given(st.sampled_from([b"A", b"B", b"S", b""]), elements())
def test_hostile_pake_to_the_guest(side: bytes, element: bytes) -> None:
    one = guest()
    one.first()
    try:
        one.second(msgspec.msgpack.encode(JoinPake(side + element)))
    except RemoteProtocolError:
        return
    with pytest.raises(RemoteProtocolError, match="not the share"):
        one.finish(msgspec.msgpack.encode(JoinIssued(bytes(32), b"issued", b"ca")))


@pytest.mark.parametrize("element", [bytes(32), b"\x01" + bytes(31)])
def test_elements_of_small_order_are_refused(element: bytes) -> None:
    """With one of them the key would not depend on the code."""
    message = msgspec.msgpack.encode(JoinRequest(1, NAME, "x", REQUEST, b"A" + element))
    with pytest.raises(RemoteProtocolError):
        share().answer(message)


@given(msgpacks())
def test_hostile_messages_2_and_4(message: bytes) -> None:
    one = guest()
    one.first()
    with pytest.raises((RemoteProtocolError, RefusedError)):
        one.second(message)
    with pytest.raises((RemoteProtocolError, RefusedError)):
        one.finish(message)


JOINED = share()
JOINED.answer(guest().first())


@given(msgpacks())
def test_hostile_message_3(message: bytes) -> None:
    with pytest.raises(RefusedError):
        JOINED.confirm(message)


def expand(key: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869) without a salt, 32 bytes."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def test_a_guest_written_from_the_protocols_text() -> None:
    """docs/protocol.md 7, by itself: what is on the wire is what is written there."""
    spake = SPAKE2_A(
        CODE.encode(),
        idA=hashlib.sha256(REQUEST).digest(),
        idB=hashlib.sha256(CERTIFICATE).digest(),
    )
    first = msgspec.msgpack.encode([1, NAME, "bob", REQUEST, spake.start(), ""])
    other = share()
    second = other.answer(first)
    (pake,) = msgspec.msgpack.decode(second)
    key = spake.finish(pake)
    sent = b"".join(len(each).to_bytes(2, "big") + each for each in (first, second))
    bound = b"1" + NAME.encode() + hashlib.sha256(sent).digest()
    confirm_guest = hmac.digest(expand(key, b"vshare-join/1 guest"), bound, "sha256")
    other.confirm(msgspec.msgpack.encode([confirm_guest]))
    _, confirm = msgspec.msgpack.decode(other.waiting("soon"))
    waiting = expand(key, b"vshare-join/1 waiting")
    assert confirm == hmac.digest(waiting, bound + b"soon", "sha256")
    confirm, *issued = msgspec.msgpack.decode(other.issue(b"issued", b"ca", ROUTE))
    assert issued == [b"issued", b"ca", ROUTE]
    for each in (b"issued", b"ca", ROUTE.encode()):
        bound += hashlib.sha256(each).digest()
    assert confirm == hmac.digest(expand(key, b"vshare-join/1 share"), bound, "sha256")
