"""How the load driver reaches the target: a local port as it is, or a SOCKS5 one (RFC 1928). Pure.

A way is written as one word on the driver's command line: `tcp:PORT`, or
`socks:PORT:HOST:TARGET_PORT`. All ports are on 127.0.0.1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

GREETING, CHOSEN = b"\x05\x01\x00", b"\x05\x00"
REPLY_BYTES = 10  # with an IPv4 address in it, as vconnect answers
CONNECT, ASSOCIATE = 1, 3

Step = tuple[bytes, int]  # what is sent, then how many bytes are awaited


@dataclass(frozen=True, slots=True)
class Way:
    """Connect to `port`, then go through `steps`; `host` and `target` are for SOCKS alone."""

    port: int
    host: str = ""
    target: int = 0

    def __str__(self) -> str:
        return f"socks:{self.port}:{self.host}:{self.target}" if self.host else f"tcp:{self.port}"

    @property
    def steps(self) -> tuple[Step, ...]:
        """What comes before the first byte for the target."""
        if not self.host:
            return ()
        return (GREETING, len(CHOSEN)), (request(CONNECT, self.host, self.target), REPLY_BYTES)


def parse(word: str) -> Way:
    """A way from the command line. Raises ValueError."""
    kind, _, rest = word.partition(":")
    if kind == "tcp":
        return Way(int(rest))
    if kind != "socks":
        raise ValueError(f"a way is tcp:PORT or socks:PORT:HOST:PORT, not {word!r}")
    port, host, target = rest.split(":")
    return Way(int(port), host, int(target))


def request(command: int, host: str, port: int) -> bytes:
    """A SOCKS5 request that names its destination."""
    name = host.encode()
    return b"\x05%c\x00\x03%c%b%b" % (command, len(name), name, struct.pack("!H", port))


def associate() -> bytes:
    """A SOCKS5 request for datagrams, from whatever port."""
    return b"\x05%c\x00\x01" % ASSOCIATE + bytes(6)


def datagram_header(way: Way) -> bytes:
    """What goes before each datagram (RFC 1928 7)."""
    name = way.host.encode()
    return b"\0\0\0\x03%c%b%b" % (len(name), name, struct.pack("!H", way.target))


def is_fine(step: int, answer: bytes) -> bool:
    """Whether the proxy's answer to step number `step` says yes."""
    return answer == CHOSEN if step == 0 else answer[1] == 0
