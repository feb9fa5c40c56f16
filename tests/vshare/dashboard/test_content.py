"""Bodies for people's eyes."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tunnel.http_heads import Fields
from vshare.dashboard import content
from vshare.dashboard.content import decode, show

TEXT = "Zoë says hello. " * 100


def fields(coding: str = "", kind: str = "text/plain") -> Fields:
    return [(b"content-ENCODING", coding.encode()), (b"Content-Type", kind.encode())]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", TEXT.encode()),
        ("identity", TEXT.encode()),
        ("gzip", gzip.compress(TEXT.encode(), mtime=0)),
        ("X-GZip", gzip.compress(TEXT.encode(), mtime=0)),
        ("deflate", zlib.compress(TEXT.encode())),
        ("deflate", raw_deflate(TEXT.encode())),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT.encode()), mtime=0)),
    ],
)
def test_what_was_compressed_is_read(coding: str, body: bytes) -> None:
    shown = show(body, fields(coding), is_whole=True)
    assert shown.text == TEXT
    assert shown.note == ("" if body == TEXT.encode() else f"decoded from {coding.lower()}")


def test_a_body_that_was_cut_off_is_read_as_far_as_it_goes() -> None:
    whole = gzip.compress(bytes(range(33, 127)) * 90)
    shown = show(whole[: len(whole) - 12], fields("gzip"), is_whole=False)
    assert len(shown.text) > 100
    assert bytes(range(33, 127)).decode() in shown.text
    cut = "ab€".encode()[:-1]
    assert show(cut, fields(), is_whole=False).text == "ab"


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip"])
def test_a_bomb_is_let_out_in_part(coding: str) -> None:
    bomb = gzip.compress(bytes(8 * 1024 * 1024), 9)
    for _ in range(coding.count(",")):
        bomb = gzip.compress(bomb, mtime=0)
    data, note = decode(bomb[: 64 * 1024], fields(coding))
    assert len(data) <= content.MAX_DECODED
    assert note == f"decoded from {coding}; only the begin" or len(data) < content.MAX_DECODED


def test_codings_on_top_of_each_other_are_few() -> None:
    body = gzip.compress(gzip.compress(gzip.compress(b"x", mtime=0)))
    data, note = decode(body, fields("gzip, gzip, gzip"))
    assert data == body
    assert "not decoded" in note


@pytest.mark.parametrize(("coding", "why"), [("br", "not decoded here"), ("gzip", "and is not")])
def test_what_cannot_be_undone_is_left(coding: str, why: str) -> None:
    shown = show(b"\x01\x02\x03", fields(coding, "application/wasm"), is_whole=True)
    assert why in shown.note
    assert not shown.is_text
    assert shown.text == f"00000000  {'01 02 03':<48} |...|"


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text/html; charset=ISO-8859-1", b"caf\xe9", "café"),
        ('text/html; charset="shift_jis"', "日本".encode("shift_jis"), "日本"),
        ("text/html; charset=punycode", b"abc", "abc"),  # quadratic: not used
        ("text/html; charset=rot13", b"abc", "abc"),
        ("text/plain", b"caf\xe9", "café"),
        ("", b"plain", "plain"),
    ],
)
def test_charsets(kind: str, body: bytes, text: str) -> None:
    assert show(body, fields("", kind), is_whole=True).text == text


@pytest.mark.parametrize("body", [b"\x00\x01", b"\xff\xfe\x80", b"a\x00b"])
def test_what_is_no_text_is_dumped(body: bytes) -> None:
    shown = show(body * 1000, fields("", "application/octet-stream"), is_whole=True)
    assert not shown.is_text
    assert shown.note == f"no text: {len(body) * 1000:,} bytes, the first 1,024 shown"
    assert len(shown.text.splitlines()) == 64
