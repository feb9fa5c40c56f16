"""What a form of the pages' sends, read within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

KIND = "application/x-www-form-urlencoded"
MAX_FORM = 4 * 1024  # bytes: a token, a note and some numbers are a tenth of it
MAX_FIELDS = 16
COMES_WITHIN = 10.0  # seconds

Form = Mapping[str, str]


class FormError(Exception):
    """A form that is not read; `status` is the answer to it."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


async def read_form(request: Request) -> Form:
    """The form in the request's body; of a field that comes again, the first. Raises FormError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != KIND:
        raise FormError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "That is no form of this page's.")
    body = bytearray()
    try:
        async with asyncio.timeout(COMES_WITHIN):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_FORM:
                    raise FormError(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That is too much for this form."
                    )
    except TimeoutError:
        raise FormError(HTTPStatus.REQUEST_TIMEOUT, "The form came too slowly.") from None
    except ClientDisconnect:
        raise FormError(HTTPStatus.BAD_REQUEST, "The form did not come whole.") from None
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise FormError(HTTPStatus.BAD_REQUEST, "That is no form of this page's.") from None
    return dict(reversed(pairs))
