"""Domains of sharers' own: what they are called, and what the DNS says of them."""

from __future__ import annotations

import dns.message
import dns.name
import dns.rcode
import dns.rrset

from relay.own_domains.lookup import MAX_ANSWER, UnansweredError, parse_answer, texts_in
from relay.own_domains.rules import own_domain
from tests.fuzz.target import Target, choose, require
from tunnel.errors import UsageError
from tunnel.own_domains import MAX_HOST, challenge_name, check_host, parse_own_domain

RELAYS = ("relay.example.org", "pages.example", "")
HOST = "app.example.com"
ASKED = dns.message.make_query(f"_vshare-challenge.{HOST}", "TXT", id=1)
TYPED = (
    HOST, "App.Example.com.", "xn--mnchen-3ya.example", "m\u00fcnchen.example", "*.example.com",
    "a.relay.example.org", "example.org", "192.0.2.1", "\u0430\u0440\u0440.com", "a\u3002b",
)  # fmt: skip
WORDS = (
    b"xn--", b".", b"-", b"..", b"*.", b".relay.example.org", b"\xc3\x9f", b"\xe3\x80\x82",
    b"\xe2\x80\x8d", b"\xd8\xa7",
)  # fmt: skip


def run_domain(data: bytes) -> None:
    """What a sharer types, or what a share tells the relay."""
    which, data = choose(data)
    text = data.decode("utf-8", "surrogateescape")
    host = own_domain(text, RELAYS) if which & 1 else parse_own_domain(text)
    check_host(host)
    require(host.isascii() and host == host.lower(), "a domain is in its one form", host)
    require(parse_own_domain(host) == host, "a domain is a domain", host)
    require(0 < len(host) <= MAX_HOST and not host.endswith("."), "it has its length", host)
    asked = dns.name.from_text(challenge_name(host))
    require(len(asked.labels) == host.count(".") + 3, "its proof is where it is looked for", host)
    if which & 1:
        ours = any(own and (host == own or host.endswith(f".{own}")) for own in RELAYS)
        require(not ours, "what is the relay's is nobody's", host)


def _answer(*records: tuple[str, str]) -> bytes:
    made = dns.message.make_response(ASKED)
    name = ASKED.question[0].name.to_text()
    made.answer += [dns.rrset.from_text(name, 1, "IN", kind, data) for kind, data in records]
    return made.to_wire()


def run_answer(data: bytes) -> None:
    answer = parse_answer(data)
    if ASKED.is_response(answer) and answer.rcode() == dns.rcode.NOERROR:
        texts = texts_in(answer)
        require(sum(map(len, texts)) <= MAX_ANSWER, "no more is kept than came")


TARGETS = (
    Target(
        "own-domain", run_domain, (UsageError,),
        tuple(bytes([at]) + each.encode() for each in TYPED for at in range(2)),
        ("tunnel.own_domains", "relay.own_domains.rules"), WORDS, None, 2_000,
    ),
    Target(
        "dns-answer", run_answer, (UnansweredError,),
        (
            _answer(), _answer(("TXT", '"a" "b"'), ("TXT", '"c"')),
            _answer(("CNAME", "b.example.")), ASKED.to_wire(),
        ),
        ("relay.own_domains.lookup",), (b"\xc0\x0c", b"\0\x10\0\x01", b"\xff\xff"), None, 2_000,
    ),
)  # fmt: skip
