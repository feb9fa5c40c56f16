"""What an ELF file needs: shared libraries (DT_NEEDED) and, for kernel modules, other modules.

Read here and not with ldd(1), which asks the host's own loader. 64-bit little-endian only.
Source: elf(5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from box.errors import BoxError

MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
SHT_DYNAMIC = 6
DT_NEEDED = 1
_SECTION = struct.Struct("<IIQQQQIIQQ")
_DYNAMIC = struct.Struct("<qQ")


def is_elf(data: bytes) -> bool:
    """Whether `data` starts like a file this module can read."""
    return data.startswith(MAGIC)


def needed_libraries(data: bytes) -> list[str]:
    """The sonames a program or library is linked to, in order. A static program: none."""
    try:
        sections = list(_sections(data))
        return [
            name
            for section in sections
            if section[1] == SHT_DYNAMIC
            for name in _needed(data, section, sections[section[6]])
        ]
    except (struct.error, IndexError, ValueError) as error:
        raise BoxError(f"not a readable ELF file: {error}") from error


def module_information(data: bytes) -> dict[str, str]:
    """The `key=value` pairs of a kernel module's .modinfo section (the last one of each key)."""
    try:
        sections = list(_sections(data))
        names = sections[struct.unpack_from("<H", data, 62)[0]]
        for section in sections:
            if _string(data, names[4] + section[0]) == ".modinfo":
                text = data[section[4] : section[4] + section[5]].decode()
                pairs = (item.partition("=") for item in text.split("\0") if item)
                return {key: value for key, _, value in pairs}
    except (struct.error, IndexError, ValueError) as error:
        raise BoxError(f"not a readable kernel module: {error}") from error
    raise BoxError("not a kernel module: it has no .modinfo section")


def _sections(data: bytes) -> Iterator[tuple[int, ...]]:
    if not is_elf(data):
        raise ValueError("wrong magic")
    (offset,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    for number in range(count):
        yield _SECTION.unpack_from(data, offset + number * size)


def _needed(data: bytes, dynamic: tuple[int, ...], strings: tuple[int, ...]) -> Iterator[str]:
    for position in range(dynamic[4], dynamic[4] + dynamic[5], _DYNAMIC.size):
        tag, value = _DYNAMIC.unpack_from(data, position)
        if tag == DT_NEEDED:
            yield _string(data, strings[4] + value)


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
