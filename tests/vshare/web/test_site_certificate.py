"""The certificate that browsers see whose TLS ends at the share."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from tests.loops import run
from tests.relay.blind_share import NAME, blind_share
from tests.relay.test_tls_scan import FIT_SUITES, WEAK_SUITES, is_agreed, s_client
from tunnel.browser_tls import self_signed
from tunnel.errors import UsageError, VshareError
from tunnel.identity import make_key, private_pem
from tunnel.names import ShareName
from vshare.options import PassthroughOptions
from vshare.web.site_certificate import check_certificate, make_certificate, read_certificate
from vshare.web.sites import Site, Sites
from vshare.web.tls_door import hosts_of, make_tls_door

NOW = datetime.datetime.now(datetime.UTC)
HOSTS = ["frosty-weasel-0857.relay.example", "frosty-weasel-0857--docs.relay.example"]


def test_a_self_made_one_is_for_the_sites_and_nothing_else() -> None:
    made = make_certificate(HOSTS, NOW)
    names = made.first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == HOSTS
    assert not names.get_values_for_type(x509.IPAddress)
    assert made.is_self_made
    assert made.lacks([*HOSTS, "relay.example"]) == ["relay.example"]
    assert NOW < made.ends < NOW + datetime.timedelta(days=100)
    made.context()
    assert made.key.decode() not in repr(made)
    assert len(made.fingerprint) == 64
    constraints = made.first.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    assert make_certificate(HOSTS, NOW).fingerprint != made.fingerprint


def test_hosts_that_are_none() -> None:
    """The domain is the relay's word."""
    with pytest.raises(VshareError, match="no certificate can be made"):
        make_certificate(["frosty-weasel-0857.bücher.example"], NOW)


def test_a_wildcard_covers_one_label() -> None:
    made = make_certificate(["*.relay.example"], NOW)
    assert not made.lacks(HOSTS)
    assert made.lacks(["a.b.relay.example", "relay.example"])


def test_the_sharers_own_from_files(tmp_path: Path) -> None:
    made = make_certificate(HOSTS, NOW)
    chain, key, both = (tmp_path / name for name in ("cert.pem", "key.pem", "both.pem"))
    chain.write_bytes(made.chain)
    key.write_bytes(made.key)
    both.write_bytes(made.chain + made.key)
    for found in (read_certificate(chain, key), read_certificate(both, None)):
        assert found.fingerprint == made.fingerprint
        assert not found.is_self_made


@pytest.mark.parametrize("which", ["missing", "garbage", "another key", "no key"])
def test_files_that_are_of_no_use(tmp_path: Path, which: str) -> None:
    made, other = make_certificate(HOSTS, NOW), make_certificate(HOSTS, NOW)
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    if which != "missing":
        chain.write_bytes(b"garbage" if which == "garbage" else made.chain)
    key.write_bytes(other.key if which == "another key" else made.key)
    with pytest.raises(UsageError, match="cannot be used") as caught:
        read_certificate(chain, None if which == "no key" else key)
    assert "--https-cert" in caught.value.hint
    if which == "another key":
        assert "not the certificate's" in caught.value.text


def test_what_no_browser_would_take_is_refused_before_anything_is_shared(tmp_path: Path) -> None:
    made, file = make_certificate(HOSTS, NOW), tmp_path / "both.pem"
    day = datetime.timedelta(days=1)
    file.write_bytes(made.chain + made.key)
    check_certificate(file, None, NOW)
    PassthroughOptions(file).check()
    with pytest.raises(UsageError, match=r"both\.pem has expired, at \d{4}-\d\d-\d\d"):
        check_certificate(file, None, made.ends + day)
    with pytest.raises(UsageError, match="is not valid before"):
        check_certificate(file, None, NOW - 2 * day)
    key = make_key()
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    file.write_bytes(self_signed(key, [address], NOW, day) + private_pem(key))
    with pytest.raises(UsageError, match="is for no host name"):
        PassthroughOptions(file).check()


def test_hosts_of_sites() -> None:
    long = "a" * 60
    sites = Sites(Site("", 80), None, {"8080": Site("8080", 8080), long: Site(long, 81)})
    hosts = hosts_of(sites, ShareName("frosty-weasel-0857"), "relay.example")
    assert list(hosts.values()) == ["", "8080", long]
    first, second, third = hosts
    assert (first, second) == (HOSTS[0], "frosty-weasel-0857--8080.relay.example")
    assert len(third.partition(".")[0]) == 63  # the label is cut, and leads to its site


def test_the_sharer_is_warned_of_what_browsers_will_warn_of(tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    made = make_certificate(HOSTS[:1], NOW - datetime.timedelta(days=89, hours=20))
    both.write_bytes(made.chain + made.key)

    async def main() -> None:
        async with blind_share(9) as share:
            sites, domain = Sites(Site("", 80), None, {"docs": Site("docs", 81)}), "relay.example"
            share.streams.visits.sites = sites
            own = make_tls_door(PassthroughOptions(both), share.streams, NAME, domain)
            assert own is not None
            lacking, ending = own.warnings(NOW.timestamp() + 8 * 3600)
            assert HOSTS[1] in lacking
            assert HOSTS[0] not in lacking
            assert "ends at" in ending
            self_made = make_tls_door(PassthroughOptions(), share.streams, NAME, domain)
            assert self_made is not None
            assert list(self_made.hosts) == HOSTS
            assert not self_made.warnings(NOW.timestamp() + 8 * 3600)
            assert make_tls_door(None, share.streams, NAME, domain) is None

    run(main)


@pytest.mark.programs
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl(1) is not installed")
def test_what_it_agrees_to() -> None:
    async def main() -> None:
        async with blind_share(9) as share:
            port, host = share.relay.port, share.host
            for version in ("-tls1_2", "-tls1_3"):
                said = await s_client(port, host, version, "-alpn", "h2,http/1.1")
                assert is_agreed(said), said
                assert "ALPN protocol: http/1.1" in said
                assert "TLS session ticket:" not in said
            for version in ("-tls1", "-tls1_1"):
                assert not is_agreed(await s_client(port, host, version))
            for suite in WEAK_SUITES:
                said = await s_client(port, host, "-tls1_2", "-cipher", f"{suite}@SECLEVEL=0")
                assert "(NONE)" in said or "no cipher" in said, suite
            for suite in FIT_SUITES:
                assert is_agreed(await s_client(port, host, "-tls1_2", "-cipher", suite)), suite

    run(main)
