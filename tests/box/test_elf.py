import struct
import sys
from pathlib import Path

import pytest

from box.elf import is_elf, module_information, needed_libraries
from box.errors import BoxError


def elf(sections: list[tuple[str, int, int, bytes]]) -> bytes:
    """An ELF file of these sections: name, type, link, content; names come last."""
    names = b"\0"
    offsets = []
    for name in [*(name for name, *_ in sections), ".shstrtab"]:
        offsets.append(len(names))
        names += name.encode() + b"\0"
    body = b""
    table = bytes(64)
    for offset, (_, kind, link, content) in zip(
        offsets, [*sections, ("", 3, 0, names)], strict=True
    ):
        place = 64 + len(body)
        table += struct.pack("<IIQQQQIIQQ", offset, kind, 0, 0, place, len(content), link, 0, 1, 0)
        body += content
    count = len(sections) + 2
    head = b"\x7fELF\x02\x01".ljust(40, b"\0") + struct.pack("<Q", 64 + len(body))
    head = head.ljust(58, b"\0") + struct.pack("<HHH", 64, count, count - 1)
    return head + body + table


def test_needed_libraries_in_their_order() -> None:
    strings = b"\0libc.so.6\0libm.so.6\0"
    dynamic = struct.pack("<8q", 1, 11, 14, 1, 1, 1, 0, 0)
    data = elf([(".dynstr", 3, 0, strings), (".dynamic", 6, 1, dynamic)])
    assert needed_libraries(data) == ["libm.so.6", "libc.so.6"]


def test_a_static_program_needs_nothing() -> None:
    assert needed_libraries(elf([])) == []


def test_a_real_program() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    assert is_elf(data)
    assert "libc.so.6" in needed_libraries(data)


def test_module_information() -> None:
    data = elf([(".modinfo", 1, 0, b"depends=a,b\0\0license=GPL\0")])
    assert module_information(data) == {"depends": "a,b", "license": "GPL"}


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x02\x01", b"#!/bin/sh", elf([])[:80]])
def test_what_is_no_elf_is_refused(data: bytes) -> None:
    with pytest.raises(BoxError, match="not a"):
        module_information(data)
    with pytest.raises(BoxError, match="not a"):
        needed_libraries(data)
