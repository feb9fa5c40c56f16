from __future__ import annotations

import pytest

from tunnel.errors import UsageError
from tunnel.proxy import Proxy, configured, is_exempt, parse_proxy, proxy_for


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, None),
        ({"https_proxy": ""}, None),
        ({"http_proxy": "http://a:1"}, None),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, "a"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, "b"),
        ({"HTTPS_PROXY": "http://b:1", "all_proxy": "http://c:1"}, "b"),
        ({"all_proxy": "http://c:1", "ALL_PROXY": "http://d:1"}, "c"),
        ({"ALL_PROXY": "http://d:1"}, "d"),
    ],
)
def test_curls_precedence(environ: dict[str, str], host: str | None) -> None:
    found = configured(environ)
    assert (found and found.host) == host


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://proxy:3128", ("http", "proxy", 3128, "", "")),
        ("http://proxy:3128/", ("http", "proxy", 3128, "", "")),
        ("proxy.example", ("http", "proxy.example", 1080, "", "")),
        ("HTTP://[2001:db8::1]:3128", ("http", "2001:db8::1", 3128, "", "")),
        ("http://bob:se%40same@proxy:1", ("http", "proxy", 1, "bob", "se@same")),
        ("http://bob:a@b@proxy:1", ("http", "proxy", 1, "bob", "a@b")),
        ("http://bob:p/a#s?s@proxy:1", ("http", "proxy", 1, "bob", "p/a#s?s")),
        ("http://bob@proxy:1", ("http", "proxy", 1, "bob", "")),
        ("socks5h://bob:sesame@10.0.0.1", ("socks5h", "10.0.0.1", 1080, "bob", "sesame")),
        ("socks5://proxy:9050", ("socks5", "proxy", 9050, "", "")),
    ],
)
def test_urls(url: str, expected: tuple[str, str, int, str, str]) -> None:
    proxy = parse_proxy(url, "https_proxy")
    assert (proxy.scheme, proxy.host, proxy.port, proxy.user, proxy.password) == expected
    for shown in (str(proxy), repr(proxy)):
        assert not proxy.password or proxy.password not in shown.replace("proxy", "")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://proxy:443", "is itself reached by TLS"),
        ("socks4://proxy:1", "unknown kind: socks4://"),
        ("ftp://proxy", "unknown kind"),
        ("http://", "HOST:PORT"),
        ("http://proxy:0", "HOST:PORT"),
        ("http://proxy:99999", "HOST:PORT"),
        ("http://proxy:3128/path", "HOST:PORT"),
        ("http://bob:s3cret/word:proxy:1", "HOST:PORT"),
        ("http://bob:s3cret@", "HOST:PORT"),
        ("http://bob:s3cret@pro xy:1", "HOST:PORT"),
        ("http://bob:s3cret\r\nX: y@proxy:1", "does not name a proxy"),
        ("x" * 3000, "does not name a proxy"),
        ("socks5://bob@proxy:1", "without a password"),
        (f"socks5://bob:{'s3cret' * 50}@proxy:1", "more than 255 bytes"),
    ],
)
def test_what_names_no_proxy_is_refused_without_showing_it(url: str, text: str) -> None:
    with pytest.raises(UsageError, match=text) as caught:
        parse_proxy(url, "HTTPS_PROXY")
    assert "HTTPS_PROXY" in caught.value.text
    assert caught.value.hint
    assert "s3cret" not in caught.value.text + caught.value.hint


@pytest.mark.parametrize(
    ("host", "listed", "exempt"),
    [
        ("relay.example.org", "", False),
        ("relay.example.org", "*", True),
        ("relay.example.org", "a, *", True),
        ("relay.example.org", "relay.example.org", True),
        ("Relay.Example.org.", "relay.example.ORG", True),
        ("relay.example.org", "example.org", True),
        ("relay.example.org", ".example.org", True),
        ("relay.example.org", "a.test  b.test,example.org", True),
        ("relay.example.org", "ample.org", False),
        ("relay.example.org", "www.relay.example.org", False),
        ("relay.example.org", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "11.0.0.0/8,2001:db8::/32", False),
        ("10.1.2.3", "2.3", False),
        ("2001:db8::5", "2001:db8::/32", True),
        ("2001:db8::5", "[2001:db8::5]", True),
        ("fe80::1%eth0", "fe80::/10", True),
        ("localhost", "", True),
        ("frosty.LOCALHOST", "", True),
        ("127.9.9.9", "", True),
        ("::1", "", True),
        ("notlocalhost", "", False),
    ],
)
def test_exemptions(host: str, listed: str, exempt: bool) -> None:
    assert is_exempt(host, {"no_proxy": listed}) is exempt
    assert is_exempt(host, {"NO_PROXY": listed, "no_proxy": ""}) is exempt


def test_an_exempt_host_does_not_mind_a_bad_url() -> None:
    environ = {"https_proxy": "ftp://x"}
    assert proxy_for("127.0.0.1", environ) is None
    with pytest.raises(UsageError):
        proxy_for("192.0.2.1", environ)
    environ = {"https_proxy": "http://p:1", "no_proxy": "other"}
    assert proxy_for("192.0.2.1", environ) == Proxy("http", "p", 1, source="https_proxy")
