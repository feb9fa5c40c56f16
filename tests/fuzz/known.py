"""Findings that are not mended yet: by target, what an input runs into, and what is wrong.

A finding that is here does not fail `python -m tests.fuzz`; it is counted as known. A line
whose finding is mended must go: test_fuzz.py holds that each still happens.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, str]] = {}
