"""What a relay is told of the cluster that it is to be a node of. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A node's leases end `ttl` after its last beat that Redis heard; for `grace` after
    Redis may have lost something nobody gets a name that he did not have: longer than `ttl`, and
    than nodes need to find out and say again what they hold."""

    beat: float = 1.0
    ttl: float = 6.0
    grace: float = 10.0


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """Where the cluster's Redis (or Valkey) is, and how its nodes know each other.

    `url` is as redis-py takes it (redis://, rediss://, unix://), without a password: that is in
    `password_file`. `ca_file` (PEM) verifies a rediss:// server that no public authority does.
    Other nodes dial `host`:`port` (0: any). `secret_file` has what all nodes share, and nobody
    else. `public_address` (HOST:PORT) is where clients reach this node and no other; empty: where
    it listens.
    """

    url: str
    secret_file: Path
    host: str = "127.0.0.1"
    port: int = 0
    password_file: Path | None = None
    ca_file: Path | None = None
    public_address: str = ""
    timing: Timing = Timing()
