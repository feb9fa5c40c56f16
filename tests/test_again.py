"""What failed beside others is tried once more, alone, if it is little."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import again

pytestmark = pytest.mark.programs

TEST = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number, request):
    runs = pathlib.Path(__file__).with_name(str(number))
    runs.write_text(runs.read_text() + "run " if runs.exists() else "run ")
    is_alone = not hasattr(request.config, "workerinput")
    assert {passes}
"""


def run(folder: Path, count: int, passes: str) -> tuple[int, list[int]]:
    """The exit code, and how often each test ran."""
    test = folder / "test_it.py"
    test.write_text(TEST.format(count=count, passes=passes))
    code = again.main(["-q", "-n", "1", str(test)])
    return code, [len((folder / str(number)).read_text().split()) for number in range(count)]


def test_what_fails_beside_others_and_passes_alone(tmp_path: Path) -> None:
    assert run(tmp_path, 3, "is_alone or number != 1") == (0, [1, 2, 1])


def test_what_fails_alone_too(tmp_path: Path) -> None:
    assert run(tmp_path, 2, "number != 1") == (1, [1, 2])


def test_many_are_not_tried_again(tmp_path: Path) -> None:
    assert run(tmp_path, again.FEW + 1, "is_alone") == (1, [1] * (again.FEW + 1))


def test_where_all_passes(tmp_path: Path) -> None:
    assert run(tmp_path, 1, "True") == (0, [1])


def test_what_cannot_run_is_not_tried_again() -> None:
    assert again.main(["-q", "--no-such-option"]) == 4
