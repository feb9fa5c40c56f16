"""What is done to the requests of each site: who may come in first, and how its server is spoken to
last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunnel.names import ShareName
from vshare.look import Found
from vshare.web.access_setup import Access
from vshare.web.rewriting import Places, Redirects, Rewriting, says_other_port
from vshare.web.rules import Rule
from vshare.web.sites import Site


def site_rules(
    found: Found, access: Access, name: ShareName, https_url: str, url: str
) -> Mapping[Site, Sequence[Rule]]:
    """The rules of each site of the share `name`. `https_url` and `url`: its main site's with and
    without TLS, or empty."""
    places = Places(found.sites, found.machine)
    has_virtual = any(site.is_virtual for site in found.sites.all())

    def last(site: Site) -> list[Rule]:
        if site.host:
            return [Rewriting(site, places, name, https_url)]
        # Each answer of a site that has a rule is read, which costs as much as all else here.
        if has_virtual or says_other_port(site, https_url if site.tls else url):
            return [Redirects(site, places, name, https_url, url)]
        return []

    return {site: [*access.rules, *last(site)] for site in found.sites.all()}
