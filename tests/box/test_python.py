import pytest

from box.errors import BoxError
from box.python import imported_modules


def test_imports_at_any_depth_but_not_the_packages_own() -> None:
    sources = [
        "from __future__ import annotations\nimport os, a.b.c\nfrom . import x",
        "def f():\n    from collections.abc import Mapping\nfrom a.b import y",
    ]
    assert imported_modules(sources, "a.b") == {"__future__", "os", "collections.abc"}


def test_what_the_image_will_not_have_is_refused() -> None:
    with pytest.raises(BoxError, match=r"a\.b imports msgspec"):
        imported_modules(["import msgspec"], "a.b")
