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
_VALUE = re.compile(rb"(\d{1,12})\.([A-Za-z0-9_-]{43})")


class Cookies:
    """Makes and takes the cookies of one kind. `key` is this share's secret, and this kind's
    alone; `clock` gives seconds since the epoch."""

    def __init__(self, name: bytes, key: bytes, clock: Callable[[], float]) -> None:
        self._name, self._key, self._clock = name, key, clock

    def make(self, head: RequestHead) -> tuple[bytes, bytes]:
        """The Set-Cookie field for who sent this request."""
        name = self._name_for(head)
        expires = b"%d" % (self._clock() + LASTS)
        value = expires + b"." + self._sign(name, host_of(head), expires)
        secure = b"; Secure" if is_https(head) else b""
        attributes = b"; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % LASTS
        return b"Set-Cookie", name + b"=" + value + attributes + secure

    def take(self, head: RequestHead) -> bool:
        """Whether the request has a cookie that is good here; ours are dropped from its head, and
        the others left as they are."""
        name, found = self._name_for(head), False
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
                elif key == name and self._is_good(name, host_of(head), token):
                    found = True
            if kept:
                fields.append((field, b";".join(kept).strip(b" \t")))
        head.fields[:] = fields
        return found

    def _name_for(self, head: RequestHead) -> bytes:
        return b"__Host-" + self._name if is_https(head) else self._name

    def _is_good(self, name: bytes, host: bytes, token: bytes) -> bool:
        match = _VALUE.fullmatch(token)
        if match is None:
            return False
        expires, signature = match.groups()
        if not hmac.compare_digest(signature, self._sign(name, host, expires)):
            return False
        return int(expires) > self._clock()

    def _sign(self, name: bytes, host: bytes, expires: bytes) -> bytes:
        said = b"\n".join((name, host, expires))
        digest = hmac.digest(self._key, said, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=")
