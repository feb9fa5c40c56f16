"""Who may open the sites of a share: by address, and by user and password.

Enforced here, where the requests arrive, not at the relay. Each class is a Rule.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import unicodedata
from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from tunnel.http_heads import AnswerHead, RequestHead
from tunnel.http_pages import Page
from vshare.web.pages import TOO_MANY, page_reply
from vshare.web.rules import Reply
from vshare.web.tries import TooManyTriesError, Tries
from vshare.web.visit import address_of, source_of_visit

Network: TypeAlias = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")


class RequestRule:
    """A Rule that has nothing to change in answers."""

    def answer(self, request: RequestHead, head: AnswerHead) -> None:
        """See Rule.answer."""


class Addresses(RequestRule):
    """Which addresses may come: none of `deny`, and of `allow` alone, if that names any.

    Addresses are the relay's word. Where it says none, nobody comes.
    """

    def __init__(self, allow: Iterable[Network], deny: Iterable[Network]) -> None:
        self._allow = tuple(map(_unmapped, allow))
        self._deny = tuple(map(_unmapped, deny))

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        address = address_of(head)
        if address is not None and self._may_come(address):
            return None
        page = Page(
            HTTPStatus.FORBIDDEN,
            "This site is not open to your address",
            [f"You come from {address}." if address else "Your address is not known.",
             "Who shares the site decides from where it can be opened."],
        )  # fmt: skip
        return page_reply(head, page)

    def _may_come(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)


def _unmapped(network: Network) -> Network:
    """An IPv4 network that is written as an IPv6 one (RFC 4291 2.5.5.2), as the former."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        prefix = network.prefixlen - _MAPPED.prefixlen
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, prefix))
    return network


class BasicAuth(RequestRule):
    """Asks for user and password (RFC 7617). Who has them is known by them: the Authorization
    field goes no further, since it was meant for us."""

    def __init__(self, user: str, password: str, realm: str, tries: Tries) -> None:
        self._expected = _digest(f"{user}:{password}")
        challenge = f'Basic realm="{realm}", charset="UTF-8"'
        self._challenge = [(b"WWW-Authenticate", challenge.encode("ascii"))]
        self._tries = tries

    def request(self, head: RequestHead) -> Reply | None:
        """See Rule.request."""
        given = credentials_of(head)
        if given is None:
            return self._ask(head)
        right = hmac.compare_digest(_digest(given), self._expected)
        try:
            if not self._tries.count(source_of_visit(head), right=right):
                return self._ask(head)
        except TooManyTriesError:
            return page_reply(head, TOO_MANY)
        head.drop(b"Authorization")
        return None

    def _ask(self, head: RequestHead) -> Reply:
        page = Page(
            HTTPStatus.UNAUTHORIZED,
            "This site asks for a user and a password",
            ["Who shares it can tell you them."],
        )
        return page_reply(head, page, self._challenge)


def credentials_of(head: RequestHead) -> str | None:
    """`user:password`, if the request has one Authorization field of this scheme."""
    values = head.values(b"authorization")
    if len(values) != 1:
        return None
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        return base64.b64decode(token.strip(b" "), validate=True).decode("utf-8")
    except ValueError:
        return None


def _digest(credentials: str) -> bytes:
    """What is compared: as long for all, and alike however accents are composed (RFC 8265)."""
    return hashlib.sha256(unicodedata.normalize("NFC", credentials).encode()).digest()
