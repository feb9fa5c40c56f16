"""What people type, and what a relay or a share calls itself: names, codes, addresses."""

from __future__ import annotations

from collections.abc import Callable

from connect_vm.own_names import OwnNames, canonical_host
from relay.routes import parse_site, strip_port
from tests.fuzz.target import Target, choose, require
from tunnel import address, names, relay_token
from tunnel.errors import UsageError

NAME, CODE = "frosty-weasel-0857", "orange-crystal-salmon"
PIN = "#" + "a1" * 16
TYPED = (
    NAME, CODE, f"{NAME}-{CODE}", f"{NAME}@relay.example:8443{PIN}", f"{NAME}-{CODE}@[2001:db8::1]",
    "relay.example", "[::1]:443", "192.0.2.1:80", "80", "65535", "000001", "OTTER crimson  Sled",
    f"https://{NAME}.relay.example/", "a--b", "abc", "a" * 40, "tiger-" + CODE,
)  # fmt: skip
WORDS = (
    b"otter", b"-orange-crystal-salmon", b"@", b"#", b":", b"[", b"]", b"--", b".", b"://", b"/",
    "\N{ARABIC-INDIC DIGIT ONE}".encode(), "\N{NO-BREAK SPACE}".encode(), "İ".encode(),
    b"0000001", b"65536", PIN.encode(), b"\0", b"%eth0", "\u2028".encode(), b" ", b"\n",
)  # fmt: skip


def _name(text: str) -> None:
    name = names.parse_name(text)
    require(names.parse_name(name) == name, "a name is a name")
    require(name.isascii() and "." not in name, "a name is a label", name)
    require(len(names.host_label(name, text)) <= names.MAX_LABEL, "a label has its length")


def _code(text: str) -> None:
    code = names.parse_code(text)
    require(names.parse_code(code) == code, "a code is a code")
    words = code.split("-")
    require(set(words) <= set(names.code_words()), "its words are of the list", code)


def _split(text: str) -> None:
    name, code = names.split_code(text)
    again = names.split_code(f"{name}-{code}" if code else name)
    require(again == (name, code), "a name with a code is the same again", (name, code))


def _port(text: str) -> None:
    require(1 <= address.parse_port(text) <= 65_535, "a port is one")


def _relay(text: str) -> None:
    found = address.parse_relay(text)
    require(1 <= found.port <= 65_535, "a port is one")
    again = address.parse_relay(str(found))
    same = (again.host, again.port) == (found.host, found.port)
    require(same, "an address survives being written", (found, again))
    require(again.fingerprint is None or len(again.fingerprint) >= 32, "a pin has its length")


def _line(text: str) -> None:
    found = address.parse_connect_line(text)
    require(names.parse_name(found.name) == found.name, "a name is a name")


def _host(text: str) -> None:
    """No exception at all: it is asked of whatever a program names."""
    known = OwnNames(NAME, "192.0.2.1", "vm.local")
    require(known.resolve(text) in ("", text), "a host stays what it is, or is the machine")
    host = canonical_host(text)
    require(canonical_host(host.removesuffix(".")) is not None, "a form is found")
    site = parse_site(strip_port(text), "relay.example")
    require(site is None or names.parse_name(site.name) == site.name, "a site has a name", site)


_PARSERS: tuple[Callable[[str], None], ...] = (_name, _code, _split, _port, _relay, _line, _host)


TOKEN = relay_token.make_token(b"\0" * relay_token.ID_SIZE, b"\1" * relay_token.SECRET_SIZE).text


def run_token(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        token = relay_token.parse_token(text)
    except UsageError as error:
        require(len(text) < 20 or text not in error.text + error.hint, "nothing of it is shown")
        raise
    require(token.text.isascii() and len(token.text) <= relay_token.MAX_TOKEN, "a token's form")
    require(token.text[len(relay_token.PREFIX) :].startswith(token.id), "it names itself")
    require(relay_token.parse_token(token.text) == token, "a token is a token")
    require(len(token.hash) == 32, "a hash has its length")


def run_typed(data: bytes) -> None:
    which, data = choose(data)
    _PARSERS[which % len(_PARSERS)](data.decode("utf-8", "surrogateescape"))


TARGETS = (
    Target(
        "names", run_typed, (UsageError,),
        tuple(bytes([at]) + each.encode() for each in TYPED for at in range(len(_PARSERS))),
        ("tunnel.names", "tunnel.address", "connect_vm.own_names", "relay.routes"), WORDS, None,
        6_000,
    ),
    Target(
        "relay-token", run_token, (UsageError,),
        (TOKEN.encode(), f" {TOKEN}\n".encode(), TOKEN[:-1].encode(), TOKEN.upper().encode()),
        ("tunnel.relay_token",), (b"vsr_", b"\n", TOKEN[4:12].encode(), b"2", b"a"), None, 256,
    ),
)  # fmt: skip
