"""Settings for all tests."""

from __future__ import annotations

import gc

from hypothesis import settings

# No deadline per example: a busy machine is no fault of the code.
settings.register_profile("vshare", deadline=None)
settings.load_profile("vshare")


def pytest_collection_finish() -> None:
    """Tests collect garbage to find what they leaked; what was imported need not be searched."""
    gc.collect()
    gc.freeze()
