"""`python -m tests.conformance [--write]`: how the gateway differs from nginx."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.conformance.table import DOCUMENT, compare_all, render


def main() -> int:
    """0 if every difference is explained."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/http-conformance.md")
    arguments = parser.parse_args()
    found = asyncio.run(compare_all())
    text = render(found)
    if arguments.write:
        DOCUMENT.write_text(text)
    else:
        sys.stdout.write(text)
    for difference in found.unexplained:
        sys.stderr.write(f"unexplained: {difference}\n")
    return 1 if found.unexplained else 0


sys.exit(main())
