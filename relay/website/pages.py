"""Writes the pages: templates, and the files that they refer to, all of it read at the start."""

from __future__ import annotations

import functools
import hashlib
from http import HTTPStatus
from importlib.resources import files
from typing import Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from relay.website.words import FILTERS

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
STATIC: Final = "site.css", "site.js", "icon.svg"
_KEPT = "public, max-age=31536000, immutable"  # the address changes with the file


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
    environment.filters.update(FILTERS)
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
