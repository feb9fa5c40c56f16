"""The two ways to show an authority that a name is the relay's (RFC 8555 8.3, 8.4)."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from tunnel.errors import VshareError

PRESENT_WITHIN = 300.0  # seconds: it waits until the record is at all of the domain's servers
CLEAN_UP_WITHIN = 30.0  # seconds; nothing depends on it, and the relay may be ending
MAX_TOLD = 300  # characters of what the program says when it fails


class HttpProof:
    """Values by path, which the relay's own application answers."""

    kind = "http-01"

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def present(self, place: str, value: str) -> None:
        """See relay.acme_authority.Proof."""
        self.values[place] = value

    async def clear(self, place: str, value: str) -> None:
        """See relay.acme_authority.Proof."""
        self.values.pop(place, None)


class DnsHook:
    """A program that changes the domain's DNS records, called as lego's `exec` provider does:
    `PROGRAM present _acme-challenge.DOMAIN. VALUE`, and `cleanup` in place of `present` later."""

    kind = "dns-01"

    def __init__(self, program: Path) -> None:
        self._program = program

    async def present(self, place: str, value: str) -> None:
        """See relay.acme_authority.Proof."""
        await self._run(PRESENT_WITHIN, "present", place, value)

    async def clear(self, place: str, value: str) -> None:
        """See relay.acme_authority.Proof."""
        await self._run(CLEAN_UP_WITHIN, "cleanup", place, value)

    async def _run(self, within: float, *arguments: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise self._failed(arguments, error.strerror or str(error)) from error
        try:
            async with asyncio.timeout(within):
                _, told = await process.communicate()
        except TimeoutError:
            raise self._failed(arguments, f"was not done in {within:g} seconds") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
        if process.returncode:
            text = " ".join(told.decode(errors="replace").split())[-MAX_TOLD:]
            raise self._failed(arguments, text or f"ended with status {process.returncode}")

    def _failed(self, arguments: tuple[str, ...], reason: str) -> VshareError:
        call = " ".join((str(self._program), *arguments))
        return VshareError(
            f"the program of --acme-dns-hook failed: {call}: {reason}",
            "run it by hand; it has to add (present) and remove (cleanup) a TXT record",
        )
