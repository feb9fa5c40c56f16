"""Domains of a sharer's own, and the DNS record that gives one to a share (docs/protocol.md 4.2).
Pure.

The record's value is made of the key that the share registers with, and of the host. So a CNAME
that is left behind lets nobody else in, and a wildcard among the records lets in nobody at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NewType

from tunnel.errors import UsageError

OwnDomain = NewType("OwnDomain", str)  # lower case ASCII, without a final dot

MAX_HOST = 235  # characters: with CHALLENGE before it, it is still a name (RFC 1035 2.3.4: 253)
MAX_TYPED = 1024  # characters of what is looked at; a name in Unicode is a fifth of it at most
CHALLENGE = "_vshare-challenge"
_VALUE = "vshare-own-domain="
_SAID = b"vshare-own-domain-1\0"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 2.1
# What no DNS answers for (RFC 6761, 6762, 7686), whatever a resolver says.
_SPECIAL = frozenset({"localhost", "local", "onion", "invalid", "alt", "arpa"})


def parse_own_domain(text: str) -> OwnDomain:
    """`text` as it is sent and compared: in lower case, in ASCII. Raises UsageError."""
    shown = repr(text[:60])
    if len(text) > MAX_TYPED:
        raise UsageError(
            f"a domain of more than {MAX_TYPED} characters: {shown}", "give a host name"
        )
    host = text.strip().removesuffix(".")
    if host.startswith("*."):
        raise UsageError(
            f"a wildcard is no domain of a share: {shown}",
            "name each host, such as app.example.com",
        )
    if not host.isascii():
        host = _encoded(host, shown)
    host = host.lower()
    check_host(host)
    return OwnDomain(host)


def check_host(host: str) -> None:
    """Raise UsageError unless `host` is one as from `parse_own_domain`: its name in one form."""
    shown, labels = repr(host[:60]), host.split(".")
    if len(host) > MAX_HOST:
        raise UsageError(
            f"a domain of more than {MAX_HOST} characters: {shown}", "give a shorter one"
        )
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UsageError(f"not a domain: {shown}", "give a host name, such as app.example.com")
    if labels[-1].isdigit() or labels[-1] in _SPECIAL:
        raise UsageError(
            f"DNS says nothing of {shown}",
            "give a name in a domain of yours, such as app.example.com",
        )
    for label in labels:
        if label[2:4] == "--":
            _check_encoded(label)


def challenge_name(host: OwnDomain) -> str:
    """Where the TXT record of `host` is looked for."""
    return f"{CHALLENGE}.{host}"


def challenge_value(key_hash: bytes, host: OwnDomain) -> str:
    """What the record says: `host` is for the share with this key, and no other. `key_hash`: the
    SHA-256 of its public key (raw Ed25519)."""
    digest = hashlib.sha256(_SAID + key_hash + host.encode()).digest()
    return _VALUE + base64.b32encode(digest).decode().rstrip("=").lower()


def _encoded(host: str, shown: str) -> str:
    """As browsers ask DNS for it (UTS #46)."""
    import idna  # 20 ms that hardly anybody needs

    try:
        return idna.encode(host, uts46=True, transitional=False).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise UsageError(
            f"not a domain: {shown}: {error}", "see how your registrar writes it"
        ) from None


def _check_encoded(label: str) -> None:
    """RFC 5891 5.4: what looks encoded is, and in the one form that it has."""
    import idna

    try:
        if label.startswith("xn--") and idna.encode(idna.decode(label)).decode() == label:
            return
    except (idna.IDNAError, UnicodeError):
        pass
    raise UsageError(
        f"not a domain: {label!r} is no encoded name", "see how your registrar writes it"
    )
