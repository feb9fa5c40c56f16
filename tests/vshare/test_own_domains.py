"""What a sharer is told of domains of his own."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel import control
from tunnel.control import OwnDomainState, OwnDomainStates, Registered
from tunnel.errors import UsageError
from tunnel.own_domains import OwnDomain, challenge_value
from vshare.news import News, Newsroom
from vshare.options import Options
from vshare.own_domains import NOT_OFFERED, OwnDomains, records_of
from vshare.several import _check

HOST, OTHER = OwnDomain("app.example.com"), OwnDomain("www.example.com")
KEY = Ed25519PrivateKey.generate()


def registered(*, offered: bool = True, port: str = "") -> Registered:
    url = f"https://shop.relay.example{port}/"
    return Registered(
        "shop", "relay.example", "http://shop.relay.example/", url, 60.0, own_domains=offered
    )


def begun(own: OwnDomains) -> list[News]:
    news: list[News] = []
    newsroom = Newsroom()
    newsroom.subscribe(news.append)
    own.begin(newsroom)
    return news


def told(**state: Any) -> News:
    """What is said of one state."""
    own = OwnDomains([HOST])
    own.wanted(KEY, registered())
    own.heard(OwnDomainStates([OwnDomainState(HOST, **state)]))
    (news,) = begun(own)
    assert news.kind == "own-domain"
    return news


def test_what_is_asked_for() -> None:
    own = OwnDomains([HOST, OTHER])
    assert own.wanted(KEY, registered()) == control.OwnDomains([HOST, OTHER])
    assert OwnDomains([]).wanted(KEY, registered()) is None


def test_the_records_are_for_the_shares_key() -> None:
    news = told(state="unproven")
    key_hash = hashlib.sha256(KEY.public_key().public_bytes_raw()).digest()
    assert records_of(news.fields) == [
        f'_vshare-challenge.app.example.com. TXT "{challenge_value(key_hash, HOST)}"',
        "app.example.com. CNAME shop.relay.example. (or the relay's A and AAAA, where none can be)",
    ]
    assert not news.warning
    assert not records_of(told(state="good", certificate="authority").fields)


@pytest.mark.parametrize(
    ("state", "text", "warning"),
    [
        ({"state": "good", "certificate": "authority"}, "leads here", False),
        ({"state": "good", "certificate": "self-made", "text": "x y"}, "warn of its", True),
        ({"state": "good", "certificate": "share"}, "leads here", False),
        ({"state": "unanswered"}, "does not answer", True),
        ({"state": "taken"}, "another share's", True),
        ({"state": "refused", "text": "it is the relay's"}, "it is the relay's", True),
        ({"state": "of a later version"}, "not known", True),
    ],
)
def test_each_state_is_a_sentence(state: dict[str, str], text: str, warning: bool) -> None:
    news = told(**state)
    assert text in news.text
    assert news.warning is warning


def test_only_what_changes_is_told_and_nothing_before_somebody_listens() -> None:
    own = OwnDomains([HOST, OTHER])
    own.wanted(KEY, registered(port=":7443"))
    good = OwnDomainState(HOST, "good", "authority")
    own.heard(OwnDomainStates([OwnDomainState(HOST, "unproven")]))
    own.heard(OwnDomainStates([good, OwnDomainState("of.nobody", "good")]))
    news = begun(own)
    own.heard(OwnDomainStates([good, OwnDomainState(OTHER, "unproven")]))
    own.heard(OwnDomainStates([good, OwnDomainState(OTHER, "unproven")]))
    assert [(each.fields["domain"], each.fields["state"]) for each in news] == [
        (HOST, "good"),
        (OTHER, "unproven"),
    ]
    assert own.rows[0].url == "https://app.example.com:7443/"


def test_a_relay_that_has_none() -> None:
    own = OwnDomains([HOST])
    assert own.wanted(KEY, registered(offered=False)) is None
    (news,) = begun(own)
    assert NOT_OFFERED in news.text
    assert news.warning


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (Options(own_domains=(HOST,)), "without --name"),
        (Options(own_domains=(HOST,), name="shop", http=False), "--disable-http"),
        (Options(own_domains=(HOST,), name="shop", lan=True), "--lan"),
        (Options(own_domains=(HOST,) * 9, name="shop"), "more than 8"),
    ],
)
def test_what_cannot_be_meant(options: Options, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        options.check()
    Options(own_domains=(HOST,), name="shop").check()


def test_a_domain_leads_to_one_machine() -> None:
    each = [Options(machine=name, own_domains=(HOST,), name="shop") for name in ("web", "db")]
    with pytest.raises(UsageError, match="one machine"):
        _check(each)
