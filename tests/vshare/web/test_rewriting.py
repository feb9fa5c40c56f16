"""What the machine is told of where it is, and what visitors are told of the machine."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import UsageError
from tunnel.http_heads import AnswerHead, RequestHead, maybe_answer, maybe_request
from tunnel.names import ShareName
from vshare.exposure import Report
from vshare.listening import Listening
from vshare.look import Found
from vshare.machine import ForwardedPort, Machine, Source
from vshare.web.access_setup import Access
from vshare.web.rewriting import Places, Redirects, Rewriting, check_host_header, wanted_host
from vshare.web.site_rules import site_rules
from vshare.web.sites import Site, Sites

NAME = ShareName("calm-otter-0001")
PUBLIC = "calm-otter-0001.example"
APP = f"{NAME}--app-test.example"
MACHINE = Machine(
    "Web",
    "x",
    "running",
    "192.168.33.10",
    Source.VAGRANT,
    forwarded=(ForwardedPort(80, 8888), ForwardedPort(9999, 7777)),
)
MAIN = Site("", 80, host="localhost", as_local=True)
APP_SITE = Site("app-test", 80, host="app.test")
SITES = Sites(
    http=MAIN,
    https=Site("", 443, tls=True, host="localhost", as_local=True),
    others={
        "3000": Site("3000", 3000, host="localhost:3000", as_local=True),
        "5000": Site("5000", 5000),
        "app-test": APP_SITE,
        "www-app-test": Site("www-app-test", 80, host="www.app.test"),
        "shop-test": Site("shop-test", 8080, host="shop.test:8080"),
    },
    https_others={"app-test": Site("app-test", 443, tls=True, host="app.test")},
)
PLACES = Places(SITES, MACHINE)
SECURE_URL = f"https://{PUBLIC}/"


def ask(
    label: str, *fields: tuple[str, str], scheme: str = "https", host: str = "", secure: bool = True
) -> tuple[Rewriting, RequestHead, RequestHead]:
    """The rule of a site, what the visitor sent, and what the machine gets."""
    site = SITES.find(label, 443 if scheme == "https" else 80)
    rule = Rewriting(site, PLACES, NAME, SECURE_URL if secure else "")
    host = host or (f"{NAME}--{label}.example" if label else PUBLIC)
    head = [
        ("Host", host),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", scheme),
        ("X-Forwarded-Host", host),
        ("Forwarded", f"for=203.0.113.9;host={host};proto={scheme}"),
        *fields,
    ]
    asked = RequestHead(1, [(a.encode(), b.encode("latin-1")) for a, b in head], b"GET", b"/")
    sent = RequestHead(1, list(asked.fields), b"GET", b"/")
    assert rule.request(sent) is None
    return rule, asked, sent


def answered(
    label: str,
    field: str,
    value: str,
    *,
    scheme: str = "https",
    host: str = "",
    secure: bool = True,
) -> str:
    """What the visitor gets for this field of the machine's."""
    rule, asked, _ = ask(label, scheme=scheme, host=host, secure=secure)
    fields = [(b"X-Before", b"1"), (field.encode(), value.encode("latin-1"))]
    head = AnswerHead(1, fields, 302, b"Found")
    rule.answer(asked, head)
    assert [name for name, _ in head.fields] == [b"X-Before", field.encode()]
    return head.fields[1][1].decode("latin-1")


def test_the_machine_gets_the_host_that_it_knows() -> None:
    for label, scheme, host in (
        ("", "http", "localhost"),
        ("3000", "http", "localhost:3000"),
        ("app-test", "https", "app.test"),
        ("shop-test", "https", "shop.test:8080"),
    ):
        _, _, sent = ask(label, scheme=scheme)
        assert sent.values(b"host") == [host.encode()]
        assert sent.values(b"x-forwarded-for") == [b"203.0.113.9"]


def test_virtual_hosts_are_told_where_the_visitor_is_and_local_ones_are_not() -> None:
    _, asked, sent = ask("app-test")
    assert sent.fields[1:] == asked.fields[1:]
    _, _, sent = ask("3000")
    names = {name.lower() for name, _ in sent.fields}
    assert names == {b"host", b"x-forwarded-for"}


@pytest.mark.parametrize(
    ("label", "url", "expected"),
    [
        ("", f"https://{PUBLIC}", "https://localhost"),
        ("", f"HTTPS://{PUBLIC.upper()}:443", "https://localhost"),
        ("3000", f"https://{NAME}--3000.example", "http://localhost:3000"),
        ("app-test", f"https://{APP}", "https://app.test"),
        # Another site of the share: what is compared with a list has to be what the list has.
        ("shop-test", f"https://{APP}", "https://app.test"),
        ("app-test", f"https://{NAME}--shop-test.example", "http://shop.test:8080"),
        ("app-test", f"https://{PUBLIC}", "https://localhost"),
        # That one is sent the visitor's Host.
        ("app-test", f"https://{NAME}--5000.example", f"https://{NAME}--5000.example"),
    ],
)
def test_origins_of_the_share_become_the_machines(label: str, url: str, expected: str) -> None:
    _, _, sent = ask(label, ("Origin", url), ("Referer", url + "/a?b=http://x#c"))
    assert sent.value(b"origin") == expected.encode()
    assert sent.value(b"referer") == expected.encode() + b"/a?b=http://x#c"


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        f"https://{PUBLIC}.evil.example",
        f"https://evil.{PUBLIC}",
        f"https://{PUBLIC}:8443",
        f"https://{PUBLIC}@evil.example",
        f"https://user@{PUBLIC}",
        f"https://{PUBLIC}\\@evil.example",
        f"https://{NAME}--none.example",
        "https://calm-otter-0002.example",
        f"http://{PUBLIC}",
        f"ftp://{PUBLIC}",
        f"//{PUBLIC}",
        "null",
        "",
        "https://localhost",
        "http://app.test",
    ],
)
def test_origins_of_strangers_stay_what_they_are(url: str) -> None:
    """Else the machine's guard against forged requests would not see them."""
    _, _, sent = ask("app-test", ("Origin", url), ("Referer", url + "/page"))
    assert sent.value(b"origin") == url.encode()
    assert sent.value(b"referer") == url.encode() + b"/page"


def test_a_visitor_without_tls_beside_one_with() -> None:
    _, _, sent = ask("app-test", ("Origin", f"http://{APP}"), scheme="http")
    assert sent.value(b"origin") == b"http://app.test"
    _, _, sent = ask("app-test", ("Origin", f"https://{APP}"), scheme="http")
    assert sent.value(b"origin") == b"https://app.test"


@pytest.mark.parametrize("port", [":8080", ""])
def test_the_relays_port_is_kept(port: str) -> None:
    host = f"{NAME}--app-test.localhost{port}"
    rule, asked, sent = ask(
        "app-test", ("Origin", f"http://{host}"), scheme="http", host=host, secure=False
    )
    assert sent.value(b"origin") == b"http://app.test"
    head = AnswerHead(1, [(b"Location", b"http://www.app.test/x")], 301, b"Moved")
    rule.answer(asked, head)
    assert head.fields == [(b"Location", f"http://{NAME}--www-app-test.localhost{port}/x".encode())]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://app.test/", f"https://{APP}/"),
        ("http://app.test", f"https://{APP}"),
        ("HTTP://App.Test./Path?a=//app.test#http://app.test", f"https://{APP}/Path?a=//app.test#http://app.test"),
        ("http://app.test:80/a", f"https://{APP}/a"),
        ("http://app.test:/a", f"https://{APP}/a"),
        ("https://app.test:443/a", f"https://{APP}/a"),
        ("https://app.test?q", f"https://{APP}?q"),
        ("//app.test/a", f"//{APP}/a"),
        ("http://me:pw@app.test/a", f"https://me:pw@{APP}/a"),
        # Other sites of the machine's.
        ("http://www.app.test/", f"https://{NAME}--www-app-test.example/"),
        ("http://shop.test:8080/", f"https://{NAME}--shop-test.example/"),
        ("http://localhost/", f"https://{PUBLIC}/"),
        ("http://127.0.0.1/", f"https://{PUBLIC}/"),
        ("http://[::1]/", f"https://{PUBLIC}/"),
        ("http://[0:0:0:0:0:0:0:1]:3000/", f"https://{NAME}--3000.example/"),
        ("http://192.168.33.10:3000/x", f"https://{NAME}--3000.example/x"),
        ("http://192.168.33.10:5000/x", f"https://{NAME}--5000.example/x"),
        ("http://WEB/", f"https://{PUBLIC}/"),
        # What the sharer's browser sees: forwarded ports.
        ("http://localhost:8888/wp", f"https://{PUBLIC}/wp"),
        ("http://www.app.test:8888/", f"https://{NAME}--www-app-test.example/"),
    ],
)  # fmt: skip
def test_the_machines_own_urls_are_brought_back(url: str, expected: str) -> None:
    assert answered("app-test", "Location", url) == expected
    assert answered("app-test", "content-location", url) == expected
    assert answered("app-test", "Refresh", f"5; url={url}") == f"5; url={expected}"
    link = f'<{url}>; rel="next"; title="<{url}>", </b>; rel=x'
    assert answered("app-test", "Link", link) == link.replace(f"<{url}>", f"<{expected}>", 1)


@pytest.mark.parametrize(
    "url",
    [
        "/path//app.test/",
        "path",
        "?q=http://app.test/",
        "",
        "http:/app.test/",
        "http:app.test",
        "http:///app.test/",
        "http://app.test:8080/",  # another program
        "http://192.168.33.10:7777/",
        "http://app.test:99999/",
        "http://app.test:80:80/",
        "http://app.test\\@evil.example/",
        "http://app.test@evil.example/",
        "http://app.test evil/",
        "http:\\\\app.test\\",
        "http://app.test.evil.example/",
        "http://other.test/",
        "http://[::1/",
        "http://[app.test]/",
        "http://[:::]/",
        "ftp://app.test/",
        "javascript://app.test/%0aalert(1)",
        "https://example.org/http://app.test/",
        "http://\xfcpp.test/",
    ],
)
def test_what_is_not_the_machines_or_malformed_is_left_alone(url: str) -> None:
    assert answered("app-test", "Location", url) == url
    assert answered("app-test", "Refresh", f"0;url={url}") == f"0;url={url}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", "5"),
        ("5;", "5;"),
        ("0; URL='http://app.test/a'", f"0; URL='https://{APP}/a'"),
        ('0.5 , "http://app.test/a" x', f'0.5 , "https://{APP}/a" x'),
        ('0;url="http://app.test/a', f'0;url="https://{APP}/a'),
        ("3; http://app.test/", f"3; https://{APP}/"),
        ("http://app.test/", "http://app.test/"),
    ],
)
def test_refresh_as_browsers_read_it(value: str, expected: str) -> None:
    assert answered("app-test", "Refresh", value) == expected


def test_the_visitors_scheme_is_kept_and_https_is_followed_where_it_is() -> None:
    assert answered("app-test", "Location", "http://app.test/", scheme="http") == f"http://{APP}/"
    assert answered("app-test", "Location", "https://app.test/", scheme="http") == f"https://{APP}/"
    assert answered("", "Location", "https://localhost/a", scheme="http") == f"https://{PUBLIC}/a"
    # A relay without TLS has no other place to send the visitor to.
    value = answered("app-test", "Location", "https://app.test/", scheme="http", secure=False)
    assert value == f"http://{APP}/"


def test_a_virtual_host_is_not_what_the_machine_answers_without_one() -> None:
    rule = Rewriting(APP_SITE, Places(Sites(others={"app-test": APP_SITE}), MACHINE), NAME, "")
    _, asked, _ = ask("app-test")
    for host, expected in (("localhost", "http://localhost/"), ("app.test", f"https://{APP}/")):
        head = AnswerHead(1, [(b"Location", f"http://{host}/".encode())], 302, b"Found")
        rule.answer(asked, head)
        assert head.value(b"location") == expected.encode()


def test_a_relay_with_one_share_under_its_own_name() -> None:
    host = "brave-river.tunnels.example"
    assert answered("", "Location", "http://localhost/a", host=host) == f"https://{host}/a"
    # The other sites have no place there.
    assert answered("", "Location", "http://app.test/a", host=host) == "http://app.test/a"


def test_what_other_origins_are_allowed() -> None:
    name = "Access-Control-Allow-Origin"
    assert answered("shop-test", name, "http://app.test") == f"https://{APP}"
    for value in ("*", "null", "https://evil.example"):
        assert answered("shop-test", name, value) == value


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("a=b; Domain=app.test; Path=/; Secure", "a=b; Path=/; Secure"),
        ("a=b;domain=.APP.test", "a=b"),
        ("a=b; Domain = app.test ;HttpOnly", "a=b;HttpOnly"),
        ("a=b; domain=test; Secure", "a=b; Secure"),
        ("a=b; Domain=evil.example; Domain=app.test", "a=b"),
        ("a=b; Domain=192.168.33.10", "a=b"),
        ("a=b; Domain=localhost", "a=b"),
        ("a=b", "a=b"),
        ("domain=app.test; Path=/", "domain=app.test; Path=/"),
        ("a=b; Domain=app.test; Domain=evil.example", "a=b; Domain=app.test; Domain=evil.example"),
        ("a=b; Domain=www.app.test", "a=b; Domain=www.app.test"),
        ("a=b; Domain=pp.test", "a=b; Domain=pp.test"),
        ("a=b; Domain=", "a=b; Domain="),
        ("a=b; Domain", "a=b; Domain"),
        (f"a=b; Domain={PUBLIC}", f"a=b; Domain={PUBLIC}"),
    ],
)
def test_cookies_of_the_machines_domain_become_the_sites(cookie: str, expected: str) -> None:
    assert answered("app-test", "Set-Cookie", cookie) == expected


def test_each_of_several_cookies() -> None:
    rule, asked, _ = ask("app-test")
    cookies = [(b"Set-Cookie", b"a=1; Domain=app.test"), (b"SET-COOKIE", b"b=2; Domain=test")]
    head = AnswerHead(1, cookies, 200, b"OK")
    rule.answer(asked, head)
    assert head.fields == [(b"Set-Cookie", b"a=1"), (b"SET-COOKIE", b"b=2")]


@pytest.mark.parametrize("host", ["", "a b", "x\xff.example", "example.org/", "a:b", "[::1"])
def test_without_the_gateways_word_only_host_is_changed(host: str) -> None:
    rule, asked, sent = ask("app-test", ("Origin", "https://example.org"))
    for head in (asked, sent):
        head.set(b"X-Forwarded-Host", host.encode("latin-1"))
    rule.request(sent)
    assert sent.value(b"origin") == b"https://example.org"
    answer = AnswerHead(1, [(b"Location", b"http://app.test/")], 302, b"Found")
    rule.answer(asked, answer)
    assert answer.fields == [(b"Location", b"http://app.test/")]


@given(st.binary(max_size=200).map(lambda data: data.translate(None, b"\r\n\0").strip(b" \t")))
def test_heads_stay_heads(value: bytes) -> None:
    """No value, whatever it is, makes another field, or a head that is not read again."""
    rule, asked, sent = ask("app-test")
    names = (b"Origin", b"Referer", b"Location", b"Refresh", b"Link", b"Set-Cookie")
    for name in names:
        sent.set(name, value)
    answer = AnswerHead(1, [(name, value) for name in names], 200, b"OK")
    rule.request(sent)
    rule.answer(asked, answer)
    assert [name for name, _ in answer.fields] == list(names)
    assert not any(b"\r" in each or b"\n" in each for _, each in answer.fields + sent.fields)
    if all((byte >= 0x20 and byte != 0x7F) or byte == 9 for byte in value):
        assert maybe_answer(answer.serialize()) is not None
        assert maybe_request(sent.serialize()) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Link", '"\\' * 30_000),
        ("Link", "<" * 60_000),
        ("Refresh", "0" + " " * 60_000),
        ("Refresh", "0;'" + "' " * 30_000),
        ("Location", "http://" + "a" * 60_000),
        ("Location", "//" + ":" * 60_000),
        ("Set-Cookie", "a=b" + ";" * 60_000),
    ],
)
def test_long_values_take_no_long_time(name: str, value: str) -> None:
    began = time.process_time()
    answered("app-test", name, value)
    assert time.process_time() - began < 0.2


def test_which_host_is_wanted() -> None:
    assert wanted_host("keep", 80, tls=False) == ""
    assert wanted_host("rewrite", 80, tls=False) == "localhost"
    assert wanted_host("rewrite", 443, tls=True) == "localhost"
    assert wanted_host("rewrite", 443, tls=False) == "localhost:443"
    assert wanted_host("rewrite", 8000, tls=False) == "localhost:8000"
    assert wanted_host("app.test:81", 8000, tls=False) == "app.test:81"


@pytest.mark.parametrize("value", ["keep", "rewrite", "app.test", "app.test:8080", "[::1]:80"])
def test_what_host_header_takes(value: str) -> None:
    check_host_header(value)


@pytest.mark.parametrize(
    "value", ["", "a b", "a\r\nb: c", "http://a", "a:b", "\xfc.test", "a" * 300]
)
def test_what_host_header_does_not_take(value: str) -> None:
    with pytest.raises(UsageError):
        check_host_header(value)


# -- where Host is the visitor's own

OWN = Sites(
    http=Site("", 80),
    others={
        "3000": Site("3000", 3000),
        "app-test": APP_SITE,
        "calm": Site("calm", 80, host=PUBLIC),
    },
)


def kept(
    field: str,
    value: str,
    *,
    scheme: str = "https",
    secure: str = SECURE_URL,
    plain: str = f"http://{PUBLIC}/",
) -> str:
    """What a visitor of the main site gets, whose server is sent the visitor's Host. `secure` and
    `plain` are the share's URLs."""
    rule = Redirects(OWN.find("", 80), Places(OWN, MACHINE), NAME, secure, plain)
    host = (secure if scheme == "https" else plain).split("/")[2]
    head = [("Host", host), ("X-Forwarded-Proto", scheme), ("X-Forwarded-Host", host)]
    asked = RequestHead(1, [(a.encode(), b.encode()) for a, b in head], b"GET", b"/")
    sent = RequestHead(1, list(asked.fields), b"GET", b"/")
    assert rule.request(sent) is None
    assert sent.fields == asked.fields
    answer = AnswerHead(1, [(field.encode(), value.encode())], 302, b"Found")
    rule.answer(asked, answer)
    ((name, changed),) = answer.fields
    assert name == field.encode()
    return changed.decode()


def test_a_redirect_to_a_virtual_host_is_brought_back_though_host_is_kept() -> None:
    assert kept("Location", "http://app.test/a?b#c") == f"https://{APP}/a?b#c"
    assert kept("location", "http://app.test/", scheme="http") == f"http://{APP}/"
    assert kept("location", "https://app.test/", scheme="http") == f"https://{APP}/"
    assert kept("location", "https://app.test/", scheme="http", secure="") == f"http://{APP}/"
    assert kept("Refresh", "3; url=//app.test/") == f"3; url=//{APP}/"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Location", "/login"),
        ("Location", "http://app.test:8080/"),
        ("Location", "http://www.app.test/"),
        ("Location", "http://localhost/"),  # no virtual host
        ("Location", "http://192.168.33.10:3000/"),
        ("Location", f"https://{PUBLIC}/"),  # a server that is configured with the public name
        ("Location", f"http://{PUBLIC.upper()}/"),
        ("Set-Cookie", "a=b; Domain=app.test"),
        ("Link", "<http://app.test/>; rel=next"),
        ("Content-Location", "http://app.test/"),
        ("Access-Control-Allow-Origin", "http://app.test"),
    ],
)
def test_all_else_is_kept(field: str, value: str) -> None:
    assert kept(field, value) == value


@pytest.mark.parametrize(
    ("url", "scheme", "expected"),
    [
        # A relay at one port for both, an nginx at port 80, and one at 3000.
        (f"http://{PUBLIC}/a/", "https", f"https://{PUBLIC}:7443/a/"),
        (f"http://{PUBLIC}/a/", "http", f"http://{PUBLIC}:7443/a/"),
        (f"http://{PUBLIC}:3000/a", "https", f"https://{NAME}--3000.example:7443/a"),
        (f"http://{PUBLIC}:80/a/?b#c", "http", f"http://{PUBLIC}:7443/a/?b#c"),
        (f"http://{PUBLIC}:8888/", "http", f"http://{PUBLIC}:7443/"),  # forwarded
        # What leads to a site, and what is none of the machine's.
        (f"http://{PUBLIC}:7443/", "https", f"http://{PUBLIC}:7443/"),
        (f"https://{PUBLIC}:7443/", "http", f"https://{PUBLIC}:7443/"),
        (f"http://{PUBLIC}:9/", "http", f"http://{PUBLIC}:9/"),
        (f"//{PUBLIC}:3000/", "http", f"//{PUBLIC}:3000/"),
        (f"http://{APP}/", "http", f"http://{APP}/"),
    ],
)
def test_the_servers_port_under_the_visitors_host_leads_to_the_site(
    url: str, scheme: str, expected: str
) -> None:
    secure, plain = (f"{each}://{PUBLIC}:7443/" for each in ("https", "http"))
    assert kept("Location", url, scheme=scheme, secure=secure, plain=plain) == expected


def test_only_where_there_is_something_to_mend_is_there_anything_to_look_for() -> None:
    report = Report(Listening())
    found = Found(MACHINE, report, OWN)
    rules = site_rules(found, Access(), NAME, "", "http://x/")
    assert {site.label: [type(each) for each in rules[site]] for site in OWN.all()} == {
        "": [Redirects],
        "3000": [Redirects],
        "app-test": [Rewriting],
        "calm": [Rewriting],
    }
    alone = Sites(Site("", 80, says_port=True), None, {"3000": Site("3000", 3000)})
    for url, kinds in (
        ("http://x/", []),
        ("http://x:80/", []),
        ("", []),
        ("http://x:7443/", [Redirects]),
    ):
        rules = site_rules(Found(MACHINE, report, alone), Access(), NAME, "https://x:7443/", url)
        assert [[type(each) for each in some] for some in rules.values()] == [kinds, []]
