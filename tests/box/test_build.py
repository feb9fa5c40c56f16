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
    build(recipe)  # does nothing after `make box`: then that was the first build
    assert build(recipe, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (IMAGES / recipe.name / path.name).read_bytes(), path.name
    assert not build(recipe, tmp_path)
