"""How long the connect VM takes to boot, against the same kernel with an init that only prints.

`python -m bench.connect_vm_boot [RUNS]`, as root (it makes a network namespace with one tap
device; nothing leaves it). Prints a line per run and the medians. "Ready" is when the agent
sends its challenge on the control port. Both machines have the same devices and command line,
and take turns. CPU seconds are QEMU's: they tell more than the clock when the machine is busy.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import NamedTuple

from connect_vm import cpio
from connect_vm.addresses import Addresses
from connect_vm.images import AGENT_PORT, find_image, stage
from connect_vm.vm_libvirt import MEMORY_MIB

NETWORK = IPv4Network("172.16.0.0/29")
HOST, STATIC, CONTROL = (IPv4Address(f"172.16.0.{n}") for n in (1, 2, 3))
MARK = b"bare kernel up\n"
GIVE_UP = 120.0  # seconds
POLL = 0.01  # seconds
NONCE = 32  # bytes the agent sends first
INSIDE = "--inside"  # said by this program to itself in the namespace


class Took(NamedTuple):
    """One boot, in seconds."""

    clock: float
    cpu: float


def trivial_init() -> bytes:
    """A static x86-64 program: write(1, MARK), then power off. Source: elf(5), reboot(2)."""
    base, head = 0x400000, 64 + 56
    code = b"\xb8\1\0\0\0\xbf\1\0\0\0\x48\x8d\x35%b\xba%b\x0f\x05" + (
        b"\xb8\xa9\0\0\0\xbf%b\xbe%b\xba%b\x0f\x05\xeb\xfe"
    )
    number = struct.Struct("<I").pack
    message = len(code) - code.count(b"%b") * 2 + 5 * 4  # where MARK starts: after the code
    code = code % (
        number(message - 17), number(len(MARK)),
        number(0xFEE1DEAD), number(0x28121969), number(0x4321FEDC),
    )  # fmt: skip
    size = head + len(code) + len(MARK)
    elf = b"\x7fELF\2\1\1".ljust(16, b"\0")
    elf += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + head, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return elf + code + MARK


def bare_initramfs() -> bytes:
    """An archive with the trivial init and the console it writes to."""
    return cpio.archive(
        [
            cpio.directory("dev"),
            cpio.character_device("dev/console", 5, 1),
            cpio.regular("init", trivial_init(), 0o755),
        ]
    )


def machine(
    kernel: Path, initramfs: Path, line: str, console: Path, tap: str = "tap0"
) -> subprocess.Popen[bytes]:
    """QEMU with what libvirt gives the connect VM (vm_libvirt.DOMAIN_XML), emulated."""
    extra = os.environ.get("QEMU_EXTRA", "").split()
    return subprocess.Popen(
        [
            "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35,usb=off", "-m", str(MEMORY_MIB),
            "-cpu", "Nehalem,+rdrand",
            "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", kernel, "-initrd", initramfs, "-append", line,
            "-serial", f"file:{console}",
            "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
            "-device", "virtio-net-pci,netdev=n", *extra,
        ]
    )  # fmt: skip


def cpu_seconds(pid: int) -> float:
    """What a process has used so far. Source: proc(5), /proc/PID/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def agent_ready() -> bool:
    """Whether the agent sends its challenge."""
    try:
        with socket.create_connection((str(CONTROL), AGENT_PORT), timeout=1) as sock:
            return len(sock.recv(NONCE, socket.MSG_WAITALL)) == NONCE
    except OSError:
        return False


def timed(kernel: Path, initramfs: Path, line: str, connect: bool) -> Took:
    """From starting QEMU until the machine is ready. Raises TimeoutError."""
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder, "console")
        console.touch()
        began = time.monotonic()
        process = machine(kernel, initramfs, line, console)
        try:
            while time.monotonic() - began < GIVE_UP:
                if agent_ready() if connect else MARK.strip() in console.read_bytes():
                    took = time.monotonic() - began
                    if os.environ.get("SHOW"):
                        print(console.read_text(errors="replace"))
                    return Took(took, cpu_seconds(process.pid))
                time.sleep(POLL)
        finally:
            process.kill()
            process.wait()
        raise TimeoutError(console.read_text(errors="replace")[-2000:])


def measure(runs: int) -> None:
    """Interleaved runs, and their medians."""
    image = find_image()
    addresses = Addresses(NETWORK, HOST, STATIC, CONTROL)
    bare: list[Took] = []
    connect: list[Took] = []
    with tempfile.TemporaryDirectory() as folder:
        initramfs = stage(Path(folder), image, addresses, bytes(32))
        trivial = Path(folder, "bare")
        trivial.write_bytes(bare_initramfs())
        for _ in range(runs):
            bare.append(timed(image.kernel, trivial, image.command_line, connect=False))
            connect.append(timed(image.kernel, initramfs, image.command_line, connect=True))
            print(f"bare {bare[-1]}, connect VM {connect[-1]}", flush=True)
    for name in Took._fields:
        low = statistics.median(getattr(took, name) for took in bare)
        high = statistics.median(getattr(took, name) for took in connect)
        print(f"{name}: bare {low:.2f} s, ready {high:.2f} s, ratio {high / low:.2f}")
    print("load", *os.getloadavg())


def main() -> None:
    """Measure in a network namespace of our own."""
    arguments = sys.argv[1:]
    if INSIDE not in arguments:
        inside = [sys.executable, "-m", "bench.connect_vm_boot", INSIDE, *arguments]
        sys.exit(subprocess.run(["unshare", "--net", *inside]).returncode)
    for command in (
        "link set lo up",
        "tuntap add tap0 mode tap",
        f"address add {HOST}/{NETWORK.prefixlen} dev tap0",
        "link set tap0 up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    measure(int((arguments[1:] or ["5"])[0]))


if __name__ == "__main__":
    main()
