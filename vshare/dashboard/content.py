"""Bodies as people can read them: uncompressed, as text or in hexadecimal, and bounded. Pure."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from tunnel.http_heads import Fields

MAX_DECODED = 256 * 1024  # bytes that come out of 64 KiB; the bombs make 64 MiB of them
MAX_CODINGS = 2  # on top of each other; each may cost MAX_DECODED
MAX_DUMPED = 1024  # bytes of what is no text
DUMP_WIDTH = 16  # bytes a line
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's names for the formats
# Those that browsers know and Python decodes in linear time: the name is a stranger's.
_CHARSETS = re.compile(
    r"utf-?8|utf-?16(le|be)?|us-ascii|iso-8859-\d{1,2}|windows-125\d|koi8-[ru]"
    r"|shift_jis|euc-jp|euc-kr|gb2312|gbk|gb18030|big5"
)
_CHARSET = re.compile(r"charset=\"?([\w-]+)", re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_TEXT_TYPES = re.compile(r"text/|application/(json|javascript|xml|x-www-form-urlencoded)")


@dataclass(frozen=True, slots=True)
class Shown:
    """A body for people. `note` says what is not as it was sent; empty if nothing is."""

    text: str
    note: str = ""
    is_text: bool = True


def as_text(data: bytes) -> str:
    """What is in a head: UTF-8, or else the bytes as they are."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def value_of(fields: Fields, name: bytes) -> str:
    """All values of the field `name` (lower case)."""
    return as_text(b", ".join(value for field, value in fields if field.lower() == name))


def decode(body: bytes, fields: Fields) -> tuple[bytes, str]:
    """At most MAX_DECODED bytes of what `body` was made of, and a note. What cannot be undone is
    left as it is."""
    codings = [each.strip().lower() for each in value_of(fields, b"content-encoding").split(",")]
    codings = [each for each in codings if each not in ("", "identity")]
    if not codings or not body:
        return body, ""
    named = ", ".join(codings)[:40]
    formats = [_FORMATS.get(each) for each in codings]
    if len(codings) > MAX_CODINGS or None in formats:
        return body, f"compressed ({named}), and not decoded here"
    for each in reversed(formats):
        inflated = _inflate(body, each or ())
        if inflated is None:
            return body, f"said to be compressed ({named}), and is not"
        body = inflated
    note = f"decoded from {named}"
    return body, f"{note}; only the begin" if len(body) >= MAX_DECODED else note


_FORMATS: dict[str, Sequence[int]] = {
    "gzip": (_GZIP,),
    "x-gzip": (_GZIP,),
    "deflate": (_ZLIB, _RAW),  # RFC 9110 8.4.1.2: some send it without zlib's wrapper
}


def _inflate(data: bytes, formats: Sequence[int]) -> bytes | None:
    """The begin of it, in the first of the formats that it has; what was cut off is no fault."""
    for each in formats:
        try:
            return zlib.decompressobj(each).decompress(data, MAX_DECODED)
        except zlib.error:
            continue
    return None


def show(body: bytes, fields: Fields, *, is_whole: bool) -> Shown:
    """`body` as it was kept, whole or the begin of it."""
    data, note = decode(body, fields)
    kind = value_of(fields, b"content-type").lower()
    text = _maybe_text(data, kind, is_whole=is_whole and len(data) < MAX_DECODED)
    if text is not None:
        return Shown(text, note)
    size = f"no text: {len(data):,} bytes"
    if len(data) > MAX_DUMPED:
        size += f", the first {MAX_DUMPED:,} shown"
    return Shown(_dump(data[:MAX_DUMPED]), f"{note}; {size}" if note else size, is_text=False)


def _maybe_text(data: bytes, kind: str, *, is_whole: bool) -> str | None:
    found = _CHARSET.search(kind)
    name = found[1].lower() if found and _CHARSETS.fullmatch(found[1].lower()) else "utf-8"
    try:
        # A body that was cut off may end within a character.
        text = codecs.getincrementaldecoder(name)().decode(data, is_whole)
    except (UnicodeDecodeError, LookupError):
        if not _TEXT_TYPES.match(kind):
            return None
        text = data.decode("latin-1")
    return None if _UNPRINTABLE.search(text) else text


def _dump(data: bytes) -> str:
    """As `hexdump -C` writes it."""
    lines = []
    for at in range(0, len(data), DUMP_WIDTH):
        part = data[at : at + DUMP_WIDTH]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):<{3 * DUMP_WIDTH}} |{shown}|")
    return "\n".join(lines)
