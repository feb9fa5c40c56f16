"""What a share's site may set cookies for (RFC 6265 5.3): itself. Pure.

Browsers take a cookie for any parent of the host that sets it. So a site could set one for the
relay's domain, and every other share's site would get it.
"""

from __future__ import annotations


def own_cookie(cookie: bytes, host: bytes) -> bytes:
    """The value of a Set-Cookie field, without any Domain but `host` (lower case): without one a
    cookie is for the host that set it alone, and everything else of it stays."""
    if not may_name_domain(cookie):
        return cookie
    first, *attributes = cookie.split(b";")
    return b";".join((first, *(each for each in attributes if not _is_foreign(each, host))))


def may_name_domain(cookie: bytes) -> bool:
    """Whether a Set-Cookie's value may have a Domain, or only the word somewhere."""
    return b"domain" in cookie.lower()


def _is_foreign(attribute: bytes, host: bytes) -> bool:
    """What is nearly a Domain counts as one. Compared as it is written: browsers know more
    spellings of a host than this, and none of them is needed. Only the white space that RFC 6265
    (5.2) takes away is no part of it."""
    name, _, domain = attribute.partition(b"=")
    if b"domain" not in name.lower():
        return False
    return domain.strip(b" \t").removeprefix(b".").lower() != host
