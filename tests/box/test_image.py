from pathlib import Path

import pytest

from box import image
from box.debs import Deb
from box.install import SIGNATURE_END, unsigned

DEB = Deb("busybox", "1.35", "busybox.deb", "ab" * 32)


def test_an_image_is_current_until_an_input_or_an_output_changes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    folder = tmp_path / "image"
    before = image.digest_of([source], [DEB])
    image.write(folder, before, [DEB], {"a": b"1"}, "quiet")
    assert image.is_current(folder, before)
    source.write_text("two")
    assert not image.is_current(folder, image.digest_of([source], [DEB]))
    (folder / "a").write_bytes(b"2")
    assert not image.is_current(folder, before)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"inputs": "x"}'])
def test_a_broken_manifest_means_build_again(tmp_path: Path, text: str) -> None:
    (tmp_path / image.MANIFEST).write_text(text)
    assert not image.is_current(tmp_path, "x")


def test_a_modules_signature_is_taken_off() -> None:
    information = bytes(8) + (5).to_bytes(4, "big")
    assert unsigned(b"MODULE" + b"s" * 5 + information + SIGNATURE_END) == b"MODULE"
    assert unsigned(b"MODULE") == b"MODULE"
