from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import RemoteProtocolError
from tunnel.frames import (
    HEADER_SIZE,
    MAX_CONTROL,
    MAX_DATA,
    MAX_DATAGRAM,
    FlowOpen,
    FrameParser,
    FrameType,
    Hello,
    Message,
    Open,
    Opened,
    Reason,
    Resume,
    header,
    parse_message,
    serialize,
    serialize_message,
)

MESSAGES: list[tuple[FrameType, Message]] = [
    (FrameType.HELLO, Hello(1, "frosty-weasel-0857", ["datagram"], "guest", "bob", ["*"])),
    (FrameType.OPEN, Open(b"i" * 16, "tcp", "", 80)),
    (FrameType.OPENED, Opened(resumable=True)),
    (FrameType.REFUSED, Reason(2, "connection refused")),
    (FrameType.RESUME, Resume(b"i" * 16, 3, 2**40)),
    (FrameType.FLOW_OPEN, FlowOpen("", 53)),
]
STREAM = b"".join(serialize_message(kind, 7, message) for kind, message in MESSAGES)
STREAM += serialize(FrameType.DATA, 7, b"payload") + serialize(FrameType.EOF, 7)
STREAM += serialize(FrameType.DGRAM, 9, b"datagram") + serialize(FrameType.PING, 0, b"")


def parse(pieces: list[bytes]) -> list[tuple[int, int, bytes]]:
    """All frames, DATA joined, as the parser's user would see them."""
    parser = FrameParser()
    frames: list[tuple[int, int, bytes]] = []
    for piece in pieces:
        for kind, stream, payload in parser.receive_data(memoryview(piece)):
            if frames and kind == FrameType.DATA and frames[-1][0] == FrameType.DATA:
                frames[-1] = (kind, stream, frames[-1][2] + payload)
            else:
                frames.append((kind, stream, bytes(payload)))
    return frames


def test_a_message_survives_the_wire() -> None:
    for kind, message in MESSAGES:
        ((found, stream, payload),) = parse([serialize_message(kind, 7, message)])
        assert (found, stream) == (kind, 7)
        assert parse_message(type(message), payload) == message  # type: ignore[type-var]  # any of them


def test_whole_and_byte_by_byte_and_with_trailing_bytes_are_the_same() -> None:
    whole = parse([STREAM])
    assert [kind for kind, _, _ in whole] == [
        *(kind for kind, _ in MESSAGES),
        FrameType.DATA,
        FrameType.EOF,
        FrameType.DGRAM,
        FrameType.PING,
    ]
    assert parse([STREAM[at : at + 1] for at in range(len(STREAM))]) == whole
    for trailing in range(1, HEADER_SIZE):
        assert parse([STREAM + b"\x01" * trailing]) == whole


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cut_gives_the_same_frames(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in itertools.pairwise(ends)]
    assert parse(pieces) == parse([STREAM])


@given(st.binary(max_size=200), st.integers(1, 50))
def test_junk_raises_nothing_but_a_protocol_error(junk: bytes, size: int) -> None:
    # Accepted: RemoteProtocolError, and no exception.
    parser = FrameParser()
    try:
        for at in range(0, len(junk), size):
            for _ in parser.receive_data(memoryview(junk[at : at + size])):
                pass
    except RemoteProtocolError:
        pass


@given(st.sampled_from([type(message) for _, message in MESSAGES]), st.binary(max_size=100))
def test_a_junk_message_raises_nothing_but_a_protocol_error(
    kind: type[Reason], junk: bytes
) -> None:
    # Accepted: RemoteProtocolError, and no exception.
    try:
        message = parse_message(kind, junk)
    except RemoteProtocolError:
        return
    assert isinstance(message, kind)


@given(st.integers(0, 255), st.integers(0, 2**24 - 1), st.integers(0, 2**32 - 1))
def test_a_length_is_judged_before_its_payload(kind: int, length: int, stream: int) -> None:
    limits = {
        FrameType.DATA: MAX_DATA,
        FrameType.DGRAM: MAX_DATAGRAM,
        FrameType.EOF: 0,
        FrameType.RETIRE: 0,
        FrameType.FLOW_CLOSE: 0,
        FrameType.ACK: 8,
        FrameType.PING: 64,
        FrameType.PONG: 64,
    }
    known = {int(one) for one in FrameType}
    limit = limits.get(FrameType(kind), MAX_CONTROL) if kind in known else MAX_DATA
    head = header(FrameType.DATA, length, stream)
    head = bytes([kind]) + head[1:]
    if length <= limit:
        parse([head])
    else:
        with pytest.raises(RemoteProtocolError, match=f"frame type {kind} of {length} bytes"):
            parse([head])


def test_unknown_types_are_skipped_even_in_pieces() -> None:
    unknown = bytes([200]) + header(FrameType.DATA, 1000, 1)[1:] + b"?" * 1000
    stream = unknown + serialize(FrameType.EOF, 1) + unknown
    for size in (1, 7, 500, len(stream)):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert parse(pieces) == [(FrameType.EOF, 1, b"")]


def test_data_is_handed_on_before_its_frame_is_whole() -> None:
    parser = FrameParser()
    begun = header(FrameType.DATA, MAX_DATA, 3) + b"first"
    assert [(kind, bytes(data)) for kind, _, data in parser.receive_data(memoryview(begun))] == [
        (FrameType.DATA, b"first")
    ]


@pytest.mark.parametrize(
    "message",
    [
        Open(b"short", "tcp", "", 80),
        Open(b"i" * 16, "tcp", "", 65_536),
        Open(b"i" * 16, "tcp", "", -1),
        Open(b"i" * 16, "tcp", "h" * 256, 80),
        Open(b"i" * 16, "p" * 33, "", 80),
    ],
)
def test_an_open_outside_its_limits_is_refused(message: Open) -> None:
    payload = serialize_message(FrameType.OPEN, 1, message)[HEADER_SIZE:]
    with pytest.raises(RemoteProtocolError, match="bad Open message"):
        parse_message(Open, payload)


def test_members_of_a_newer_version_are_ignored() -> None:
    payload = b"\x93\x02\xa3who\xa5later"  # [2, "who", "later"]
    assert parse_message(Reason, payload) == Reason(2, "who")


_COUNTED = bytes(range(251))


def data_frames(sizes: list[int]) -> bytes:
    """Frames of DATA of one stream, each byte telling where it belongs."""
    payloads = [
        (_COUNTED * (size // 251 + 2))[number % 251 :][:size] for number, size in enumerate(sizes)
    ]
    return b"".join(serialize(FrameType.DATA, 7, payload) for payload in payloads)


@given(
    st.lists(st.sampled_from([0, 1, 100, 4095, 4096, 5000, 9000]), min_size=1, max_size=6),
    st.lists(st.integers(0, 30_000), max_size=4),
)
def test_frames_that_are_joined_lose_nothing(sizes: list[int], cuts: list[int]) -> None:
    whole = data_frames(sizes) + serialize(FrameType.EOF, 7)
    whole += serialize(FrameType.DATA, 8, b"y" * 5000)  # another stream's is never joined
    expected = parse([whole])
    parser, found = FrameParser(), list[tuple[int, int, bytes]]()
    ends = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for a, b in itertools.pairwise(ends):
        for kind, stream, payload in parser.receive_data(memoryview(bytearray(whole[a:b]))):
            if found and kind == found[-1][0] == FrameType.DATA:
                found[-1] = (kind, stream, found[-1][2] + payload)
            else:
                found.append((kind, stream, bytes(payload)))
    assert found == expected


def test_large_frames_of_one_read_are_one_piece_and_small_ones_are_not() -> None:
    def pieces(*sizes: int) -> int:
        given = memoryview(bytearray(data_frames(list(sizes))))
        return len(list(FrameParser().receive_data(given)))

    assert pieces(100, 5000, 5000, 4096) == 1
    assert pieces(5000, 4095, 4095) == 3  # the user counts them: a flood is a flood


def test_a_bad_header_behind_a_piece_is_still_judged() -> None:
    bad = (int(FrameType.DATA) << 24 | MAX_DATA + 1).to_bytes(4, "big") + (7).to_bytes(4, "big")
    frames = FrameParser().receive_data(memoryview(bytearray(data_frames([10]) + bad + b"x")))
    assert bytes(next(frames)[2]) == bytes(range(10))
    with pytest.raises(RemoteProtocolError):
        next(frames)


@given(st.binary(max_size=40), st.sampled_from(FrameType), st.integers(-1, 1))
def test_a_single_frame_of_data_is_the_same_at_once(
    payload: bytes, kind: FrameType, more: int
) -> None:
    data = header(kind, max(0, len(payload) + more), 7) + payload
    found = FrameParser().maybe_data(memoryview(data))
    if found is None:
        assert kind is not FrameType.DATA or more or not payload
        return
    parser = FrameParser()
    assert [(FrameType.DATA, *found)] == list(parser.receive_data(memoryview(data)))
    begun = FrameParser()
    list(begun.receive_data(memoryview(data[:9])))
    if len(payload) > 1:
        assert begun.maybe_data(memoryview(data)) is None  # it is in the midst of another
