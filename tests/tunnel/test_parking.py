import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import LocalProtocolError, RemoteProtocolError
from tunnel.parking import (
    HEADER,
    MAX_MESSAGE,
    Kind,
    Message,
    Paired,
    Type,
    maybe_parse,
    parse_header,
    parse_paired,
    serialize,
    serialize_paired,
)

messages = st.builds(Message, st.sampled_from(Type), st.binary(max_size=MAX_MESSAGE))


@given(messages, st.binary(max_size=20))
def test_whole_byte_by_byte_and_with_trailing_bytes(message: Message, trailing: bytes) -> None:
    data = serialize(message)
    assert maybe_parse(data + trailing) == (message, len(data))
    for size in range(min(len(data), 40)):
        assert maybe_parse(data[:size]) is None


@given(st.binary(max_size=64))
def test_garbage_never_escapes(data: bytes) -> None:
    for parse in (maybe_parse, parse_header, parse_paired):
        try:
            parse(data)
        except RemoteProtocolError:
            continue


def test_limits() -> None:
    with pytest.raises(LocalProtocolError):
        serialize(Message(Type.PARK, bytes(MAX_MESSAGE + 1)))
    with pytest.raises(RemoteProtocolError):
        parse_header(b"\1" + (MAX_MESSAGE + 1).to_bytes(2, "big"))
    with pytest.raises(RemoteProtocolError):
        maybe_parse(b"\x7f")


@given(st.sampled_from(["visitor", "gateway"]), st.sampled_from(["", "127.0.0.1", "fe80::1%eth0"]))
def test_paired(kind: Kind, address: str) -> None:
    paired = Paired(kind, address)
    assert parse_paired(serialize_paired(paired)[HEADER:]) == paired


def test_paired_of_a_newer_relay_has_more_members() -> None:
    assert parse_paired(msgspec.msgpack.encode(["visitor", "1.2.3.4", 7])).address == "1.2.3.4"


@pytest.mark.parametrize(
    "members", [["other", "1.2.3.4"], ["visitor"], "visitor", ["visitor", "\x1b[2J"], [1, 2], {}]
)
def test_paired_that_is_wrong(members: object) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_paired(msgspec.msgpack.encode(members))
