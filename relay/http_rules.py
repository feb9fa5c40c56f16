"""What the gateway checks and changes in messages that it forwards (RFC 9110, 9112). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

import h11

from relay.cookies import own_cookie
from relay.routes import MAX_HEAD, Site, Sites, strip_port
from tunnel.errors import VshareError
from tunnel.http_forwarding import HOP_BY_HOP, NEVER_NAMED, forwarding_fields, is_forwarding

Headers = list[tuple[bytes, bytes]]

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::\d{0,5})?")  # RFC 9110 7.2

FRAMING = frozenset((b"content-length", b"transfer-encoding"))
# Not passed on behind a body, where they would come too late for whoever was to heed them, or be
# taken for what stood before it (RFC 9110 6.5.1).
_NO_TRAILERS = (
    HOP_BY_HOP
    | FRAMING
    | frozenset(
        (
            b"age",
            b"authorization",
            b"cache-control",
            b"content-encoding",
            b"content-range",
            b"content-type",
            b"cookie",
            b"date",
            b"expect",
            b"expires",
            b"host",
            b"location",
            b"max-forwards",
            b"pragma",
            b"range",
            b"retry-after",
            b"set-cookie",
            b"trailer",
            b"vary",
            b"www-authenticate",
        )
    )
)
NO_CONTENT = frozenset((b"204", b"304"))  # status codes whose answers end with their head


class HttpError(VshareError):
    """A request that the gateway answers itself: status, a sentence, a hint; and when it is worth
    while to ask again, in seconds, where that is not as always with the status."""

    def __init__(
        self,
        status: HTTPStatus,
        sentence: str,
        hint: str = "",
        retry_after: int | None = None,
    ) -> None:
        super().__init__(sentence, hint)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as the share is told."""

    address: str
    tls: bool
    server_name: str | None  # the SNI

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self.tls else "http"

    def forwarding_fields(self, host: str) -> Headers:
        """What the share's server is told of where a request for `host` came from."""
        return forwarding_fields(self.address, self.scheme, host.encode("latin-1"))


def header(message: h11.Request | h11.Response, name: bytes) -> bytes | None:
    """The first value of a field."""
    return next((value for field, value in message.headers if field == name), None)


def is_upgrade(request: h11.Request) -> bool:
    """Whether the request asks to change the protocol (RFC 9110 7.8)."""
    return header(request, b"upgrade") is not None and b"upgrade" in _connection(request)


def accept_of(request: h11.Request) -> bytes:
    """What kind of page the visitor's program likes (RFC 9110 12.5.1); empty: any, and for who
    wants another protocol, where no person reads it."""
    if is_upgrade(request):
        return b""
    return b",".join(value for name, value in request.headers if name == b"accept")


def has_body(request: h11.Request) -> bool:
    """Whether a body follows the head (RFC 9112 6.3)."""
    if header(request, b"transfer-encoding") is not None:
        return True
    return (header(request, b"content-length") or b"0").strip(b"0") != b""


def check_request(request: h11.Request, origin: Origin, sites: Sites) -> Site:
    """The share that a request is for. Raises HttpError."""
    _check_framing(request)
    size = len(request.target) + sum(len(name) + len(value) + 4 for name, value in request.headers)
    if size > MAX_HEAD:
        status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        raise HttpError(status, "The request's head is too large")
    if request.method == b"CONNECT":
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, "This is not a forward proxy")
    _check_target(request)
    return site_of(host_text(request), origin, sites)


def site_of(host: str, origin: Origin, sites: Sites) -> Site:
    """The share that the Host field means. Raises HttpError."""
    host = strip_port(host)
    site = sites.find(host)
    if site is None or (origin.tls and host != (origin.server_name or "")):
        raise HttpError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "This connection was opened for another name",
            "Open the address again.",
        )
    return site


def host_text(request: h11.Request) -> str:
    """Host and port as the request has them (RFC 9112 3.2.2). Raises HttpError."""
    host = (header(request, b"host") or b"").decode("latin-1")
    if not _HOST.fullmatch(host):
        raise HttpError(HTTPStatus.BAD_REQUEST, "The Host field is no host")
    authority = _authority(request.target)
    if authority is not None and authority.lower() != host.lower():
        raise HttpError(HTTPStatus.BAD_REQUEST, "The request names two different hosts")
    return host


def _authority(target: bytes) -> str | None:
    """The authority of an absolute-form request target, None for other forms."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return None
    return rest.partition(b"/")[0].partition(b"?")[0].decode("latin-1")


def _check_framing(request: h11.Request) -> None:
    """What two programs could take for two different requests is refused (RFC 9112 6.1)."""
    encoding = header(request, b"transfer-encoding")
    both = encoding is not None and header(request, b"content-length") is not None
    if both or (encoding is not None and request.http_version < b"1.1"):
        raise HttpError(HTTPStatus.BAD_REQUEST, "The length of the request is ambiguous")


def _check_target(request: h11.Request) -> None:
    """RFC 9112 3.2: a path, a URL of HTTP, or `*` where OPTIONS asks about the server."""
    target = request.target
    if target.startswith(b"/") or _authority(target) is not None:
        return
    if target != b"*" or request.method != b"OPTIONS":
        raise HttpError(HTTPStatus.BAD_REQUEST, "The request's target is no path")


def forwarded_target(target: bytes) -> bytes:
    """The request target in origin form (RFC 9112 3.2.1)."""
    if _authority(target) is None:
        return target
    rest = target.partition(b"://")[2]
    at = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[at:]
    return path if path.startswith(b"/") else b"/" + path


def request_headers(request: h11.Request, origin: Origin) -> Headers:
    """The header fields that the share's server gets."""
    upgrade = is_upgrade(request)
    kept = _end_to_end(request)
    kept = [(name, value) for name, value in kept if not is_forwarding(name.lower())]
    kept += origin.forwarding_fields(host_text(request))
    if upgrade:
        kept += _upgrade_fields(request)
    return kept


def response_headers(response: h11.Response | h11.InformationalResponse, host: str) -> Headers:
    """The header fields that the visitor gets; `host` (as from `strip_port`) was asked for."""
    kept = _end_to_end(response)
    own = host.encode("latin-1")
    kept = [
        (name, own_cookie(value, own) if name.lower() == b"set-cookie" else value)
        for name, value in kept
    ]
    names = {name.lower() for name, _ in kept}
    if response.status_code < HTTPStatus.OK or response.status_code == HTTPStatus.NO_CONTENT:
        kept = [(name, value) for name, value in kept if name.lower() not in FRAMING]
    elif b"transfer-encoding" in names:
        kept = [(name, value) for name, value in kept if name.lower() != b"content-length"]
    if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
        kept += _upgrade_fields(response)
    return kept


def trailers(end: h11.EndOfMessage) -> Headers:
    """The fields behind a body that are passed on, either way."""
    kept = [(name, value) for name, value in end.headers.raw_items()]
    return [
        (name, value)
        for name, value in kept
        if name.lower() not in _NO_TRAILERS and not is_forwarding(name.lower())
    ]


def _upgrade_fields(message: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    upgrades = [value for name, value in message.headers if name == b"upgrade"]
    return [(b"Connection", b"Upgrade"), (b"Upgrade", b", ".join(upgrades))]


def _connection(message: h11.Request | h11.Response | h11.InformationalResponse) -> set[bytes]:
    values = b",".join(value for name, value in message.headers if name == b"connection")
    return {token.strip().lower() for token in values.split(b",")}


def _end_to_end(message: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    dropped = HOP_BY_HOP | (_connection(message) - NEVER_NAMED)
    raw = message.headers.raw_items()
    return [(name, value) for name, value in raw if name.lower() not in dropped]
