"""Builds an image when what it is made from has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from box import image
from box.debs import Cache, Contents, Deb
from box.sysroot import Sysroot
from box.tree import Tree

ROOT = Path(__file__).resolve().parent
IMAGES = ROOT / "images"
CACHE = ROOT / "cache"
KERNEL_FILE = "vmlinuz"
INITRAMFS_FILE = "initramfs.cpio.zst"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image: its name, packages, own sources and the steps.

    `fill` puts everything into the tree; `finish` makes the output files out of the kernel
    and the compressed initramfs.
    """

    name: str
    packages: Sequence[str]
    sources: Callable[[], list[Path]]
    fill: Callable[[Tree, Sysroot], bytes]
    finish: Callable[[bytes, bytes], dict[str, bytes]]
    command_line: str
    zstd_level: int  # 19: smallest; 3: built quickly


def build(recipe: Recipe, folder: Path | None = None, cache: Path = CACHE) -> bool:
    """Build into `folder` (IMAGES/name if not given) unless it is up to date; whether it was built.

    Raises BoxError.
    """
    place = folder or IMAGES / recipe.name
    store = Cache(cache)
    debs = store.fetch([store.kernel(), *recipe.packages, *image.ZSTD_TOOLS])
    inputs = image.digest_of([*ROOT.glob("*.py"), *recipe.sources()], debs)
    if image.is_current(place, inputs):
        return False
    image.write(place, inputs, debs, _make(recipe, store, debs), recipe.command_line)
    return True


def _make(recipe: Recipe, store: Cache, debs: list[Deb]) -> dict[str, bytes]:
    contents = Contents()
    for deb in debs:
        contents.add(store.read(deb))
    with Sysroot(contents) as sysroot:
        tree = Tree(contents)
        kernel = recipe.fill(tree, sysroot)
        return recipe.finish(kernel, image.compress(sysroot, tree.archive(), recipe.zstd_level))
