"""What `vconnect doctor` examines on this host: what the connect VM and its static IP need."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from connect_vm.addresses import reserve
from connect_vm.images import find_image
from connect_vm.vm_libvirt import kvm_is_broken
from tunnel.dialler import reason_of
from tunnel.doctor.finding import Finding, State, Step
from tunnel.doctor.programs import libvirt_answers

KVM = Path("/dev/kvm")
_API_VERSION_CALL, _API_VERSION = 0xAE00, 12  # linux/kvm.h
_SLOWER = "the connect VM is emulated then, which takes some seconds more"


def local_steps() -> Iterator[Step]:
    """Every step, in order. What fails here is needed by the static IP, and by nothing else."""
    yield Step("KVM", _kvm)
    yield Step("libvirt", _libvirt)
    yield Step("connect VM image", _image)
    yield Step("static IP", _static_ip)


async def _kvm() -> Finding:
    if kvm_is_broken():
        return Finding("KVM", State.WARNING, "it was found not to run guests here", _SLOWER)
    try:
        descriptor = os.open(KVM, os.O_RDWR | os.O_CLOEXEC)
        try:
            version = fcntl.ioctl(descriptor, _API_VERSION_CALL)
        finally:
            os.close(descriptor)
    except OSError as error:
        return Finding("KVM", State.WARNING, f"{KVM}: {reason_of(error)}", _SLOWER)
    if version != _API_VERSION:
        return Finding("KVM", State.WARNING, f"{KVM} has API version {version}", _SLOWER)
    return Finding("KVM", State.OK, f"{KVM} can be used")


async def _libvirt() -> Finding:
    return await libvirt_answers(
        State.FAILED,
        "install libvirt-daemon-system and qemu-system-x86, and join the group libvirt;"
        " --disable-static-ip does without",
    )


async def _image() -> Finding:
    image = await asyncio.to_thread(find_image)
    return Finding("connect VM image", State.OK, str(image.folder))


async def _static_ip() -> Finding:
    with reserve() as addresses:
        return Finding("static IP", State.OK, f"{addresses.static} is free")
