"""What other terminals ask a running share about domains of the sharer's own (vshare/requests.py).
Pure."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from tunnel.own_domains import MAX_HOST
from tunnel.requests import Request, Result

Host: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_HOST)]


class AddDomain(Request, frozen=True, tag="add_domain"):
    """Let `host` lead to the share, too, as soon as its DNS says so: OneDomain."""

    host: Host


class RemoveDomain(Request, frozen=True, tag="remove_domain"):
    """Let `host` lead to the share no more: OneDomain, as it was."""

    host: Host


class Domains(Request, frozen=True, tag="domains"):
    """All of them, and how they are: DomainList."""


class OwnDomainRow(Result, frozen=True):
    """One own domain of the sharer's: see vshare.own_domains.DomainRow."""

    domain: str
    state: str
    certificate: str
    url: str
    txt_name: str
    txt_value: str
    cname: str
    reason: str


class OneDomain(Result, frozen=True):
    """The one that it was about."""

    domain: OwnDomainRow


class DomainList(Result, frozen=True):
    """In the order in which they were asked for."""

    domains: list[OwnDomainRow]
