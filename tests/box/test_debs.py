import io
import tarfile

import pytest

from box.debs import Contents, unpack
from box.errors import BoxError


def deb(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:xz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in links.items():
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    members = [("debian-binary", b"2.0\n"), ("odd", b"x"), ("data.tar.xz", output.getvalue())]
    result = b"!<arch>\n"
    for name, data in members:
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        result += head.encode() + data + b"\n" * (len(data) % 2)
    return result


def test_files_and_links_of_a_package() -> None:
    contents = unpack(deb({"usr/lib/a.so.1.0": b"A"}, {"usr/lib/a.so.1": "a.so.1.0"}))
    assert contents.read("usr/lib/a.so.1") == b"A"
    assert contents.permissions["usr/lib/a.so.1.0"] == 0o755
    assert contents.below("usr/lib") == ["usr/lib/a.so.1.0"]


@pytest.mark.parametrize(
    ("target", "real"),
    [("../x", "usr/x"), ("/x", "x"), ("./x", "usr/lib/x"), ("../lib/../x", "usr/x")],
)
def test_links_are_followed(target: str, real: str) -> None:
    contents = Contents()
    contents.files[real] = b"here"
    contents.links["usr/lib/link"] = target
    assert contents.real_path("usr/lib/link") == real


def test_a_loop_of_links_and_a_missing_file_are_named() -> None:
    contents = Contents()
    contents.links |= {"a": "b", "b": "a"}
    for path in ("a", "missing"):
        with pytest.raises(BoxError, match=f"no package has {path}"):
            contents.read(path)


@pytest.mark.parametrize("data", [b"", b"PK", b"!<arch>\n"])
def test_what_is_no_package_is_refused(data: bytes) -> None:
    with pytest.raises(BoxError, match="not a Debian package"):
        unpack(data)
