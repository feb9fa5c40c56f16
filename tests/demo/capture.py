"""What passes the relay's network interface, so that plaintext can be looked for in it."""

from __future__ import annotations

import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.demo.checks import FailedError
from tests.demo.world import Connection, Share
from tests.lab import Host
from tests.lab.plan import PORT
from tunnel.errors import VshareError

ENDS_WITHIN = 10.0  # seconds for tcpdump to write what it has
SEEN_WITHIN = 10.0  # seconds from a packet to the file
POLL = 0.05  # seconds
BUFFER_KIB = 65_536  # what may wait for tcpdump, so that nothing is dropped


class Capture:
    """A capture that runs, or has ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secret = secrets.token_hex(16)
        """For payload of `vconnect`: nobody on the way may see it."""
        self.public = secrets.token_hex(16)
        """For a visitor of the URL, which is HTTP in the demo: shows that the capture sees."""

    def verify(self, shared: Share) -> str:
        """After the end: what was seen and what was not. Raises FailedError."""
        seen = self.path.read_bytes()
        for what, text in (("the payload", self.secret), ("the code", shared.code)):
            if text.encode() in seen:
                raise FailedError(f"{what} passed the relay in plaintext")
        for what, text in (("the share's name", shared.name), ("the URL's payload", self.public)):
            if text.encode() not in seen:
                raise FailedError(f"{what} is not in the capture: it looked at something else")
        return f"in {len(seen) / 1e6:.1f} MB: the share's name, not the payload, not the code"


@contextmanager
def capturing(host: Host) -> Iterator[Capture]:
    """Capture all of the host's packets, whole, for the length of a block. Raises VshareError."""
    capture = Capture(host.tmp / f"capture-{secrets.token_hex(4)}.pcap")
    # -U: packets are in the file as they come, which `send_marks` waits for
    options = ["-i", PORT, "-Z", "root", "-U", "--immediate-mode", "-B", str(BUFFER_KIB)]
    with host.running(["tcpdump", *options, "-w", str(capture.path)]) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        if "listening on" not in first:
            raise VshareError(f"tcpdump did not start: {first.strip()}")
        yield capture
        process.send_signal(signal.SIGINT)
        try:
            _, words = process.communicate(timeout=ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            raise VshareError("tcpdump did not end") from None
    if "\n0 packets dropped by kernel" not in words:
        raise VshareError(f"the capture is not whole: {words.strip()}")


def send_marks(link: Connection, shared: Share, capture: Capture) -> None:
    """Send the marks: the secret one by static IP and SOCKS, then the public one by the URL.

    Returns when the last of them is in the file. Raises VshareError.
    """
    for place, proxy in ((link.ip, "-"), (shared.name, link.socks)):
        probe = ["python", "-m", "tests.demo.probe", "marked", capture.secret]
        link.host.run([*probe, f"{place}:7", proxy])
    url = f"{shared.url.rstrip('/')}/about?{capture.public}"
    command = ["curl", "-sSf", "-o", "/dev/null", "--noproxy", "*", "--max-time", "30", url]
    subprocess.run(command, check=True)
    deadline = time.monotonic() + SEEN_WITHIN
    while capture.public.encode() not in capture.path.read_bytes():
        if time.monotonic() > deadline:
            raise VshareError(f"the capture does not show the request for {url}")
        time.sleep(POLL)
