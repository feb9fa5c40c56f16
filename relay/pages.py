"""The few pages that the relay writes itself. Pure."""

from __future__ import annotations

import html
from http import HTTPStatus

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 38rem; margin: 14vh auto 0;
padding: 0 1.5rem; color: #1d2330; background: #fafbfc }}
h1 {{ font-size: 1.6rem; line-height: 1.25 }} small {{ color: #6b7280 }}
code {{ background: #eceff3; padding: .1em .35em; border-radius: .3em }}
@media (prefers-color-scheme: dark) {{ body {{ color: #e5e7eb; background: #14171c }}
code {{ background: #262b33 }} small {{ color: #9ca3af }} }}
</style></head>
<body><h1>{title}</h1>
{paragraphs}
<p><small>{foot}</small></p></body></html>
"""


def page(title: str, paragraphs: list[str], foot: str) -> bytes:
    """A whole HTML document; the texts are plain and get escaped."""
    body = "\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs)
    document = _PAGE.format(title=html.escape(title), paragraphs=body, foot=html.escape(foot))
    return document.encode()


def front_page(domain: str) -> bytes:
    """What the relay's own name shows."""
    return page(
        "A vshare relay",
        [
            "This server connects people to virtual machines that their owners share with them."
            " It brings the two sides together and moves encrypted bytes between them.",
            f"A shared machine's website is at its own name, such as"
            f" frosty-weasel-0857.{domain}. The owner of the machine gives you that address.",
        ],
        f"relay {domain}",
    )


def error_page(status: HTTPStatus, sentence: str, hint: str, domain: str) -> bytes:
    """What a browser shows when a request cannot be brought to a share."""
    return page(sentence, [hint] if hint else [], f"{status.value} {status.phrase}, relay {domain}")
