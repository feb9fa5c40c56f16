from pathlib import Path

import pytest

from box.build import CACHE, IMAGES, Recipe, build
from box.connect.recipe import RECIPE as CONNECT
from box.demo.recipe import RECIPE as DEMO
from box.image import MANIFEST

pytestmark = [
    pytest.mark.box,
    pytest.mark.skipif(
        not (IMAGES / "demo" / MANIFEST).exists() or not (CACHE / "lock.json").exists(),
        reason="needs `make box` first",
    ),
]


@pytest.mark.parametrize("recipe", [CONNECT, DEMO], ids=lambda recipe: recipe.name)
def test_two_builds_are_the_same_bytes(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert build(recipe, tmp_path / name)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    assert not build(recipe, tmp_path / "first")
