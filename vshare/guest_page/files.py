"""The guest page's files, and what each answer says to browsers: nothing from anywhere else, no
script or style that is not a file of ours.

The terminal in the browser is xterm.js, from npm: `tools/npm-assets` fetches what is pinned there
into `static/vendor`, with its license.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files

from tunnel.errors import VshareError
from tunnel.http_heads import Fields, RequestHead
from vshare.web.rules import Reply

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
HARDENED: Fields = [
    (b"Content-Security-Policy", POLICY.encode()),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"X-Robots-Tag", b"noindex"),
    (b"Referrer-Policy", b"same-origin"),  # with less, forms have no Origin
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Permissions-Policy", b"camera=(), geolocation=(), microphone=()"),
]
_SCRIPT, _STYLE = b"text/javascript; charset=utf-8", b"text/css; charset=utf-8"
_TEXT = b"text/plain; charset=utf-8"
KINDS = {
    "index.html": b"text/html; charset=utf-8",
    "page.css": _STYLE,
    "page.js": _SCRIPT,
    "terminal.js": _SCRIPT,
    "messages.js": _SCRIPT,
    "icon.svg": b"image/svg+xml",
    "vendor/xterm.js": _SCRIPT,
    "vendor/xterm.css": _STYLE,
    "vendor/addon-unicode11.js": _SCRIPT,
    "vendor/LICENSE.txt": _TEXT,
    "vendor/LICENSE-addon-unicode11.txt": _TEXT,
}


class Files:
    """All of them, in memory. Raises VshareError where what is from npm was not fetched."""

    def __init__(self, kinds: Mapping[str, bytes] = KINDS) -> None:
        folder = files("vshare.guest_page") / "static"
        self._files: dict[bytes, tuple[bytes, bytes, bytes, bytes]] = {}
        for name, kind in kinds.items():
            try:
                data = folder.joinpath(*name.split("/")).read_bytes()
            except FileNotFoundError as error:
                raise VshareError(
                    f"the guest page is not complete: {name} is missing",
                    "run tools/npm-assets in the source, and install again",
                ) from error
            tag = b'"' + hashlib.sha256(data).hexdigest()[:32].encode() + b'"'
            path = b"/" if name == "index.html" else b"/" + name.encode()
            self._files[path] = (kind, data, gzip.compress(data, mtime=0), tag)

    def maybe_reply(self, head: RequestHead) -> Reply | None:
        """The file that the request asks for, if there is one."""
        found = self._files.get(head.path)
        if found is None:
            return None
        kind, data, packed, tag = found
        # Asked for again each time, so that nobody sees it who is out, and sent only if it changed.
        fields = [(b"Content-Type", kind), (b"Cache-Control", b"private, no-cache"), (b"ETag", tag)]
        fields += [(b"Vary", b"Accept-Encoding, Cookie"), *HARDENED]
        if tag in head.values(b"if-none-match"):
            return Reply(HTTPStatus.NOT_MODIFIED, "Not Modified", fields)
        if b"gzip" in head.tokens(b"accept-encoding"):
            fields.append((b"Content-Encoding", b"gzip"))
            data = packed
        return Reply(HTTPStatus.OK, "OK", fields, data)
