from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import xml.etree.ElementTree as ET
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from connect_vm import images, vm, vm_libvirt, vm_vagrant
from connect_vm.addresses import around
from connect_vm.agent import service
from connect_vm.images import ImageError, find_image, load_image, with_config
from tunnel.errors import UsageError

ADDRESSES = around(IPv4Address("172.16.0.2"))
SECRET = bytes(range(32))


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    files = {images.KERNEL: b"kernel", images.INITRAMFS: gzip.compress(b"x")}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    outputs = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest = {"outputs": outputs, "command_line": 'console=ttyS0 "quiet" <&>'}
    (tmp_path / images.MANIFEST).write_text(json.dumps(manifest))
    return tmp_path


def test_an_image_is_found_where_the_environment_says(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(images.ENVIRONMENT, str(image_folder))
    assert find_image() == load_image(image_folder)
    monkeypatch.setenv(images.ENVIRONMENT, str(image_folder / "none"))
    with pytest.raises(ImageError, match="none") as caught:
        find_image()
    assert "make box" in caught.value.hint


@pytest.mark.parametrize("name", [images.KERNEL, images.INITRAMFS, images.MANIFEST])
def test_a_changed_image_is_refused(image_folder: Path, name: str) -> None:
    (image_folder / name).write_bytes(b"{}")
    with pytest.raises(ImageError):
        load_image(image_folder)


def test_the_agent_reads_what_the_initramfs_carries() -> None:
    data = with_config(b"12345", ADDRESSES, SECRET)
    assert data.startswith(b"12345" + bytes(3) + b"070701")
    text = data[data.index(b"interface") : data.index(b"\0", data.index(b"secret"))].decode()
    config = service.read_config(text)
    assert config.static == ["172.16.0.2"]
    assert config.control == ("172.16.0.3", 7000)
    assert config.secret == SECRET
    assert "addresses 172.16.0.2/29 172.16.0.3/29\n" in text


@pytest.mark.parametrize("text", ["", "control\n", "control a b\nport 1\nsecret 00\naddresses a\n"])
def test_a_configuration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((KeyError, ValueError)):
        service.read_config(text)


@pytest.mark.parametrize("kind", ["kvm", "qemu"])
def test_the_domain_is_what_was_asked_for(tmp_path: Path, kind: str) -> None:
    console = tmp_path / 'a "console" & <more>'
    driver = vm_libvirt.LibvirtDriver(vm.Wish(console=console))
    root = ET.fromstring(driver._domain_xml(tmp_path, tmp_path / "initramfs", "a=<b>")(kind))
    assert root.get("type") == kind
    assert root.findtext("os/cmdline") == "a=<b>"
    assert root.findtext("os/initrd") == str(tmp_path / "initramfs")
    source = root.find("devices/serial/source")
    assert source is not None
    assert source.get("path") == str(console)
    quiet = vm_libvirt.LibvirtDriver(vm.Wish())._domain_xml(tmp_path, tmp_path, "")(kind)
    assert ET.fromstring(quiet).find("devices/serial") is not None


def test_broken_kvm_is_remembered_until_the_kernel_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not vm_libvirt.kvm_is_broken()
    vm_libvirt.remember_broken_kvm()
    assert vm_libvirt.kvm_is_broken()
    (tmp_path / "vshare" / "kvm.json").write_text('{"broken_on": "another"}')
    assert not vm_libvirt.kvm_is_broken()
    (tmp_path / "vshare" / "kvm.json").write_text("nonsense")
    assert not vm_libvirt.kvm_is_broken()


def test_the_vagrantfile_quotes_what_it_is_given(image_folder: Path) -> None:
    folder = image_folder / 'with "quotes" #{and} more'
    text = vm_vagrant.vagrantfile(load_image(image_folder), folder / "initramfs", ADDRESSES)
    assert 'ip: "172.16.0.2", netmask: "255.255.255.248"' in text
    assert '\\"quotes\\" \\#{and}' in text
    assert '\\"quiet\\"' in text


def test_vagrant_gives_the_host_an_address_that_is_no_machines(image_folder: Path) -> None:
    addresses = around(IPv4Address("172.16.0.1"), 2)
    text = vm_vagrant.vagrantfile(load_image(image_folder), image_folder / "x", addresses)
    assert 'ip: "172.16.0.1"' in text
    assert 'libvirt__host_ip: "172.16.0.3"' in text


def test_vagrant_stays_where_the_connect_vm_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the user's own machine would be what is destroyed in the end."""
    for name in ("VAGRANT_CWD", "VAGRANT_DOTFILE_PATH", "VAGRANT_VAGRANTFILE", "VAGRANT_HOME"):
        monkeypatch.setenv(name, "/elsewhere")
    left = [name for name in vm_vagrant.environment() if name.startswith("VAGRANT_")]
    assert "VAGRANT_HOME" in left
    assert not vm_vagrant.ELSEWHERE.intersection(left)


def test_a_domain_is_ended_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    monkeypatch.setattr(vm_libvirt, "URI", "test:///default")
    connection = libvirt.open("test:///default")
    domain = connection.lookupByName("test")
    asyncio.run(vm_libvirt.power_off("00000000-0000-0000-0000-000000000000"))
    assert domain.isActive()
    asyncio.run(vm_libvirt.power_off(domain.UUIDString()))
    assert not domain.isActive()
    domain.create()
    connection.close()


def test_an_unknown_driver() -> None:
    async def main() -> None:
        async with vm.run("hyperv", vm.Wish()):
            pass

    with pytest.raises(UsageError, match="hyperv"):
        asyncio.run(main())
