import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.clienthello import (
    MAX_HELLO,
    MAX_RECORDS,
    ClientHello,
    Incomplete,
    is_handshake,
    parse_client_hello,
)
from tunnel.errors import RemoteProtocolError


def real_hello(name: str | None, *alpn: str) -> bytes:
    """What OpenSSL sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def vector(size: int, data: bytes) -> bytes:
    return len(data).to_bytes(size, "big") + data


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, body)


def made_hello(*extensions: bytes, session: bytes = b"") -> bytes:
    body = b"\3\3" + bytes(32) + vector(1, session) + vector(2, b"\x13\1\x0a\x0a") + b"\1\0"
    body += vector(2, b"".join(extensions)) if extensions else b""
    return b"\1" + vector(3, body)


def records(message: bytes, size: int = 16_384) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\3\1" + vector(2, part) for part in parts)


def sni(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def test_a_real_hello_whole() -> None:
    hello = real_hello("Frosty-Weasel-0857.Example.org", "vshare/1", "http/1.1")
    found = ClientHello("frosty-weasel-0857.example.org", (b"vshare/1", b"http/1.1"))
    assert is_handshake(hello)
    assert parse_client_hello(hello) == found
    assert parse_client_hello(hello + b"trailing \x00\xff bytes") == found


def test_byte_by_byte_it_says_how_much_it_needs() -> None:
    hello = real_hello("a.example", "h2")
    for size in range(len(hello)):
        answer = parse_client_hello(hello[:size])
        assert isinstance(answer, Incomplete)
        assert size < answer.needed <= len(hello)


@given(st.integers(20, 400))
def test_fragmented_over_records(size: int) -> None:
    hello = records(made_hello(sni(b"a.example"), extension(16, vector(2, vector(1, b"x")))), size)
    assert parse_client_hello(hello) == ClientHello("a.example", (b"x",))


def test_grease_and_unknown_extensions_are_skipped() -> None:
    hello = made_hello(
        extension(0x0A0A, b""),
        extension(0xFAFA, b"\0"),
        sni(b"a.example"),
        extension(16, vector(2, vector(1, b"\x1a\x1a") + vector(1, b"h2"))),
    )
    assert parse_client_hello(records(hello)) == ClientHello("a.example", (b"\x1a\x1a", b"h2"))


def test_none_of_it() -> None:
    assert parse_client_hello(records(made_hello())) == ClientHello(None, ())
    assert parse_client_hello(real_hello(None)) == ClientHello(None, ())
    assert parse_client_hello(records(made_hello(sni(b"x", kind=7)))) == ClientHello(None, ())


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\2\0\0\5hello",
        b"\x16\3\1\0\0",
        b"\x16\3\1\x7f\xff",
        b"\x15\3\1\0\2\2\x28",
        records(b"\2" + made_hello()[1:]),
        records(b"\1" + vector(3, bytes(20))),
        records(made_hello(sni(b"a.example"), sni(b"b.example"))),
        records(made_hello(sni(b"a.example", b"b.example"))),
        records(made_hello(sni(b"a b\n"))),
        records(made_hello(sni(b"x" * 254))),
        records(made_hello(sni(b""))),
        records(made_hello(extension(16, vector(2, vector(1, b"")))), 100),
        records(made_hello(extension(0, b"\0"))),
        records(made_hello(session=bytes(33))),
        records(b"\1\xff\xff\xff"),
        records(made_hello(extension(5, bytes(400))), 1)[: 6 * (MAX_RECORDS + 1)],
    ],
)
def test_what_is_no_hello_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_client_hello(data)


def test_the_limit_holds_over_all_records() -> None:
    large = records(made_hello(extension(21, bytes(16_000))), 4_000)
    assert len(large) < MAX_HELLO
    assert parse_client_hello(large) == ClientHello(None, ())
    with pytest.raises(RemoteProtocolError):
        parse_client_hello(records(made_hello(extension(21, bytes(16_400))), 4_000)[:100])


@given(st.binary(max_size=400))
def test_garbage_never_escapes(data: bytes) -> None:
    for prefix in (b"", b"\x16\3\1", b"\x16\3\1" + vector(2, data)[:2]):
        try:
            answer = parse_client_hello(prefix + data)
        except RemoteProtocolError:
            continue
        assert isinstance(answer, ClientHello | Incomplete)


HELLO = real_hello("frosty-weasel-0857.example.org", "vshare/1", "http/1.1")


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_one_wrong_byte_never_escapes(at: int, value: int) -> None:
    try:
        answer = parse_client_hello(HELLO[:at] + bytes([value]) + HELLO[at + 1 :])
    except RemoteProtocolError:
        return
    assert isinstance(answer, ClientHello | Incomplete)
