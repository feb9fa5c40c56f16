"""The demo VM: something to share, with the services that people try first."""

from __future__ import annotations

import subprocess
from pathlib import Path

from box import install, python, vagrant
from box.build import INITRAMFS_FILE, KERNEL_FILE, Recipe
from box.errors import BoxError
from box.sysroot import Sysroot
from box.tree import Tree

HERE = Path(__file__).resolve().parent
OURS = ("__init__", "dns", "echo", "large", "pages", "services", "site", "websocket")
PACKAGES = (
    "busybox-static", "iproute2", "libapparmor1", "libaudit1", "libbsd0", "libbz2-1.0", "libc6",
    "libcap-ng0",
    "libcap2", "libcom-err2", "libcrypt1", "libexpat1", "libffi8", "libgcrypt20", "libglib2.0-0",
    "libgpg-error0", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3",
    "libkrb5support0", "liblz4-1", "liblzma5", "libmd0", "libmnl0", "libnsl2",
    "libnuma1", "libpam-modules", "libpam0g",
    "libpcre2-8-0", "libpython3.11-minimal", "libpython3.11-stdlib", "libselinux1", "libssl3",
    "libsystemd0", "libtirpc3", "libudev1", "liburing2", "libuuid1", "libwrap0", "libzstd1",
    "openssh-client", "openssh-server", "openssh-sftp-server", "python3.11-minimal",
    "qemu-guest-agent", "sudo", "zlib1g",
)  # fmt: skip
MODULES = ("virtio_pci", "virtio_net", "virtio_rng", "virtio_console")
# not in the image: tests, tools and user interfaces that no visitor's script imports
LEFT_OUT = ("test/", "idlelib/", "lib2to3/", "ensurepip/", "tkinter/", "turtledemo/",
            "pydoc_data/", "distutils/", "config-", "__phello__/")  # fmt: skip
COMMAND_LINE = (
    "console=ttyS0 quiet panic=1 mitigations=off rdinit=/init random.trust_cpu=on cryptomgr.notests"
)
ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n"
    "sshd:x:100:65534::/run/sshd:/bin/false\n"
    "vagrant:x:1000:1000::/home/vagrant:/bin/sh\n"
    "nobody:x:65534:65534::/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nvagrant:x:1000:\nnogroup:x:65534:\n",
    "etc/hostname": "demo\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 demo\n",
    "etc/shells": "/bin/sh\n",
    "etc/profile": "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/os-release": 'ID=vshare-demo\nPRETTY_NAME="vshare demo machine"\n',
    "etc/pam.d/other": "".join(f"{kind} required pam_permit.so\n"
                               for kind in ("auth", "account", "password", "session")),
}  # fmt: skip
VAGRANTFILE = f"""\
# frozen_string_literal: true
folder = __dir__
Vagrant.configure("2") do |config|
  config.vm.guest = :linux
  config.ssh.shell = "sh"
  config.ssh.insert_key = false
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :libvirt do |libvirt|
    libvirt.kernel = File.join(folder, "{KERNEL_FILE}")
    libvirt.initrd = File.join(folder, "{INITRAMFS_FILE}")
    libvirt.cmd_line = "{COMMAND_LINE}"
  end
end
""".encode()


def sources() -> list[Path]:
    """All of our own files that go into the image."""
    return [path for path in sorted(HERE.iterdir()) if path.is_file()]


def fill(tree: Tree, sysroot: Sysroot) -> bytes:
    """Put the VM's file system together; the kernel. Raises BoxError."""
    for path in ("dev", "proc", "sys", "var/empty", "var/log", "run/sshd", "etc/ssh", "mnt"):
        tree.directory(path)
    tree.directory("tmp", 0o1777)
    tree.link("var/run", "../run")
    _settings(tree)
    install.kernel_modules(tree, MODULES)
    install.busybox(tree, _applets(tree, sysroot))
    tree.copy("bin/ss")
    tree.copy("usr/sbin/qemu-ga")
    _ssh(tree)
    _sudo(tree)
    _python(tree, sysroot)
    return install.kernel_image(tree)


def finish(kernel: bytes, initramfs: bytes) -> dict[str, bytes]:
    """The files of the image."""
    files = {KERNEL_FILE: kernel, INITRAMFS_FILE: initramfs}
    return {**files, "vshare-demo.box": vagrant.box_file(VAGRANTFILE, files)}


def _settings(tree: Tree) -> None:
    for path, text in ACCOUNTS.items():
        tree.file(path, text.encode())
    tree.file("etc/shadow", b"root:*:::::::\nsshd:*:::::::\nvagrant:*:::::::\n", 0o600)
    tree.link("init", "bin/busybox")
    tree.file("etc/inittab", (HERE / "inittab").read_bytes())
    tree.file("etc/rc", (HERE / "rc").read_bytes(), 0o755)
    tree.file("etc/guest-agent", (HERE / "guest-agent").read_bytes(), 0o755)
    script = (HERE / "udhcpc.script").read_bytes()
    tree.file("etc/udhcpc/default.script", script, 0o755)
    # `vagrant halt` and `virsh shutdown` call it with arguments that busybox does not know
    tree.file("sbin/shutdown", b"#!/bin/sh\nexec poweroff\n", 0o755)


def _ssh(tree: Tree) -> None:
    for path in ("usr/sbin/sshd", "usr/bin/ssh-keygen", "usr/lib/openssh/sftp-server"):
        tree.copy(path)
    tree.file("etc/ssh/sshd_config", (HERE / "sshd_config").read_bytes())
    key = (HERE / "vagrant.pub").read_bytes()
    for home, owner in (("root", 0), ("home/vagrant", 1000)):
        tree.directory(home, 0o755 if owner else 0o700, owner)
        tree.directory(f"{home}/.ssh", 0o700, owner)
        tree.file(f"{home}/.ssh/authorized_keys", key, 0o600, owner)


def _sudo(tree: Tree) -> None:
    for path in tree.contents.below("usr/libexec/sudo"):
        if path.endswith("/libsudo_util.so.0.0.0"):
            tree.copy(path, "usr/libexec/sudo/libsudo_util.so.0")
            tree.copy(path, "lib/x86_64-linux-gnu/libsudo_util.so.0")
    tree.copy("usr/libexec/sudo/sudoers.so")
    tree.file("usr/bin/sudo", tree.contents.read("usr/bin/sudo"), 0o4755)
    rules = b"root ALL=(ALL:ALL) ALL\nvagrant ALL=(ALL:ALL) NOPASSWD: ALL\n"
    tree.file("etc/sudoers", rules, 0o440)
    tree.copy("lib/x86_64-linux-gnu/security/pam_permit.so")


def _python(tree: Tree, sysroot: Sysroot) -> None:
    prefix = python.LIBRARY + "/"
    files = [
        path.removeprefix(prefix)
        for path in tree.contents.below(python.LIBRARY)
        if path.endswith((".py", ".so")) and (sysroot.folder / path).exists()
    ]
    install.python_with(tree, sysroot, [f for f in files if not f.startswith(LEFT_OUT)])
    ours = {f"{prefix}demo/{name}.py": (HERE / f"{name}.py").read_bytes() for name in OURS}
    install.programs(tree, sysroot, ours)


def _applets(tree: Tree, sysroot: Sysroot) -> list[str]:
    program = sysroot.folder / "busybox"
    program.write_bytes(tree.contents.read("bin/busybox"))
    program.chmod(0o755)
    done = subprocess.run([program, "--list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BoxError("busybox does not run on this machine", "images are built on amd64")
    return [name for name in done.stdout.split() if name not in ("busybox", "sh.distrib")]


RECIPE = Recipe("demo", PACKAGES, sources, fill, finish, COMMAND_LINE, zstd_level=3)
