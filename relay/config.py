"""What a relay is told by whoever starts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from relay.accounts.limits import UNLIMITED, Limits
from relay.cluster.config import ClusterConfig

DEFAULT_PORT = 7443  # no privilege needed; production puts it on 443
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@dataclass(frozen=True, slots=True)
class AcmeConfig:
    """Who is told of problems, whose certificates are wanted (the URL of an ACME directory), and
    the program that changes DNS records: without one the certificate is for the domain alone."""

    email: str
    server: str = LETS_ENCRYPT
    dns_hook: Path | None = None


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept in the state directory of shares and their visitors: for how many days after
    its end, and whether with the visitors' addresses."""

    days: int = 30
    sources: bool = True


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """`state_dir` None keeps everything in memory; `public_port` None: the port it listens on.

    `sole_share`: this relay takes one share, and plain HTTP for the address in `host` (an IP
    literal) goes to it: nothing on a LAN resolves NAME.domain.

    `certificate` and `key` are PEM files; without them the relay makes its own certificate
    (kept in `state_dir`), which clients pin by its fingerprint. With `acme` (and a `state_dir`) it
    gets one, and makes its own for what that does not cover. `more_places` are listened at as well.

    `pages_host`: the one host (lower case) with pages of the relay's own, and no other name has
    any; empty: all that are not shares'.

    `accounts`: shares need a token of one of the accounts in `state_dir`, which is there then.

    `limits`: of each token that has none of its own; without accounts of each source of shares
    (loopback has none).

    `resolvers`: DNS servers that are asked about shares' own domains; none: the system's.

    `cluster`: what this relay is a node of; None: it is alone.

    `metrics`: where the operator's programs find metrics and health; None: nowhere. `log_format`:
    "json" or "text", a line for each event; None: warnings alone, for people.
    `hide_sources`: no visitor's address is in the log.

    `history`: what is kept in `state_dir`; None, or none of that: nothing.
    """

    host: str = "127.0.0.1"
    port: int = 0
    domain: str = "localhost"
    public_port: int | None = None
    certificate: Path | None = None
    key: Path | None = None
    state_dir: Path | None = None
    sole_share: bool = False
    acme: AcmeConfig | None = None
    more_places: tuple[tuple[str, int], ...] = ()
    pages_host: str = ""
    accounts: bool = False
    cluster: ClusterConfig | None = None
    limits: Limits = UNLIMITED
    metrics: tuple[str, int] | None = None
    resolvers: tuple[tuple[str, int], ...] = ()
    log_format: str | None = None
    hide_sources: bool = False
    history: HistoryConfig | None = None

    @property
    def names(self) -> list[str]:
        """Those that the relay's certificate should be for, the shares' (`*.`) among them."""
        domain = self.domain.lower()
        return [domain, f"*.{domain}", *([self.pages_host] if self.pages_host else [])]
