"""What is asked of the DNS, and what of its answers is believed."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import dns.message
import dns.rcode
import dns.resolver
import pytest

from relay.own_domains import lookup
from relay.own_domains.lookup import MAX_ANSWER, Lookup, UnansweredError
from tests.loops import Factory, both_loops, run
from tests.relay.own_domains.dns_server import Answers, answer, dns_server, truncated

NAME = "_vshare-challenge.app.example.com"
TXT = f'{NAME}. 60 IN TXT "vshare-own-" "domain=abc"'
PROVEN = frozenset({"vshare-own-domain=abc"})


def ask(answers: Answers) -> frozenset[str] | UnansweredError:
    """What comes of it."""
    found: list[frozenset[str] | UnansweredError] = []

    async def main() -> None:
        async with dns_server(answers) as port:
            try:
                found.append(await Lookup([("127.0.0.1", port)]).texts(NAME))
            except UnansweredError as error:
                found.append(error)

    run(main)
    return found[0]


def over_udp(*records: str, rcode: int = 0) -> Answers:
    return lambda query, is_tcp: [answer(query, *records, rcode=rcode).to_wire()]


@both_loops
def test_a_record(factory: Factory) -> None:
    async def main() -> None:
        async with dns_server(over_udp(TXT, f'{NAME}. 60 IN TXT "other"')) as port:
            found = await Lookup([("127.0.0.1", port)]).texts(NAME)
            assert found == PROVEN | {"other"}

    run(main, factory)


def test_no_record_and_no_such_name() -> None:
    assert ask(over_udp()) == frozenset()
    assert ask(over_udp(rcode=dns.rcode.NXDOMAIN)) == frozenset()


def test_what_is_elsewhere_is_not_taken_for_it() -> None:
    """A wildcard CNAME leads the challenge's name to a place where others may write."""
    elsewhere = f"{NAME}. 60 IN CNAME theirs.example.net."
    theirs = 'theirs.example.net. 60 IN TXT "vshare-own-domain=abc"'
    assert ask(over_udp(elsewhere, theirs)) == frozenset()
    assert ask(over_udp(theirs)) == frozenset()
    assert ask(over_udp(f"{NAME}. 60 IN A 192.0.2.1")) == frozenset()


def test_what_does_not_fit_is_asked_for_with_tcp() -> None:
    def answers(query: dns.message.QueryMessage, is_tcp: bool) -> list[bytes]:
        return [answer(query, TXT).to_wire() if is_tcp else truncated(query)]

    assert ask(answers) == PROVEN


def test_what_is_huge_is_not_read() -> None:
    def answers(query: dns.message.QueryMessage, is_tcp: bool) -> list[bytes]:
        many = [f'{NAME}. 60 IN TXT "{number:0200}"' for number in range(MAX_ANSWER // 200)]
        return [answer(query, TXT, *many).to_wire(max_size=65_535) if is_tcp else truncated(query)]

    error = ask(answers)
    assert isinstance(error, UnansweredError)
    assert "an answer of 4" in error.text


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_resolver_that_does_not_know_proves_nothing(code: int) -> None:
    error = ask(over_udp(TXT, rcode=code))
    assert isinstance(error, UnansweredError)
    assert dns.rcode.to_text(dns.rcode.Rcode(code)) in error.text


def test_answers_to_what_was_not_asked_are_passed_over() -> None:
    def answers(query: dns.message.QueryMessage, is_tcp: bool) -> list[bytes]:
        right = answer(query, TXT)
        forged = answer(query, f'{NAME}. 60 IN TXT "forged"')
        forged.id ^= 1
        other = answer(dns.message.make_query("other.example", "TXT", id=query.id))
        return [b"", b"\0" * 500, forged.to_wire(), other.to_wire(), right.to_wire()]

    assert ask(answers) == PROVEN


def test_with_tcp_an_answer_to_another_question_is_none() -> None:
    def answers(query: dns.message.QueryMessage, is_tcp: bool) -> list[bytes]:
        other = dns.message.make_query("other.example", "TXT", id=query.id)
        return [answer(other, TXT).to_wire() if is_tcp else truncated(query)]

    assert isinstance(ask(answers), UnansweredError)


def test_one_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "ASK_WITHIN", 0.02)

    async def main() -> None:
        async with (
            dns_server(lambda query, is_tcp: []) as silent,
            dns_server(lambda query, is_tcp: [] if is_tcp else [truncated(query)]) as slow,
            dns_server(over_udp(TXT)) as good,
        ):
            places = [("127.0.0.1", port) for port in (silent, slow, good)]
            with pytest.raises(UnansweredError, match="does not answer"):
                await Lookup(places[:2]).texts(NAME)
            monkeypatch.setattr(lookup, "ASK_WITHIN", 3.0)
            assert await Lookup(places[2:]).texts(NAME) == PROVEN

    run(main)


def test_the_next_one_is_asked() -> None:
    async def main() -> None:
        refused = over_udp(rcode=dns.rcode.REFUSED)
        async with dns_server(refused) as other, dns_server(over_udp(TXT)) as port:
            places = [("127.0.0.1", other), ("127.0.0.1", port)]
            assert await Lookup(places).texts(NAME) == PROVEN

    run(main)


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", none)
    with pytest.raises(UnansweredError, match="there is no resolver"):
        asyncio.run(Lookup().texts(NAME))


def test_nonsense_where_the_systems_resolvers_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "resolv.conf"
    settings.write_text("nameserver nonsense\n")
    resolver = functools.partial(dns.resolver.Resolver, str(settings))
    monkeypatch.setattr(dns.resolver, "Resolver", resolver)

    async def main() -> None:
        with pytest.raises(UnansweredError):
            await Lookup().texts("example.com")

    run(main)
