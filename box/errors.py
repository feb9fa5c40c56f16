"""Why an image cannot be built."""

from __future__ import annotations

from tunnel.errors import VshareError


class BoxError(VshareError):
    """An image could not be built: a package, a file in it or a tool is missing or broken."""
