"""Cookies that say that a browser was let in, signed by this share. Pure.

Bound to the site's host and to the scheme: a cookie that was overheard over plain HTTP, or that
another site was given, is worth nothing here. Over HTTPS it has the prefix __Host-, so that no
other site below the relay's domain can set it (RFC 6265bis 4.1.3.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

from tunnel.http_heads import RequestHead
from vshare.web.visit import host_of, is_https

LASTS = 24 * 3600  # seconds: a working day, and the next morning
# Until when, perhaps whose it is, and the signature of both.
_VALUE = re.compile(rb"((\d{1,12})(?:\.([A-Za-z0-9_-]{1,32}))?)\.([A-Za-z0-9_-]{43})")


class Cookies:
    """Makes and takes the cookies of one kind. `key` is this share's secret, and this kind's
    alone; `clock` gives seconds since the epoch."""

    def __init__(self, name: bytes, key: bytes, clock: Callable[[], float]) -> None:
        self._name, self._key, self._clock = name, key, clock

    def make(self, head: RequestHead, owner: str = "") -> tuple[bytes, bytes]:
        """The Set-Cookie field for who sent this request. `owner`: whose it is, if that is to be
        known again; of letters, digits, `-` and `_`, 32 at most, and no secret."""
        name = self._name_for(head)
        expires = b"%d" % (self._clock() + LASTS) + (b"." + owner.encode() if owner else b"")
        value = expires + b"." + self._sign(name, host_of(head), expires)
        secure = b"; Secure" if is_https(head) else b""
        attributes = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % LASTS
        return b"Set-Cookie", name + b"=" + value + attributes + secure

    def take(self, head: RequestHead) -> bool:
        """Whether the request has a cookie that is good here; ours are dropped from its head, and
        the others left as they are."""
        return self.take_owner(head) is not None

    def take_owner(self, head: RequestHead) -> str | None:
        """As `take`: whose it is, "" where it is nobody's; None: there is none that is good."""
        name = self._name_for(head)
        found: str | None = None
        ours = (self._name, b"__Host-" + self._name)
        fields = []
        for field, value in head.fields:
            if field.lower() != b"cookie" or self._name not in value:
                fields.append((field, value))
                continue
            kept = []
            for pair in value.split(b";"):
                key, _, token = pair.strip(b" \t").partition(b"=")
                if key not in ours:
                    kept.append(pair)
                elif key == name:
                    owner = self._owner(name, host_of(head), token)
                    found = found if owner is None else owner
            if kept:
                fields.append((field, b";".join(kept).strip(b" \t")))
        head.fields[:] = fields
        return found

    def _name_for(self, head: RequestHead) -> bytes:
        return b"__Host-" + self._name if is_https(head) else self._name

    def _owner(self, name: bytes, host: bytes, token: bytes) -> str | None:
        match = _VALUE.fullmatch(token)
        if match is None:
            return None
        expires, until, owner, signature = match.groups()
        if not hmac.compare_digest(signature, self._sign(name, host, expires)):
            return None
        return (owner or b"").decode() if int(until) > self._clock() else None

    def _sign(self, name: bytes, host: bytes, expires: bytes) -> bytes:
        said = b"\n".join((name, host, expires))
        digest = hmac.digest(self._key, said, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=")
