import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from box.vagrant import box_file, empty_disk


def test_a_box_holds_what_vagrant_looks_for() -> None:
    data = box_file(b"# ruby", {"vmlinuz": b"kernel"})
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["Vagrantfile", "box.img", "metadata.json", "vmlinuz"]
        assert all(member.mtime == 0 and member.uid == 0 for member in tar)
        metadata = tar.extractfile("metadata.json")
        assert metadata is not None
        assert json.load(metadata)["provider"] == "libvirt"


@pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")
def test_qemu_finds_no_fault_in_the_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(empty_disk(1 << 30))
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    shown = subprocess.run(
        ["qemu-img", "info", "--output=json", disk], check=True, capture_output=True
    )
    information = json.loads(shown.stdout)
    assert (information["format"], information["virtual-size"]) == ("qcow2", 1 << 30)
