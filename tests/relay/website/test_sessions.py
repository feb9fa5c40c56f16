import secrets

import msgspec

from relay.website.sealed import Seal
from relay.website.sessions import IDLE, ONCE_WITHIN, RENEW, SKEW, Session, Sessions
from relay.website.sign_outs import LASTS, SignOuts

KEY = bytes(32)


class Relay:
    """The sessions of one; `clock` is all relays'."""

    def __init__(self, clock: list[float], key: bytes = KEY) -> None:
        self.sign_outs = SignOuts(lambda: clock[0])
        seal = Seal(key, secrets.token_bytes)
        self.sessions = Sessions(seal, self.sign_outs, secrets.token_bytes, lambda: clock[0])

    def find(self, cookie: str) -> Session | None:
        return self.sessions.find(cookie, lambda token: True)


def test_a_session_is_found_by_its_cookie_and_ends() -> None:
    relay = Relay([1e6])
    begun = relay.sessions.begin("token")
    cookie = relay.sessions.cookie(begun)
    found = relay.find(cookie)
    assert found is not None
    assert (found.token, found.csrf, found.id) == ("token", begun.csrf, begun.id)
    assert "token" not in cookie
    assert begun.csrf not in repr(begun)
    for other in ("", begun.id, begun.csrf, "\ud800", "ü", cookie[:-2], cookie + "AAAA"):
        assert relay.find(other) is None
    relay.sessions.end(found)
    relay.sessions.end(found)
    assert relay.find(cookie) is None
    another = relay.sessions.begin("token")
    assert (another.id, another.csrf) != (begun.id, begun.csrf)


def test_it_is_good_at_all_relays_with_one_key_and_its_end_is() -> None:
    clock = [1e6]
    one, two, stranger = Relay(clock), Relay(clock), Relay(clock, b"x" * 32)
    begun = one.sessions.begin("token")
    cookie = one.sessions.cookie(begun)
    found = two.find(cookie)
    assert found is not None
    assert found.csrf == begun.csrf
    assert stranger.find(cookie) is None
    two.sessions.end(found)
    one.sign_outs.hear(two.sign_outs.rows())
    assert one.find(cookie) is two.find(cookie) is None


def test_who_does_nothing_is_out_and_so_is_everybody_in_the_end() -> None:
    clock = [1e6]
    relay = Relay(clock)
    begun = relay.sessions.begin("token")
    first = cookie = relay.sessions.cookie(begun)
    assert not relay.sessions.click(begun)  # just now: the cookie stays as it is
    for _ in range(int(LASTS / (IDLE - 1))):
        clock[0] += IDLE - 1
        found = relay.find(cookie)
        assert found is not None
        assert relay.sessions.click(found)
        cookie = relay.sessions.cookie(found)
    assert relay.find(first) is None  # replayed: nobody has clicked with that
    assert relay.sessions.lasts(begun) < IDLE
    clock[0] += IDLE - 1
    assert relay.find(cookie) is None
    assert relay.sessions.lasts(begun) == 0
    assert RENEW < IDLE


def test_a_session_ends_with_its_token() -> None:
    relay = Relay([1e6])
    cookie = relay.sessions.cookie(relay.sessions.begin("token"))
    assert relay.sessions.find(cookie, lambda token: token != "token") is None


def test_what_is_sealed_for_something_else_is_no_session() -> None:
    relay, seal = Relay([1e6]), Seal(KEY, secrets.token_bytes)
    begun = relay.sessions.begin("token")
    begun.fresh["said"] = "done"
    assert relay.find(relay.sessions.once(begun)) is None
    for said in (b"", b"[]", b"{}", b"\xff", msgspec.json.encode([1, 2, 3, 4, 5])):
        assert relay.find(seal.close("session", said)) is None
    ahead = msgspec.json.encode(["id", "token", "csrf", 1e6, 1e6 + SKEW + 1])
    assert relay.find(seal.close("session", ahead)) is None


def test_what_is_shown_once_is_the_next_pages_of_that_session() -> None:
    clock = [1e6]
    one, two = Relay(clock), Relay(clock)
    begun, other = one.sessions.begin("token"), one.sessions.begin("token")
    begun.fresh = {"token": "vsr_secret"}
    once = one.sessions.once(begun)
    assert "secret" not in once + repr(begun)
    assert two.sessions.fresh(begun, once) == begun.fresh
    assert two.sessions.fresh(other, once) == {}
    assert two.sessions.fresh(begun, one.sessions.cookie(begun)) == {}
    assert two.sessions.fresh(begun, "") == {}
    clock[0] += ONCE_WITHIN
    assert two.sessions.fresh(begun, once) == {}
