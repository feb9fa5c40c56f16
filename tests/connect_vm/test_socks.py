from __future__ import annotations

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connect_vm import socks
from tunnel.codes import Code
from tunnel.errors import RemoteProtocolError

GREETING = b"\x05\x01\x00"
CASES = [
    (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "CONNECT", "127.0.0.1", 80),
    (b"\x05\x01\x00\x03\x03web\x1f\x90", "CONNECT", "web", 8080),
    (b"\x05\x01\x00\x03\x01a\x00\x16", "CONNECT", "a", 22),
    (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\xff\xff", "CONNECT", "::1", 65535),
    (b"\x05\x03\x00\x01" + bytes(6), "UDP_ASSOCIATE", "0.0.0.0", 0),
]


def feed(data: bytes, size: int, handshake: socks.Handshake | None = None) -> socks.Handshake:
    handshake = handshake or socks.Handshake()
    for start in range(0, len(data), size):
        handshake.receive_data(data[start : start + size])
    return handshake


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("trailing", [b"", b"GET / HTTP/1.1\r\n\r\n"])
@pytest.mark.parametrize(("message", "command", "host", "port"), CASES)
def test_requests(
    message: bytes, command: str, host: str, port: int, trailing: bytes, size: int
) -> None:
    handshake = feed(GREETING + message + trailing, size)
    assert handshake.request == socks.Request(socks.Command[command], host, port)
    assert handshake.trailing == trailing
    assert handshake.data_to_send() == b"\x05\x00"
    assert handshake.data_to_send() == b""
    assert handshake.bytes_wanted == 0


@pytest.mark.parametrize(("message", "command", "host", "port"), CASES)
def test_it_never_wants_more_than_the_request(
    message: bytes, command: str, host: str, port: int
) -> None:
    wire = GREETING + message + b"early data"
    handshake = socks.Handshake()
    while wanted := handshake.bytes_wanted:
        handshake.receive_data(wire[:wanted])
        wire = wire[wanted:]
    assert wire == b"early data"
    assert handshake.request


def test_it_takes_no_authentication_out_of_several_methods() -> None:
    handshake = feed(b"\x05\x03\x02\x01\x00", 1)
    assert handshake.data_to_send() == b"\x05\x00"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("wire", "answer", "text"),
    [
        (b"\x05\x00", b"\x05\xff", "authentication"),
        (b"\x05\x02\x01\x02", b"\x05\xff", "authentication"),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b"\x00\x5b" + bytes(6), "SOCKS4"),
        (b"\x16\x03\x01\x02\x00", b"", "version 22"),
        (GREETING + b"\x05\x02\x00\x01" + bytes(6), b"\x05\x00\x05\x07\x00\x01", "command 2"),
        (GREETING + b"\x05\x01\x00\x02" + bytes(6), b"\x05\x00\x05\x08\x00\x01", "type 2"),
        (GREETING + b"\x04\x01\x00\x01" + bytes(6), b"\x05\x00\x05\x01\x00\x01", "version 4"),
        (GREETING + b"\x05\x01\x00\x03\x00\x00\x50", b"\x05\x00\x05\x04\x00\x01", "host name"),
        (GREETING + b"\x05\x01\x00\x03\x02a\n\x00\x50", b"\x05\x00\x05\x04\x00\x01", "host name"),
    ],
)
def test_refusals(wire: bytes, answer: bytes, text: str, size: int) -> None:
    handshake = socks.Handshake()
    with pytest.raises(RemoteProtocolError, match=text):
        feed(wire, size, handshake)
    sent = handshake.data_to_send()
    assert sent == answer or (sent.startswith(answer) and len(sent) == 12)
    assert handshake.state is socks.State.FAILED
    assert handshake.bytes_wanted == 0


def test_http_is_told_what_this_is() -> None:
    handshake = socks.Handshake()
    with pytest.raises(RemoteProtocolError, match="probably not a SOCKS request"):
        handshake.receive_data(b"G")
    answer = handshake.data_to_send()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"this is a SOCKS5 address" in answer


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_input_breaks_the_handshake(pieces: list[bytes]) -> None:
    handshake = socks.Handshake()
    with contextlib.suppress(RemoteProtocolError):
        for piece in pieces:
            handshake.receive_data(piece)
    if handshake.request:
        assert handshake.request.host
    assert len(handshake.data_to_send()) < 1000


@given(st.binary(max_size=60))
def test_the_verdict_does_not_depend_on_the_pieces(tail: bytes) -> None:
    verdicts = []
    for size in (1, 7, 1000):
        handshake = socks.Handshake()
        try:
            for start in range(0, len(GREETING + tail), size):
                handshake.receive_data((GREETING + tail)[start : start + size])
            verdict = "ok"
        except RemoteProtocolError as error:
            verdict = error.text
        verdicts.append((verdict, handshake.request, handshake.data_to_send(), handshake.trailing))
    assert verdicts[0] == verdicts[1] == verdicts[2]


names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
hosts = st.ip_addresses().map(str) | names


@given(hosts, st.integers(0, 65535), st.binary(max_size=50))
def test_udp_headers(host: str, port: int, payload: bytes) -> None:
    raw = bytes(3) + socks.serialize_address(host, port)
    header = socks.parse_udp_header(raw + payload)
    assert header.port == port
    assert header.size == len(raw)
    try:
        assert ipaddress.ip_address(header.host) == ipaddress.ip_address(host)
    except ValueError:
        assert header.host == host
    for cut in range(len(raw)):
        with pytest.raises(RemoteProtocolError):
            socks.parse_udp_header(raw[:cut])


@given(st.binary(max_size=300))
def test_no_datagram_breaks_the_parser(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert socks.parse_udp_header(data).size <= len(data)


def test_a_fragment_is_refused() -> None:
    raw = b"\x00\x00\x01" + socks.serialize_address("1.2.3.4", 5)
    with pytest.raises(RemoteProtocolError, match="fragmented"):
        socks.parse_udp_header(raw)


def test_replies() -> None:
    assert socks.serialize_reply(socks.Reply.SUCCEEDED) == b"\x05\x00\x00\x01" + bytes(6)
    assert socks.serialize_reply(socks.Reply.SUCCEEDED, "::1", 7) == (
        b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x00\x07"
    )
    assert {code: int(socks.reply_for_code(code)) for code in Code} == {
        Code.CLOSED: 1,
        Code.CONNECTION_REFUSED: 5,
        Code.CONNECTION_RESET: 1,
        Code.HOST_UNREACHABLE: 4,
        Code.TIMED_OUT: 6,
        Code.UNKNOWN_HOST: 4,
        Code.NOT_ALLOWED: 2,
        Code.EXPIRED: 1,
        Code.RETIRED: 1,
        Code.UNSUPPORTED: 7,
        Code.PROTOCOL_ERROR: 1,
        Code.BUSY: 1,
        Code.WRONG_CODE: 1,
        Code.INTERNAL: 1,
        Code.LOST: 3,
    }
