"""Puts the parts that both images have into a Tree: kernel modules, Python, busybox."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from box import python
from box.elf import module_information
from box.errors import BoxError
from box.modules import load_order
from box.sysroot import Sysroot
from box.tree import Tree

SIGNATURE_END = b"~Module signature appended~\n"
MODULES = "lib/modules"
MODULE_LIST = "etc/modules"  # read by /init: one file name a line, in the order to load


def kernel_image(tree: Tree) -> bytes:
    """The kernel (bzImage) of the one kernel package."""
    for path in tree.contents.below("boot"):
        if path.startswith("boot/vmlinuz-"):
            return tree.contents.files[path]
    raise BoxError("the kernel package has no boot/vmlinuz")


def kernel_modules(tree: Tree, wanted: Iterable[str]) -> None:
    """Add these modules and those that they need, and the list that /init loads them from."""
    paths = {
        _module_name(path): path for path in tree.contents.below(MODULES) if path.endswith(".ko")
    }

    def needs(name: str) -> list[str]:
        if name not in paths:
            raise BoxError(f"the kernel package has no module {name}")
        return module_information(tree.contents.files[paths[name]])["depends"].split(",")

    def present(name: str) -> list[str]:
        return [other for other in needs(name) if other]

    order = load_order(wanted, present)
    for name in order:
        tree.file(f"{MODULES}/{name}.ko", unsigned(tree.contents.files[paths[name]]))
    tree.file(MODULE_LIST, "".join(f"{name}.ko\n" for name in order).encode())
    # For modprobe, which loads many in one process; the list has them in order.
    tree.file(f"{MODULES}/modules.dep", "".join(f"{name}.ko:\n" for name in order).encode())
    release = next(iter(paths.values())).removeprefix(f"{MODULES}/").partition("/")[0]
    tree.link(f"{MODULES}/{release}", ".")


def unsigned(module: bytes) -> bytes:
    """A kernel module without its signature, whose check costs time at boot.

    The module comes out of the same image as the kernel, so the check would prove nothing.
    Source: the kernel's include/linux/module_signature.h.
    """
    if not module.endswith(SIGNATURE_END):
        return module
    header = len(module) - len(SIGNATURE_END) - 12
    size = int.from_bytes(module[header + 8 : header + 12], "big")
    return module[: header - size]


def python_with(tree: Tree, sysroot: Sysroot, files: Iterable[str]) -> None:
    """Add the interpreter and these files of its library, modules compiled."""
    tree.copy(python.PROGRAM, "usr/bin/python3")
    tree.directory(f"{python.LIBRARY}/lib-dynload")  # its absence would be warned about
    modules: list[str] = []
    for name in files:
        if name.endswith(".py"):
            modules.append(name)
        else:
            tree.copy(f"{python.LIBRARY}/{name}")
    sources = [
        python.Source(f"/{python.LIBRARY}/{name}", tree.contents.read(f"{python.LIBRARY}/{name}"))
        for name in modules
    ]
    for source, bytecode in zip(sources, python.compiled(sysroot, sources), strict=True):
        tree.file(f"{source.path.removeprefix('/')}c", bytecode)


def programs(tree: Tree, sysroot: Sysroot, sources: dict[str, bytes]) -> None:
    """Add our own Python modules, by path, each with its bytecode beside it as NAME.pyc."""
    jobs = [python.Source(f"/{path}", sources[path], documented=True) for path in sorted(sources)]
    for job, bytecode in zip(jobs, python.compiled(sysroot, jobs), strict=True):
        tree.file(f"{job.path.removeprefix('/')}c", bytecode)


def busybox(tree: Tree, applets: Iterable[str]) -> None:
    """Add busybox under these names."""
    tree.copy("bin/busybox")
    for applet in applets:
        tree.link(f"bin/{applet}", "busybox")


def _module_name(path: str) -> str:
    return posixpath.basename(path).removesuffix(".ko").replace("-", "_")
