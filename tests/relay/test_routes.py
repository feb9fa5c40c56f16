import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.routes import SOLE, Answerer, Route, Site, Sites, maybe_route, parse_site, strip_port
from tests.tunnel.test_clienthello import real_hello
from tunnel.clienthello import Incomplete
from tunnel.errors import RemoteProtocolError
from tunnel.names import ShareName

DOMAIN = "relay.example"
SITES = Sites(DOMAIN)


@pytest.mark.parametrize(
    ("name", "alpn", "answerer", "share"),
    [
        ("frosty-weasel-0857.anything", ["vshare/1"], Answerer.NOBODY, None),
        ("frosty-weasel-0857", ["vshare-join/1"], Answerer.JOIN, "frosty-weasel-0857"),
        (None, ["vshare/1"], Answerer.NOBODY, None),
        ("relay.example", ["vshare-park/1"], Answerer.PARK, None),
        ("abc.relay.example", ["h2", "http/1.1"], Answerer.GATEWAY, "abc"),
        ("abc--80.relay.example", [], Answerer.GATEWAY, "abc"),
        ("relay.example", ["http/1.1"], Answerer.APPLICATION, None),
        ("other.example", [], Answerer.APPLICATION, None),
        (None, [], Answerer.APPLICATION, None),
        ("abc.relay.example", ["acme-tls/1"], Answerer.NOBODY, None),
    ],
)
def test_tls(
    name: str | None, alpn: list[str], answerer: Answerer, share: ShareName | None
) -> None:
    assert maybe_route(real_hello(name, *alpn), SITES) == Route(answerer, True, share, name)


@pytest.mark.parametrize(
    ("label", "alpn", "answerer"),
    [
        ("0123456789abcdef" * 2, ["vshare/1"], Answerer.SHARE),
        ("0123456789abcdef" * 2, ["vshare-join/1", "vshare/1"], Answerer.SHARE),
    ],
)
def test_routes_of_shares(label: str, alpn: list[str], answerer: Answerer) -> None:
    found = maybe_route(real_hello(f"{label}.x", *alpn), SITES)
    assert found == Route(answerer, True, None, f"{label}.x", label)


def test_a_route_is_none_to_those_who_join() -> None:
    label = "0123456789abcdef" * 2  # which could be a name
    found = maybe_route(real_hello(f"{label}.x", "vshare-join/1"), SITES)
    assert found == Route(Answerer.JOIN, True, ShareName(label), f"{label}.x")


@pytest.mark.parametrize(
    ("host", "answerer"),
    [
        (b"Host: abc.relay.example", Answerer.GATEWAY),
        (b"hOsT :  ABC--80.Relay.Example:8080 ", Answerer.GATEWAY),
        (b"Host: relay.example", Answerer.APPLICATION),
        (b"Host: 10.0.0.1", Answerer.APPLICATION),
        (b"Accept: */*", Answerer.APPLICATION),
    ],
)
def test_http_whole_byte_by_byte_and_with_trailing_bytes(host: bytes, answerer: Answerer) -> None:
    head = b"GET / HTTP/1.1\r\n" + host + b"\r\n\r\n"
    route = Route(answerer, False, ShareName("abc") if answerer is Answerer.GATEWAY else None)
    assert maybe_route(head, SITES) == route
    assert maybe_route(head + b"\x00\xff", SITES) == route
    for size in range(1, len(head)):
        assert maybe_route(head[:size], SITES) == Incomplete(size + 1)


@given(st.binary(min_size=1, max_size=200))
def test_garbage_never_escapes(data: bytes) -> None:
    try:
        maybe_route(data, SITES)
    except RemoteProtocolError:
        pass


def test_the_address_of_a_relay_with_one_share() -> None:
    for host, field in (("192.0.2.1", b"192.0.2.1:7443"), ("[2001:db8::1]", b"[2001:DB8::1]:80")):
        sites = Sites(DOMAIN, host)
        head = b"GET / HTTP/1.1\r\nHost: " + field + b"\r\n\r\n"
        assert maybe_route(head, sites) == Route(Answerer.GATEWAY, False, SOLE.name)
        assert maybe_route(head, SITES) == Route(Answerer.APPLICATION, tls=False)
        assert sites.find(host) == SOLE
        assert sites.find("abc.relay.example") == Site(ShareName("abc"))
        assert sites.find("192.0.2.2") is None
        no_name = real_hello(None, "http/1.1")  # the control channel, and /healthz
        assert maybe_route(no_name, sites) == Route(Answerer.APPLICATION, tls=True)
    assert SITES.find("") is None


def test_sites() -> None:
    name = ShareName("abc")
    assert parse_site("abc.relay.example", DOMAIN) == Site(name)
    assert parse_site("abc--8080.relay.example", DOMAIN) == Site(name, "8080")
    for host in ("relay.example", "a.b.relay.example", "abc.other", "ab.relay.example", ""):
        assert parse_site(host, DOMAIN) is None
    assert strip_port("[::1]:80") == "[::1]"
    assert strip_port("A.b.:80") == "a.b"


def test_own_domains() -> None:
    shop, path = Site(ShareName("shop")), "/.well-known/acme-challenge/abc"
    sites = Sites(DOMAIN, own={"app.example.com": shop}.get, challenges={path})
    gateway = Route(Answerer.GATEWAY, False, shop.name)
    for host in (b"app.example.com", b"APP.example.com.:80"):
        assert maybe_route(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", sites) == gateway
        asked = f"GET {path} HTTP/1.1\r\nHost: ".encode() + host + b"\r\n\r\n"
        assert maybe_route(asked, sites) == Route(Answerer.APPLICATION, tls=False)
        assert maybe_route(asked.replace(b"abc", b"other"), sites) == gateway
    for host in (b"x.app.example.com", b"example.com", b"other.example.com"):
        head = b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        assert maybe_route(head, sites) == Route(Answerer.APPLICATION, tls=False)
    hello = real_hello("App.Example.com", "http/1.1")
    named = Route(Answerer.GATEWAY, True, shop.name, "app.example.com")
    assert maybe_route(hello, sites) == named
    for alpn in ("vshare/1", "vshare-join/1"):  # guests come by what they were told
        route = maybe_route(real_hello("app.example.com", alpn), sites)
        assert isinstance(route, Route)
        assert route.name != shop.name
    assert (sites.is_own("app.example.com"), sites.is_own("shop.relay.example")) == (True, False)
