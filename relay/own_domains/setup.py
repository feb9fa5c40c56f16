"""The own domains of a relay's shares, put together as its configuration says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from relay.acme import acme_authority
from relay.acme_proofs import HttpProof
from relay.certificate import ServerIdentity
from relay.certificate_files import ShownIdentity
from relay.config import RelayConfig
from relay.own_domains.certificates import OwnCertificates
from relay.own_domains.desk import OwnDomainDesk
from relay.own_domains.proofs import ProofBook
from relay.registry import LocalRegistry
from relay.routes import Sites

if TYPE_CHECKING:
    from relay.cluster.member import Member


class OwnDomainService:
    """`desk`: who speaks with shares; None where no share gets an own domain. `run` must be
    running."""

    def __init__(
        self,
        proof: HttpProof,
        desk: OwnDomainDesk | None = None,
        certificates: OwnCertificates | None = None,
    ) -> None:
        self._proof, self.desk, self._certificates = proof, desk, certificates

    def sites(self, domain: str, sole_host: str) -> Sites:
        """See Sites."""
        if self.desk is None:
            return Sites(domain, sole_host)
        return Sites(domain, sole_host, self.desk.find, self._proof.values)

    def identity(self, host: str) -> ServerIdentity | None:
        """What browsers are shown at `host`, if it is not what all sites have."""
        return self.desk.identity(host) if self.desk is not None else None

    def join(self, member: Member) -> None:
        """The relay is one of several that are one."""
        if self.desk is not None:
            from relay.own_domains.cluster import share_own_domains

            share_own_domains(member, self.desk)

    async def run(self) -> None:
        """Run until cancelled."""
        if self.desk is None or self._certificates is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self.desk.run(), name="own domains")
            group.create_task(self._certificates.run(), name="own domains' certificates")


def own_domains_of(
    config: RelayConfig,
    registry: LocalRegistry,
    proof: HttpProof,
    shown: ShownIdentity,
) -> OwnDomainService:
    """None for a relay that has no name that DNS could lead to: one share's, or one on its own
    host. `shown`: at all sites. Raises VshareError."""
    domain = config.domain.lower()
    if config.sole_share or domain.rpartition(".")[2] == "localhost":
        return OwnDomainService(proof)
    from relay.own_domains.lookup import Lookup  # 0.1 s and 8 MiB that others need not

    def is_covered(host: str) -> bool:
        return not shown.current.lacks([host])

    certificates = OwnCertificates(None, None, is_covered)
    if config.acme is not None and config.state_dir is not None:
        authority, folder = acme_authority(config.acme, config.state_dir)
        certificates = OwnCertificates(
            folder / "own", lambda wanted: authority.certify(wanted, proof), is_covered
        )
    desk = OwnDomainDesk(
        registry,
        Lookup(config.resolvers),
        certificates,
        (domain, config.pages_host),
        book=ProofBook(config.state_dir and config.state_dir / "own-domains.json"),
    )
    certificates.on_change = desk.certificate_changed
    desk.restore()
    return OwnDomainService(proof, desk, certificates)
