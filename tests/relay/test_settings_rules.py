from pathlib import Path

import pytest

from relay.accounts.limits import NO_LIMIT, UNLIMITED, Limits, parse_size
from relay.config import LETS_ENCRYPT
from relay.settings_rules import config_of, is_open, problems_of, shared_domain
from tests.relay.settings_values import values
from tunnel.errors import UsageError


def test_the_relay_that_settings_make(tmp_path: Path) -> None:
    said = values(
        listen=("0.0.0.0:443", "[::]:0"),
        domain="Shares.Example.",
        pages_host="Pages.example",
        acme="op@shares.example",
        public_port=444,
    )
    config = config_of(said, tmp_path)
    assert (config.host, config.port, config.more_places) == ("0.0.0.0", 443, (("::", 0),))
    assert (config.domain, config.pages_host) == ("shares.example", "pages.example")
    assert config.acme is not None
    assert config.acme.server == LETS_ENCRYPT
    assert (config.public_port, config.accounts, config.state_dir) == (444, True, tmp_path)


def test_limits_are_as_a_token_has_them(tmp_path: Path) -> None:
    assert config_of(values(), tmp_path).limits == UNLIMITED
    said = values(streams=5, bandwidth=parse_size("5M"), guests=NO_LIMIT)
    limits = config_of(said, tmp_path).limits
    assert limits == Limits(streams=5, bandwidth=5_000_000, guests=NO_LIMIT)


def test_where_the_pages_may_not_be() -> None:
    assert not list(problems_of(values(domain="shares.example", pages_host="pages.example")))
    for host in ("b.c", "a.b.c", "x.a.b.c"):
        (problem,) = problems_of(values(domain="a.b.c", pages_host=host))
        assert "the domain of the shares, a.b.c" in problem.text
        with pytest.raises(UsageError, match=r"the domain of the shares, a\.b\.c"):
            config_of(values(domain="a.b.c", pages_host=host), Path())


def test_all_that_is_wrong_is_told() -> None:
    said = values(listen=("nowhere:port",), key=Path("k"), acme="me", acme_server="http://ca")
    names = [problem.name for problem in problems_of(said)]
    assert names == ["listen", "key", "acme-server", "acme", "domain"]
    assert all(problem.hint for problem in problems_of(said))


def test_what_a_cookie_for_the_shares_would_reach() -> None:
    assert shared_domain("pages.example.org", "shares.example.org") == "example.org"
    assert shared_domain("pages.a.example.org", "b.example.org") == "example.org"
    for host in ("pages.example.net", "example.com", "org", ""):
        assert not shared_domain(host, "shares.example.org")


def test_a_relay_for_more_than_this_host_is_not_open_by_itself() -> None:
    assert is_open(values(listen=("127.0.0.1:1", "[::1]:80", "localhost:1")))
    for host in ("0.0.0.0", "[::]", "192.0.2.1", "127.example.org", "relay.example.org"):
        assert not is_open(values(listen=(f"{host}:1",)))
        assert not is_open(values(listen=("127.0.0.1:1", f"{host}:443")))
        assert is_open(values(listen=(f"{host}:1",), open=True))
