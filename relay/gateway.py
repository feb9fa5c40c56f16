"""The HTTP gateway: brings browsers' requests to shares."""

from __future__ import annotations

import asyncio
import ssl

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from relay.front import UNRECOGNIZED_NAME, Visitor, refuse
from relay.registry import LocalRegistry


class Gateway:
    """Stub."""

    def __init__(
        self,
        registry: LocalRegistry,
        key: EllipticCurvePrivateKey,
        domain: str,
        tls: ssl.SSLContext,
    ) -> None:
        pass

    async def run(self) -> None:
        """Run until cancelled."""
        await asyncio.get_running_loop().create_future()

    async def serve(self, visitor: Visitor) -> None:
        """Answer."""
        refuse(visitor, UNRECOGNIZED_NAME)
