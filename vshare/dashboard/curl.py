"""A request as a line for a POSIX shell that sends it again with curl. Pure.

What was asked is a stranger's, and the line will be pasted into a terminal: nothing of it may be
read by the shell, by the terminal or, as an option or a file's name, by curl.
"""

from __future__ import annotations

import re

from tunnel.http_heads import RequestHead

INDENT = " \\\n  "
# What the gateway set, what belongs to a connection, and what curl does by itself.
_LEFT_OUT = frozenset(
    b"host connection content-length transfer-encoding te trailer upgrade expect keep-alive "
    b"proxy-connection x-forwarded-for x-forwarded-proto x-forwarded-host forwarded "
    b"accept-encoding".split()
)
_ADDED_BY_CURL = (b"User-Agent", b"Accept")
_PLAIN_TARGET = re.compile(rb"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
_DOTS = re.compile(rb"/\.{1,2}(?:[/?]|$)")
_NO_OPTION = r"\055"  # a `-` that does not begin an option
_ESCAPES = {
    0x09: r"\t",
    0x0A: r"\n",
    0x0D: r"\r",
    0x25: "%%",
    0x27: r"\047",
    0x5C: r"\\",
}  # fmt: skip


def quote(data: bytes) -> str:
    """One word for the shell. It may not end in a newline where it is not printable."""
    text = _maybe_printable(data)
    if text is not None:
        return "'" + text.replace("'", "'\\''") + "'"
    return f'"$({_printf(data)})"'


def as_curl(site: str, head: RequestHead, body: bytes) -> str:
    """`site` is where the request goes: `https://NAME.domain`, without a slash at its end; `head`
    as the visitor sent it."""
    parts = ["curl"]
    plain = _PLAIN_TARGET.fullmatch(head.target) and not _DOTS.search(head.target)
    parts[0] += " " + quote(site.encode() + (head.target if plain else b"/"))
    if not plain:
        parts.append("--request-target " + quote(head.target))
    if head.method == b"HEAD":
        parts.append("--head")
    elif head.method != (b"POST" if body else b"GET"):
        parts.append("--request " + quote(head.method))
    if head.value(b"accept-encoding"):
        parts.append("--compressed")
    for name, value in head.fields:
        if name.lower() not in _LEFT_OUT:
            # curl's way to send an empty value
            parts.append("--header " + quote(name + b": " + value if value else name + b";"))
    added = (*_ADDED_BY_CURL, b"Content-Type") if body else _ADDED_BY_CURL
    parts += [
        "--header " + quote(each + b":") for each in added if head.value(each.lower()) is None
    ]
    if not body:
        return INDENT.join(parts)
    text = _maybe_printable(body.replace(b"\n", b" "))
    if text is not None:
        quoted = body.decode().replace("'", "'\\''")
        return INDENT.join([*parts, f"--data-raw '{quoted}'"])
    return f"{_printf(body)} | {INDENT.join([*parts, '--data-binary @-'])}"


def _maybe_printable(data: bytes) -> str | None:
    """None: a terminal or an eye could take it for something else."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _printf(data: bytes) -> str:
    """A command, in ASCII, that writes `data`. A builtin, so that its length does not matter."""
    text = "".join(map(_escape, data))
    return f"printf '{_NO_OPTION if text.startswith('-') else ''}{text.removeprefix('-')}'"


def _escape(byte: int) -> str:
    known = _ESCAPES.get(byte)
    if known is not None:
        return known
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
