"""`python -m box connect|demo|verify`: build an image if it is out of date, or check builds."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from box.build import IMAGES, build
from box.connect.recipe import RECIPE as CONNECT
from box.demo.recipe import RECIPE as DEMO
from tunnel.errors import UsageError, VshareError

RECIPES = {recipe.name: recipe for recipe in (CONNECT, DEMO)}


def main(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    try:
        _run(arguments)
    except VshareError as error:
        print(f"error: {error.text}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(arguments: list[str]) -> None:
    for argument in arguments or ["connect", "demo"]:
        if argument == "verify":
            _verify()
        elif argument in RECIPES:
            built = build(RECIPES[argument])
            print(f"{IMAGES / argument}: {'built' if built else 'up to date'}")
        else:
            raise UsageError(f"no image {argument}", "use connect, demo or verify")


def _verify() -> None:
    for recipe in RECIPES.values():
        with TemporaryDirectory() as first, TemporaryDirectory() as second:
            for folder in (first, second):
                build(recipe, Path(folder))
            names = sorted(path.name for path in Path(first).iterdir())
            for name in names:
                if (Path(first) / name).read_bytes() != (Path(second) / name).read_bytes():
                    raise VshareError(f"two builds of {recipe.name} differ in {name}")
            print(f"{recipe.name}: two builds are the same ({', '.join(names)})")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
