"""Writes the pages: templates, and the files that they refer to, all of it read at the start."""

from __future__ import annotations

import functools
import hashlib
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from typing import Final

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from relay.accounting import How
from relay.accounts.limits import Limits

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
STATIC: Final = "site.css", "site.js", "icon.svg"
_KEPT = "public, max-age=31536000, immutable"  # the address changes with the file
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Pages:
    """Renders templates. `domain` is the shares'."""

    def __init__(self, domain: str) -> None:
        folder = files("relay.website").joinpath("static")
        self._static = {name: folder.joinpath(name).read_bytes() for name in STATIC}
        places = {name: f"/static/{name}?{_digest(data)}" for name, data in self._static.items()}
        self._always = {
            "domain": domain, "static": places, "viewer": None, "said": "", "at": "",
        }  # fmt: skip

    def render(
        self, template: str, status: HTTPStatus = HTTPStatus.OK, /, **context: object
    ) -> HTMLResponse:
        """The page of that template. Everything in `context` is escaped."""
        text = _environment().get_template(template).render(self._always | context)
        return HTMLResponse(text, status)

    def problem(self, status: HTTPStatus, title: str, text: str, **context: object) -> HTMLResponse:
        """A page that says what is wrong."""
        return self.render("problem.html", status, title=title, text=text, **context)

    async def static(self, request: Request) -> Response:
        """A file; by its name in a table, no path is made of what was asked for."""
        name = request.path_params["file"]
        data = self._static.get(name)
        if data is None:
            return self.problem(HTTPStatus.NOT_FOUND, "There is no such page", "")
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(data, media_type=kind, headers={"Cache-Control": _KEPT})


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("relay.website"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        time=_time, span=span, size=size, count=_count, limits=_limits, ended=_ended
    )
    return environment


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _time(at: float | None) -> str:
    """A time since the epoch, in UTC, as the relay's logs have it."""
    if at is None:
        return "never"
    when = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M UTC")
    )


def span(seconds: float) -> str:
    """How long, for people."""
    whole = max(0, int(seconds))
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= unit:
            rest = whole % unit
            lower, small = {"d": ("h", 3_600), "h": ("min", 60), "min": ("s", 1)}[name]
            more = f" {rest // small} {lower}" if rest >= small and whole < 10 * unit else ""
            return f"{whole // unit} {name}{more}"
    return f"{whole} s"


def size(octets: float) -> str:
    """How much, for people."""
    amount = float(octets)
    for unit in _UNITS[:-1]:
        if amount < 1000:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:.1f} {_UNITS[-1]}"


def _limits(limits: Limits) -> str:
    """Those that are set, for people."""
    words = (
        (limits.shares, "{:,} shares"),
        (limits.guests, "{:,} guests"),
        (limits.streams, "{:,} connections"),
    )
    said = [text.format(limit) for limit, text in words if limit]
    amounts = ((limits.bytes_per_day, "a day"), (limits.bandwidth, "a second"))
    said += [f"{size(limit)} {per}" for limit, per in amounts if limit]
    return ", ".join(said)


_ENDS = {
    How.ENDED: "by its owner",
    How.LOST: "its connection broke",
    How.EXPIRED: "its time was over",
    How.REVOKED: "its token was revoked, or over",
    How.KICKED: "by the relay's operator",
    How.MOVED: "it connected again",
    How.RENAMED: "it goes on under another name",
    How.FAULT: "it broke the protocol",
    How.STOPPED: "the relay stopped",
}


def _ended(how: str) -> str:
    """How a share's session ended, for people; a later relay's word as it is."""
    return next((text for each, text in _ENDS.items() if each == how), how)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
