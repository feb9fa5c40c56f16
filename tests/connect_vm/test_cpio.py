import shutil
import stat
import subprocess

import pytest

from connect_vm import cpio

ENTRIES = [
    cpio.directory("etc", 0o700),
    cpio.regular("etc/odd", b"12345", 0o600, owner=1000),
    cpio.symlink("link", "etc/odd"),
    cpio.character_device("console", 5, 1),
]


def fields(data: bytes, offset: int = 0) -> list[int]:
    return [int(data[offset + 6 + n * 8 : offset + 14 + n * 8], 16) for n in range(13)]


def test_a_record_starts_with_the_magic_and_thirteen_numbers() -> None:
    data = cpio.archive([cpio.regular("a", b"xyz", 0o600)])
    assert data.startswith(b"070701")
    assert fields(data) == [1, stat.S_IFREG | 0o600, 0, 0, 1, 0, 3, 0, 0, 0, 0, 2, 0]
    assert data[110:112] == b"a\0"
    assert data[112:116] == b"xyz\0"


@pytest.mark.parametrize("size", range(9))
def test_everything_is_aligned_whatever_the_lengths(size: int) -> None:
    for name in ("a", "ab", "abc", "abcd"):
        data = cpio.archive([cpio.regular(name, b"x" * size)])
        assert len(data) % cpio.ALIGNMENT == 0
        trailer = data.rindex(b"070701")
        assert trailer % cpio.ALIGNMENT == 0
        assert data[trailer + 110 :].startswith(b"TRAILER!!!\0")


def test_owner_and_device_are_numbers_in_the_header() -> None:
    owned = fields(cpio.archive([cpio.regular("a", b"", owner=1000)]))
    assert owned[2:4] == [1000, 1000]
    device = fields(cpio.archive([cpio.character_device("console", 5, 1)]))
    assert device[9:11] == [5, 1]


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_cpio_reads_it() -> None:
    done = subprocess.run(
        ["cpio", "-itv", "--quiet", "--numeric-uid-gid"],
        input=cpio.archive(ENTRIES),
        capture_output=True,
        check=True,
    )
    lines = [line.split() for line in done.stdout.decode().splitlines()]
    assert [(line[0], line[2]) for line in lines] == [
        ("drwx------", "0"),
        ("-rw-------", "1000"),
        ("lrwxrwxrwx", "0"),
        ("crw-------", "0"),
    ]
    assert lines[2][-3:] == ["link", "->", "etc/odd"]
