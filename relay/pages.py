"""The few pages that the relay writes itself. Pure."""

from __future__ import annotations

from http import HTTPStatus

from tunnel.http_heads import Fields
from tunnel.http_pages import Page, body_of, fields_of, negotiate

# Seconds after which it is worth while to ask again.
_RETRY_AFTER = {
    HTTPStatus.TOO_MANY_REQUESTS: 60,  # as long as a source's bucket takes to fill
    HTTPStatus.BAD_GATEWAY: 10,  # an application is started again by a person, or a tool
    HTTPStatus.SERVICE_UNAVAILABLE: 30,  # a laptop wakes, a network comes back
    HTTPStatus.GATEWAY_TIMEOUT: 30,
}


def front_page(domain: str) -> Page:
    """What the relay's own name shows."""
    return Page(
        HTTPStatus.OK,
        "A vshare relay",
        [
            "This server connects people to virtual machines that their owners share with them."
            " It brings the two sides together and moves encrypted bytes between them.",
            f"A shared machine's website is at its own name, such as"
            f" frosty-weasel-0857.{domain}. The owner of the machine gives you that address.",
        ],
        f"relay {domain}",
    )


def error_page(
    status: HTTPStatus, sentence: str, hint: str, domain: str, retry_after: int | None = None
) -> Page:
    """What is answered when a request cannot be brought to a share."""
    paragraphs = [hint] if hint else []
    foot = f"{status.value} {status.phrase}, relay {domain}"
    return Page(status, sentence, paragraphs, foot, retry_after or _RETRY_AFTER.get(status))


def answer_with(page: Page, accept: bytes) -> tuple[Fields, bytes]:
    """Header fields and body for a request with this Accept field (empty: none)."""
    media = negotiate(accept)
    body = body_of(page, media)
    return [*fields_of(page, media), (b"Content-Length", b"%d" % len(body))], body
