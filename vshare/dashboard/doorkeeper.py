"""Who may see the page of a running share: whoever has a link from the sharer's terminal. Pure:
secrets are an argument.

Other programs and users of the host can connect to the page's port, and any website can make the
sharer's browser do so. Against the first there are tokens and cookies, against the second the
rules for Host, Origin and Sec-Fetch-Site.

A cookie is sent to all ports of its host, so one for `/` would reach any web server on this host
that the sharer visits, whoever's it is; a `__Host-` cookie needs TLS, and a `/` as well. So all
the page is below a path that cannot be guessed, and the cookie is for that path alone. It is
HttpOnly (no script needs it) and SameSite=Strict.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable, Mapping

MAX_TOKENS = 8  # that were not used yet; another voids the oldest
MAX_SESSIONS = 16  # browsers; another ends the oldest's
MAX_COOKIES = 4 * 1024  # bytes of them that are looked at; other servers of this host have theirs
HTTP_PORT = 80  # left out of Host and Origin
_NAVIGATIONS = frozenset((b"GET", b"HEAD"))

Headers = Mapping[bytes, list[bytes]]
"""All values of each field, by its name in lower case."""


class Doorkeeper:
    """`secret()` gives a new one, 128 bits or more, of letters, digits, `-` and `_`."""

    def __init__(self, port: int, secret: Callable[[], str]) -> None:
        self._secret = secret
        suffix = "" if port == HTTP_PORT else f":{port}"
        self._hosts = tuple(f"{host}{suffix}".encode() for host in ("127.0.0.1", "localhost"))
        self._tokens: deque[str] = deque(maxlen=MAX_TOKENS)
        self._sessions: deque[str] = deque(maxlen=MAX_SESSIONS)
        self._cookie = f"vshare-{port}"
        self.origin = f"http://127.0.0.1{suffix}"
        self.path = f"/{secret()}/"  # of the page

    def issue_url(self) -> str:
        """A link that opens the page once."""
        token = self._secret()
        self._tokens.append(token)
        return f"{self.origin}{self.path}?token={token}"

    def redeem(self, token: str) -> str | None:
        """The Set-Cookie for a token, which is used up; None if it was none."""
        found = [each for each in self._tokens if _same(each, token)]
        if not found:
            return None
        self._tokens.remove(found[0])
        session = self._secret()
        self._sessions.append(session)
        return f"{self._cookie}={session}; Path={self.path}; HttpOnly; SameSite=Strict"

    def knows(self, headers: Headers) -> bool:
        """Whether a request has the cookie of a session."""
        for line in headers.get(b"cookie", []):
            for part in line[:MAX_COOKIES].decode("latin-1").split(";"):
                name, _, value = part.strip().partition("=")
                if name == self._cookie and any(_same(each, value) for each in self._sessions):
                    return True
        return False

    def is_welcome(self, method: bytes, headers: Headers, *, web_socket: bool) -> bool:
        """Whether a request was made for this page, by this page or by a click on a link to it."""
        hosts = headers.get(b"host", [])
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return False
        origins = headers.get(b"origin", [])
        reads = method in _NAVIGATIONS and not web_socket
        if origins != [b"http://" + hosts[0]] and (origins or not reads):
            return False
        if headers.get(b"sec-fetch-site", [b"none"]) in ([b"none"], [b"same-origin"]):
            return True
        return reads and headers.get(b"sec-fetch-mode") == [b"navigate"]


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "replace"))
