"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline per example: a busy machine is no fault of the code.
settings.register_profile("vshare", deadline=None)
settings.load_profile("vshare")
