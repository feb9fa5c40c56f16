"""What is done to the requests of each site: who may come in first, and how its server is spoken to
last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunnel.names import ShareName
from vshare.look import Found
from vshare.web.access_setup import Access
from vshare.web.rewriting import Places, Redirects, Rewriting
from vshare.web.rules import Rule
from vshare.web.sites import Site


def site_rules(
    found: Found, access: Access, name: ShareName, https_url: str
) -> Mapping[Site, Sequence[Rule]]:
    """The rules of each site of the share `name`. `https_url`: its main site's, or empty."""
    places = Places(found.sites, found.machine)
    has_virtual = any(site.is_virtual for site in found.sites.all())

    def last(site: Site) -> list[Rule]:
        if site.host:
            return [Rewriting(site, places, name, https_url)]
        return [Redirects(site, places, name, https_url)] if has_virtual else []

    return {site: [*access.rules, *last(site)] for site in found.sites.all()}
