"""What a relay is told by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_PORT = 7443  # no privilege needed; production puts it on 443


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """`state_dir` None keeps everything in memory; `public_port` None: the port it listens on.

    `sole_share`: this relay takes one share, and plain HTTP for the address in `host` (an IP
    literal) goes to it: nothing on a LAN resolves NAME.domain.

    `certificate` and `key` are PEM files; without them the relay makes its own certificate
    (kept in `state_dir`), which clients pin by its fingerprint.
    """

    host: str = "127.0.0.1"
    port: int = 0
    domain: str = "localhost"
    public_port: int | None = None
    certificate: Path | None = None
    key: Path | None = None
    state_dir: Path | None = None
    sole_share: bool = False
