"""Which programs of this host have closed a TCP socket whose last bytes nobody has taken yet.

Their FIN comes behind those bytes, so their counterpart, which does not read, cannot know of it
otherwise. The kernel's table says it (proc_net_tcp in the kernel's documentation).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_CLOSED = frozenset({"04", "0B"})  # FIN-WAIT-1, CLOSING: the FIN is sent, or waits to be
_WORD = 4  # bytes; each word of an address is in the host's byte order, which is little-endian


class ClosingSockets:
    """As of when it was made."""

    def __init__(self) -> None:
        self._pairs = set(_closing())

    def has_closed(self, sock: socket.socket) -> bool:
        """Whether the program that `sock` is connected to, on this host, has closed."""
        if not self._pairs or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        try:
            ours, theirs = sock.getsockname(), sock.getpeername()
        except OSError:  # it is not connected any more
            return False
        return not self._pairs.isdisjoint(zip(_forms(theirs), _forms(ours), strict=True))


def _closing() -> Iterator[tuple[str, str]]:
    """The local and the remote address of each such socket, as the table has them."""
    for path in _TABLES:
        try:
            lines = path.read_text().splitlines()[1:]
        except OSError:  # a kernel without IPv6, or a host that hides it
            continue
        for line in lines:
            _, local, remote, state, _ = line.split(maxsplit=4)
            if state in _CLOSED:
                yield local, remote


def _forms(address: tuple[str, int]) -> list[str]:
    """How tables write it: by its own family, and as IPv4 in a socket of IPv6."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    forms = [ip.packed]
    if ip.version == 4:
        forms.append(bytes(10) + b"\xff\xff" + ip.packed)
    return [f"{_words(form)}:{address[1]:04X}" for form in forms]


def _words(packed: bytes) -> str:
    words = (packed[at : at + _WORD] for at in range(0, len(packed), _WORD))
    return "".join(word[::-1].hex().upper() for word in words)
