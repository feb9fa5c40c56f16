from __future__ import annotations

import base64
import json

import pytest

from tests.vshare.web.requests import BROWSER, Clock, refused, request, value
from tunnel.http_heads import RequestHead
from vshare.web.access import Addresses, BasicAuth, credentials_of
from vshare.web.access_setup import parse_network
from vshare.web.rules import Rule
from vshare.web.tries import Tries


def addresses(allow: str = "", deny: str = "") -> Addresses:
    return Addresses(map(parse_network, allow.split()), map(parse_network, deny.split()))


@pytest.mark.parametrize(
    ("allow", "deny", "address", "may"),
    [
        ("203.0.113.0/24", "", "203.0.113.7", True),
        ("203.0.113.0/24", "", "203.0.114.7", False),
        ("203.0.113.0/24 2001:db8::/32", "", "2001:db8::7", True),
        ("203.0.113.7", "", "203.0.113.7", True),
        ("", "203.0.113.0/24", "203.0.113.7", False),
        ("", "203.0.113.0/24", "198.51.100.1", True),
        ("", "203.0.113.0/24", "2001:db8::7", True),
        ("203.0.113.0/24", "203.0.113.7", "203.0.113.8", True),
        ("203.0.113.7", "203.0.113.0/24", "203.0.113.7", False),  # deny comes first
        ("203.0.113.0/24", "", "::ffff:203.0.113.7", True),
        ("", "203.0.113.0/24", "::ffff:203.0.113.7", False),
        ("", "::ffff:203.0.113.0/120", "203.0.113.7", False),
        ("::/0", "", "203.0.113.7", False),
        ("0.0.0.0/0 ::/0", "", "nowhere", False),
        ("", "203.0.113.0/24", None, False),
    ],
)
def test_which_addresses_may_come(allow: str, deny: str, address: str | None, may: bool) -> None:
    answer = addresses(allow, deny).request(request(address=address))
    assert (answer is None) is may


def test_who_may_not_come_is_told_by_what_address() -> None:
    reply = refused(addresses("10.0.0.0/8").request(request(more=BROWSER)))
    assert (reply.status, reply.reason) == (403, "Forbidden")
    assert b"<p>You come from 203.0.113.7.</p>" in reply.body
    assert value(reply, b"Content-Type") == b"text/html; charset=utf-8"
    upgrade = BROWSER | {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert value(
        refused(addresses("10.0.0.0/8").request(request(more=upgrade))), b"Content-Type"
    ) == (b"text/plain; charset=utf-8")


def basic(user: str = "ada", password: str = "correct horse") -> BasicAuth:
    return BasicAuth(user, password, "frosty-weasel-0857", Tries(Clock()))


def login(credentials: str | bytes, scheme: str = "Basic") -> RequestHead:
    data = credentials if isinstance(credentials, bytes) else credentials.encode()
    return request(more={"Authorization": f"{scheme} {base64.b64encode(data).decode()}"})


def test_who_has_no_password_is_asked_for_it() -> None:
    reply = refused(basic().request(request(more={"Accept": "application/json"})))
    assert reply.status == 401
    challenge = b'Basic realm="frosty-weasel-0857", charset="UTF-8"'
    assert value(reply, b"WWW-Authenticate") == challenge
    assert json.loads(reply.body)["status"] == 401


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic  "])
def test_who_has_it_comes_in_and_the_machine_does_not_see_it(scheme: str) -> None:
    head = login("ada:correct horse", scheme)
    assert basic().request(head) is None
    assert head.value(b"authorization") is None
    assert head.value(b"host")


def test_passwords_have_any_characters() -> None:
    """Typed on any keyboard: one way to compose an accent is as good as the other."""
    assert basic("ad\u00e9", "gr\u00fc\u00dfe:\u20ac").request(
        login("ade\u0301:gru\u0308\u00dfe:\u20ac")
    ) is None  # fmt: skip


@pytest.mark.parametrize(
    "credentials", ["ada:wrong", "ada:", ":", "", "ada", "ADA:correct horse", b"ada:\xff"]
)
def test_wrong_ones(credentials: str | bytes) -> None:
    head = login(credentials)
    reply = refused(basic().request(head))
    assert reply.status == 401
    assert b"wrong" not in reply.body


@pytest.mark.parametrize("scheme", ["Bearer", "Digest", "BasicX", "", "Basic,"])
def test_other_schemes(scheme: str) -> None:
    assert refused(basic().request(login("ada:correct horse", scheme))).status == 401


def test_two_fields_are_none() -> None:
    head = login("ada:correct horse")
    head.fields.append(head.fields[1])
    assert credentials_of(head) is None


@pytest.mark.parametrize("token", ["YWRhOm", "YWRhOmI=\u00e9", "YWRh:OmI=", "YWRhOmI=Yg==", ""])
def test_tokens_are_read_strictly(token: str) -> None:
    assert credentials_of(request(more={"Authorization": f"Basic {token}"})) in (None, "")


def test_passwords_cannot_be_tried_without_end() -> None:
    rule = basic()
    statuses = [refused(rule.request(login(f"ada:{i}"))).status for i in range(20)]
    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    reply = refused(rule.request(login("ada:correct horse")))
    assert (reply.status, value(reply, b"Retry-After")) == (429, b"60")


def test_no_password_is_no_try() -> None:
    rule = basic()
    for _ in range(100):
        assert refused(rule.request(request())).status == 401
    assert rule.request(login("ada:correct horse")) is None


def test_they_are_rules() -> None:
    rules: list[Rule] = [basic(), addresses("10.0.0.0/8")]
    assert len(rules) == 2
