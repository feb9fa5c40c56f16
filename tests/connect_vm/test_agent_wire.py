from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_vm.agent import wire
from connect_vm.agent.wire import Header, WireError

SECRET = bytes(range(32))
NONCE_A, NONCE_V = b"a" * 32, b"v" * 32
HEADER = Header.of(wire.TCP, ("192.0.2.2", 8080), ("192.0.2.1", 40_000))

headers = st.builds(
    Header,
    st.sampled_from([wire.TCP, wire.UDP]),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 65_535),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 65_535),
)


def test_header_is_the_bytes_of_the_protocol_document() -> None:
    assert HEADER.encode() == bytes.fromhex("01 06 c0000202 1f90 c0000201 9c40")
    assert HEADER.destination == ("192.0.2.2", 8080)
    assert HEADER.source == ("192.0.2.1", 40_000)


@given(headers)
def test_headers_come_back(header: Header) -> None:
    assert wire.decode_header(header.encode()) == header


@pytest.mark.parametrize(
    "data", [b"", b"\1", HEADER.encode() + b"x", b"\2" + HEADER.encode()[1:], b"\1\1" + b"0" * 12]
)
def test_bad_headers_are_wire_errors(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode_header(data)


@pytest.mark.parametrize("kind", [wire.PARKED, wire.DATAGRAMS])
def test_both_sides_prove_the_secret(kind: bytes) -> None:
    proven = wire.check_answer(SECRET, NONCE_A, wire.answer(SECRET, NONCE_A, NONCE_V, kind))
    assert proven is not None
    assert proven[0] == kind
    assert wire.check_agent(SECRET, NONCE_A, NONCE_V, proven[1])


def test_a_changed_byte_anywhere_proves_nothing() -> None:
    message = wire.answer(SECRET, NONCE_A, NONCE_V, wire.PARKED)
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        assert wire.check_answer(SECRET, NONCE_A, bytes(changed)) is None


def test_a_proof_cannot_be_sent_back_to_whoever_made_it() -> None:
    message = wire.answer(SECRET, NONCE_A, NONCE_V, wire.PARKED)
    assert not wire.check_agent(SECRET, NONCE_A, NONCE_V, message[32:64])
    assert wire.check_answer(b"x" * 32, NONCE_A, message) is None
    assert wire.check_answer(SECRET, b"b" * 32, message) is None


frames = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=300))
)


@given(frames, st.integers(1, 50))
def test_frames_come_back_however_they_are_cut(
    sent: list[tuple[int, int, bytes]], piece: int
) -> None:
    data = b"".join(wire.frame(*frame) for frame in sent)
    reader = wire.FrameReader()
    received: list[tuple[int, int, bytes]] = []
    for start in range(0, len(data), piece):
        received += reader.feed(data[start : start + piece])
    assert received == sent


def test_a_frame_above_the_largest_datagram_is_a_wire_error() -> None:
    reader = wire.FrameReader()
    largest = wire.frame(wire.DGRAM, 1, bytes(wire.MAX_DATAGRAM))
    assert len(list(reader.feed(largest))) == 1
    with pytest.raises(WireError):
        list(reader.feed(wire.frame(wire.DGRAM, 1, bytes(wire.MAX_DATAGRAM + 1))[:9]))
