"""Programs that a step asks, in processes of their own: what hangs is ended."""

from __future__ import annotations

import asyncio
import sys

from tunnel.doctor.finding import FailedError, Finding, State

PROGRAM_WITHIN = 20.0  # seconds; Vagrant starts in 1 to 5
MAX_SHOWN = 200  # characters of what a program said

_LIBVIRT = """
import os
import sys
try:
    import libvirt
except ImportError:
    sys.exit("libvirt-python is not installed (pip install 'vshare[libvirt]')")
libvirt.registerErrorHandler(lambda context, error: None, None)
uri = os.environ.get("LIBVIRT_DEFAULT_URI") or "qemu:///system"
try:
    number = libvirt.open(uri).getLibVersion()
except libvirt.libvirtError as error:
    sys.exit(str(error))
print(f"{uri}, version {number // 1000000}.{number // 1000 % 1000}.{number % 1000}")
"""


async def output_of(*command: str) -> str:
    """The first line that `command` prints. Raises FailedError with its own words, OSError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROGRAM_WITHIN):
            out, err = await process.communicate()
    except TimeoutError:
        raise FailedError(f"no answer in {PROGRAM_WITHIN:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = (out if process.returncode == 0 else err or out).decode(errors="replace").strip()
    line = said.splitlines()[-1 if process.returncode else 0][:MAX_SHOWN] if said else ""
    if process.returncode:
        raise FailedError(line or f"exit code {process.returncode}")
    return line


async def libvirt_answers(state: State, hint: str) -> Finding:
    """Whether libvirt can be reached; `state` and `hint` are for when it cannot."""
    try:
        return Finding("libvirt", State.OK, await output_of(sys.executable, "-c", _LIBVIRT))
    except FailedError as error:
        return Finding("libvirt", state, error.text, hint)
