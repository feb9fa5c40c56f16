"""The gateway differs from nginx only where there is a reason, and the document says where."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance import proxies
from tests.conformance.table import DOCUMENT, all_cases, compare_all, render

pytestmark = pytest.mark.skipif(not proxies.NGINX, reason="there is no nginx to compare with")
_WITHIN = 300  # seconds; it takes 40 on a quiet machine


@pytest.mark.programs
@pytest.mark.timeout(_WITHIN + 20)
def test_every_difference_has_a_reason_and_is_written_down() -> None:
    found = asyncio.run(asyncio.wait_for(compare_all(), _WITHIN))
    assert not found.unexplained
    assert not found.unused
    written = DOCUMENT.read_text().replace(f"nginx {found.version} ", "nginx ")
    text = render(found).replace(f"nginx {found.version} ", "nginx ")
    assert text == written, "run `python -m tests.conformance --write` and read what changed"


def test_cases_have_names_of_their_own() -> None:
    names = [each.name for each in all_cases()]
    assert len(names) == len(set(names)) > 400
