from tunnel.source import is_loopback, site_of, source_of


def test_sources() -> None:
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8:1:2:3::4") == source_of("2001:db8:1:2:ffff::1")
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("fe80::1%eth0") == "fe80::/64"
    assert source_of("whatever the relay says") == "whatever the relay says"


def test_sites() -> None:
    one, other = source_of("2001:db8:1:2::1"), source_of("2001:db8:1:3::1")
    assert one != other
    assert site_of(one) == site_of(other) == "2001:db8:1::/48"
    assert site_of("192.0.2.1") == "192.0.2.1"
    assert site_of("whatever") == "whatever"


def test_loopback() -> None:
    assert is_loopback(source_of("127.0.0.1"))
    assert is_loopback(source_of("::1"))
    assert not is_loopback(source_of("192.0.2.1"))
    assert not is_loopback(source_of("2001:db8::1"))
