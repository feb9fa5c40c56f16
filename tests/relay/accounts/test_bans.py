import pytest

from relay.accounts.bans import Ban, Bans, Kind, parse_ban
from tunnel.errors import UsageError


def bans_of(*bans: Ban) -> Bans:
    bans_there = Bans()
    bans_there.replace(bans)
    return bans_there


def parsed(text: str) -> tuple[Kind, str]:
    return parse_ban(text, lambda token: token == "abcdefgh")


def test_networks_of_both_families_are_found_by_their_addresses() -> None:
    v4, v6, wide = (
        Ban(Kind.ADDRESS, what) for what in ("192.0.2.7/32", "2001:db8:1::/64", "198.51.100.0/24")
    )
    bans = bans_of(v4, v6, wide)
    for address, ban in (
        ("192.0.2.7", v4),
        ("::ffff:192.0.2.7", v4),
        ("192.0.2.8", None),
        ("2001:db8:1::5", v6),
        ("2001:db8:1:0:ffff::", v6),
        ("2001:db8:1:1::5", None),
        ("198.51.100.255", wide),
        ("198.51.101.0", None),
        ("fe80::1%eth0", None),
        ("no address", None),
    ):
        assert bans.of_address(address, 0.0) is ban, address


def test_bans_end_by_the_clock() -> None:
    bans = bans_of(
        Ban(Kind.ADDRESS, "192.0.2.7/32", until=10.0),
        Ban(Kind.TOKEN, "abcdefgh", until=10.0),
        Ban(Kind.NAME, "the-name"),
    )
    assert bans.of_address("192.0.2.7", 9.0)
    assert not bans.of_address("192.0.2.7", 10.0)
    assert bans.of_token("abcdefgh", 9.0)
    assert not bans.of_token("abcdefgh", 10.0)
    assert bans.of_name("the-name", 1e12)
    assert not bans.of_name("abcdefgh", 0.0)


def test_a_version_changes_with_what_is_there_and_with_nothing_else() -> None:
    bans = bans_of(Ban(Kind.NAME, "the-name"))
    before = bans.version
    bans.replace([Ban(Kind.NAME, "the-name")])
    assert bans.version == before
    bans.replace([])
    assert bans.version > before
    assert not bans.of_name("the-name", 0.0)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("192.0.2.7", (Kind.ADDRESS, "192.0.2.7/32")),
        ("192.0.2.7/24", (Kind.ADDRESS, "192.0.2.0/24")),
        ("::ffff:192.0.2.7", (Kind.ADDRESS, "192.0.2.7/32")),
        ("2001:db8::5", (Kind.ADDRESS, "2001:db8::/64")),  # it has the others, too
        ("2001:db8::/48", (Kind.ADDRESS, "2001:db8::/48")),
        ("abcdefgh", (Kind.TOKEN, "abcdefgh")),
        ("the-name", (Kind.NAME, "the-name")),
    ],
)
def test_what_somebody_means(text: str, means: tuple[Kind, str]) -> None:
    assert parsed(text) == means


@pytest.mark.parametrize("text", ["", "0.0.0.0/0", "10.0.0.0/7", "::/0", "127.0.0.1", "a", "vsr_x"])
def test_what_nobody_means(text: str) -> None:
    with pytest.raises(UsageError):
        parsed(text)


def test_who_is_banned_reads_why() -> None:
    assert Ban(Kind.TOKEN, "abcdefgh", "it sends spam").sentence == (
        "its token is banned here: it sends spam"
    )
