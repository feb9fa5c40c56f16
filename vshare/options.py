"""What the command line of `vshare up` says, and what of it cannot be meant."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from tunnel.address import parse_relay
from tunnel.control import MAX_OWN_DOMAINS
from tunnel.errors import UsageError
from tunnel.follow import Server
from tunnel.names import parse_name
from tunnel.own_domains import OwnDomain
from vshare.web.access_setup import AccessOptions, read_passcode
from vshare.web.rewriting import KEEP, check_host_header

EXPIRES_IN = 8 * 3600.0  # seconds, as Vagrant Share had it


@dataclass(frozen=True, slots=True)
class SshOptions:
    """`--ssh` and what goes with it. `port` and `user` are the machine's; None: as found."""

    password: bool = True  # ask for one
    password_file: Path | None = None
    once: bool = False
    port: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class PassthroughOptions:
    """`--https-passthrough` and what goes with it: PEM files; None: a certificate is made."""

    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Raise UsageError for files that cannot be used."""
        # What it needs takes others a while to load.
        from vshare.web.site_certificate import check_certificate

        if self.certificate is not None:
            check_certificate(self.certificate, self.key, datetime.datetime.now(datetime.UTC))
        elif self.key is not None:
            raise UsageError("--https-key without --https-cert", "give both, or none")


@dataclass(frozen=True, slots=True)
class GuestPageOptions:
    """`--guest-page` and what goes with it. `terminals`: what browsers may do with them."""

    terminals: Literal["none", "read", "write"] = "read"
    passcode_file: Path | None = None  # None: one is made

    def check(self) -> None:
        """Raise UsageError for a file that cannot be used."""
        if self.passcode_file is not None:
            read_passcode(self.passcode_file)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    machine: str | None = None
    domain: str | None = None
    target: str | None = None
    relay: str | None = None
    token_file: Path | None = None  # it has the relay's; None: the one that is stored
    lan: bool = False
    direct: bool = True  # whether guests in the same network may come without the relay
    name: str | None = None
    http: bool = True
    http_port: int | None = None
    https_port: int | None = None
    https: bool = True  # whether what the machine speaks HTTPS for is among its sites
    host_header: str = "keep"  # or "rewrite", or what the machine's server gets as Host
    passthrough: PassthroughOptions | None = None  # browsers' TLS ends here
    access: AccessOptions = field(default_factory=AccessOptions)  # who may open the URL
    guest_page: GuestPageOptions | None = None
    qr: bool = False
    dashboard: bool = True
    ports: tuple[int, ...] = ()
    servers: tuple[Server, ...] = ()  # shared by name
    only_served: bool = False  # of the machine, these alone (and `ports`)
    show_guests: bool = False  # to each other
    loopback: tuple[int, ...] = ()
    expose: tuple[IPv4Network | IPv6Network, ...] = ()
    unfence: tuple[int, ...] = ()
    ssh: SshOptions | None = None
    approve: bool = False
    notify: str | None = field(default=None, repr=False)  # such URLs are secrets
    expires_in: float = EXPIRES_IN
    no_sleep: bool = False  # whether this host is kept awake
    own_domains: tuple[OwnDomain, ...] = ()  # of the sharer's, which are to lead to the URL
    file: Path | None = None  # the vshare.toml that was read
    ask: bool = True  # whether there is somebody to answer questions (not with --yes or --json)

    def check(self) -> None:
        """Raise UsageError for what cannot be meant."""
        if sum(value is not None for value in (self.machine, self.domain, self.target)) > 1:
            raise UsageError(
                "more than one machine is named",
                "give one of: the Vagrant machine's name, --domain NAME, --target ADDRESS",
            )
        if not self.http and self.qr:
            raise UsageError("--disable-http and --qr contradict each other", "leave one out")
        if not self.https and self.https_port:
            raise UsageError("--disable-https and --https contradict each other", "leave one out")
        if not self.http and (self.http_port or self.https_port):
            raise UsageError(
                "--disable-http and --http or --https contradict each other", "leave one out"
            )
        if self.passthrough:
            self.passthrough.check()
        of_the_url = (self.access, self.host_header, self.passthrough, self.guest_page)
        if not self.http and of_the_url != (AccessOptions(), KEEP, None, None):
            raise UsageError(
                "--disable-http and an option for the URL contradict each other", "leave one out"
            )
        for field_ in ("name", "port"):
            told = [getattr(each, field_) for each in self.servers]
            twice = next((each for each in told if told.count(each) > 1), None)
            if twice is not None:
                raise UsageError(f"--serve has the {field_} {twice} twice", "leave one out")
        if self.guest_page is not None:
            self.guest_page.check()
            if self.lan:
                raise UsageError(
                    "--lan and --guest-page contradict each other",
                    "with --lan the URL is an address, and the page needs a name of its own",
                )
        self._check_own_domains()
        check_host_header(self.host_header)
        self.access.check()
        if self.ssh and self.ssh.password_file and not self.ssh.password:
            raise UsageError(
                "--ssh-no-password and --ssh-password-file contradict each other",
                "leave one out",
            )
        if self.lan and self.relay:
            raise UsageError("--lan and --relay contradict each other", "leave one out")
        if self.lan and self.token_file:
            raise UsageError("--lan and --token-file contradict each other", "leave one out")
        if self.lan and self.passthrough:
            raise UsageError(
                "--lan and --https-passthrough contradict each other",
                "with --lan the URL is an address, for which there is no HTTPS",
            )
        if self.name is not None:
            parse_name(self.name)
        if self.relay is not None:
            parse_relay(self.relay)

    def _check_own_domains(self) -> None:
        if not self.own_domains:
            return
        if self.name is None:
            raise UsageError(
                "--own-domain without --name: its DNS record is made for a name's key",
                "choose a name with --name, which is yours from then on",
            )
        if not self.http or self.lan:
            other = "--lan" if self.lan else "--disable-http"
            raise UsageError(f"--own-domain and {other} contradict each other", "leave one out")
        if len(self.own_domains) > MAX_OWN_DOMAINS:
            raise UsageError(f"more than {MAX_OWN_DOMAINS} own domains", "leave some out")
