"""The connect VM: a kernel, nftables, Python and the agent, as small and quick as they get."""

from __future__ import annotations

from pathlib import Path

from box import install, python, vagrant
from box.build import INITRAMFS_FILE, KERNEL_FILE, Recipe
from box.errors import BoxError
from box.sysroot import Sysroot
from box.tree import Tree

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent.parent / "connect_vm" / "agent"
SIZE_LIMIT = 24_000_000  # bytes, kernel and initramfs together: what people download and boot

PACKAGES = (
    "busybox-static", "libbsd0", "libc6", "libedit2", "libexpat1", "libgmp10", "libjansson4",
    "libmd0", "libmnl0", "libnftables1", "libnftnl11", "libpython3.11-minimal",
    "libpython3.11-stdlib", "libtinfo6", "libxtables12", "nftables", "python3.11-minimal",
    "zlib1g",
)  # fmt: skip
MODULES = (
    "virtio_pci", "virtio_net", "nf_tables", "nft_tproxy", "nfnetlink_queue", "nft_queue",
    "nft_reject_ipv4",
)  # fmt: skip
# In the place of the standard library's, under these names.
SLIM = {"socket": "slim_socket.py", "typing": "slim_typing.py"}
BENEATH_SLIM = ("_socket", "collections")
APPLETS = ("cat", "dmesg", "ip", "ls", "modprobe", "mount", "ps", "sh")
# The second line trusts what runs in here, which is our own; the third leaves out what nobody
# reads. napi_tx: an interrupt for each packet that was sent costs a fifth of the throughput.
COMMAND_LINE = (
    "console=ttyS0 quiet panic=1 rdinit=/init random.trust_cpu=on tsc=reliable cryptomgr.notests"
    " mitigations=off init_on_alloc=0 nokaslr hardened_usercopy=off randomize_kstack_offset=off"
    " apparmor=0 audit=0 psi=0 rcupdate.rcu_expedited=1 8250.nr_uarts=1"
    " virtio_net.napi_tx=0"
)
VAGRANTFILE = f"""\
# frozen_string_literal: true
folder = __dir__
Vagrant.configure("2") do |config|
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(folder, "{KERNEL_FILE}")
    libvirt.initrd = File.join(folder, "{INITRAMFS_FILE}")
    libvirt.cmd_line = "{COMMAND_LINE}"
  end
end
""".encode()


def sources() -> list[Path]:
    """All of our own files that go into the image."""
    return [
        path
        for folder in (HERE, AGENT)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]


def fill(tree: Tree, sysroot: Sysroot) -> bytes:
    """Put the VM's file system together; the kernel. Raises BoxError."""
    for path in ("dev", "proc", "sys", "tmp", "run", "root", "etc/vshare"):
        tree.directory(path)
    tree.file("init", (HERE / "init").read_bytes(), 0o755)
    install.kernel_modules(tree, MODULES)
    install.busybox(tree, APPLETS)
    tree.copy("usr/sbin/nft")
    agent = {
        f"agent/{path.relative_to(AGENT)}": path.read_bytes()
        for path in sorted(AGENT.rglob("*.py"))
    }
    start = {"boot/start.py": (HERE / "start.py").read_bytes()}
    own = (text.decode() for text in (agent | start).values())
    imports = python.imported_modules(own, "connect_vm.agent")
    roots = {*imports, *BENEATH_SLIM} - SLIM.keys()
    install.python_with(tree, sysroot, python.needed_modules(sysroot, roots))
    slim = {
        f"{python.LIBRARY}/{name}.py": (HERE / file).read_bytes() for name, file in SLIM.items()
    }
    install.programs(tree, sysroot, agent | start | slim)
    # the name under which the agent's modules import each other
    tree.link(f"{python.LIBRARY}/connect_vm/agent", "/agent")
    return install.kernel_image(tree)


def finish(kernel: bytes, initramfs: bytes) -> dict[str, bytes]:
    """The files of the image. Raises BoxError when they have grown too big."""
    size = len(kernel) + len(initramfs)
    if size > SIZE_LIMIT:
        raise BoxError(f"the connect VM has {size} bytes, over the limit of {SIZE_LIMIT}")
    files = {KERNEL_FILE: kernel, INITRAMFS_FILE: initramfs}
    return {**files, "vshare-connect.box": vagrant.box_file(VAGRANTFILE, files)}


RECIPE = Recipe("connect", PACKAGES, sources, fill, finish, COMMAND_LINE, zstd_level=19)
