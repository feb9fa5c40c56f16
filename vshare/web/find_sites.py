"""Which sites a share has, made of what was found on the machine. Pure.

The main site is what the probe picked (or the sharer named). Others are each further port that
speaks HTTP, labelled with its number, and each virtual host, labelled with its name. What
`--http` or `--https` name is all there is, with its virtual hosts, but for what `--port` and
`--loopback` name besides. What lets everybody in (`exposure.py`) is never a site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from tunnel.names import ADJECTIVES, ANIMALS, MAX_LABEL
from vshare.exposure import Report
from vshare.http_probe import Candidate, Origin, ProbeResult
from vshare.machine import LOOPBACK, parse_ip
from vshare.options import Options
from vshare.web.rewriting import REWRITE, authority, wanted_host
from vshare.web.sites import HTTPS_PORT, MAIN, MAX_SITES, Site, Sites
from vshare.web.vhosts import Vhosts
from vshare.web.virtual_host import VirtualHost

MAX_TOLD = 5  # names that were left out, on the screen
MAX_SHOWN = 60  # characters of such a name: patterns may be long
DIGEST = 6  # characters that tell shortened labels apart
HTTP_PORT = 80
_LONGEST_NAME = max(map(len, ADJECTIVES)) + max(map(len, ANIMALS)) + len("--0000")


@dataclass(frozen=True, slots=True)
class FoundSites:
    """The sites, without titles, and what people should know of those that are none."""

    sites: Sites
    notes: tuple[str, ...] = ()


def find_sites(options: Options, report: Report, result: ProbeResult, vhosts: Vhosts) -> FoundSites:
    """What is public by the URL. `result` has the ports that speak HTTP."""
    safe = [
        each for each in result.attempts if report.danger_at("tcp", each.candidate.port) is None
    ]
    finder = _Finder(options, report, ProbeResult(tuple(safe)))
    finder.add_virtual_hosts(vhosts.hosts)
    finder.add_ports()
    notes = []
    if finder.left:
        notes.append(f"{finder.left} more sites have no URL: a share has at most {MAX_SITES}")
    if vhosts.left_out:
        notes.append(f"virtual hosts that are patterns have no URL: {_some(vhosts.left_out)}")
    return FoundSites(finder.sites(), tuple(notes))


class _Finder:
    """Gathers the sites of one share."""

    def __init__(self, options: Options, report: Report, result: ProbeResult) -> None:
        self._options = options
        self._at_loopback = report.at_loopback
        # Where it is not known what is meant for the loopback alone, nothing is open unasked.
        self._asks = report.at_loopback and bool(report.listening.unknown)
        self._main = {result.http_port, result.https_port} - {None}
        self._spoken = {
            each.port: each
            for each in result.spoken
            if each.port in self._main or self._is_allowed(each.port)
        }
        self._http = self._main_site(result.http_port)
        self._https = self._main_site(result.https_port)
        self._others: dict[str, Site] = {}
        self._https_others: dict[str, Site] = {}
        name = options.name
        self._room = MAX_LABEL - len("--") - (len(name) if name else _LONGEST_NAME)
        self.left = 0  # sites for which there was no room

    def _is_allowed(self, port: int) -> bool:
        options = self._options
        if port in options.loopback or port in options.ports:
            return True
        named = options.http_port is not None or options.https_port is not None
        return not (named or options.ports or self._asks)

    def _main_site(self, port: int | None) -> Site | None:
        return self._site(MAIN, self._spoken[port]) if port in self._spoken and port else None

    def _site(self, label: str, spoken: Candidate) -> Site:
        wanted = self._options.host_header
        return Site(
            label,
            spoken.port,
            spoken.tls,
            wanted_host(wanted, spoken.port, tls=spoken.tls),
            loopback=spoken.host == LOOPBACK,
            as_local=wanted == REWRITE,
        )

    def add_ports(self) -> None:
        """Each further port that speaks HTTP."""
        for port in sorted(self._spoken.keys() - self._main):
            self._add(self._site(str(port), self._spoken[port]))

    def add_virtual_hosts(self, hosts: Iterable[VirtualHost]) -> None:
        """Each name, at its best port of either scheme."""
        best: dict[tuple[str, bool], Site] = {}
        for host, spoken in self._reachable(hosts):
            key = (host.name, spoken.tls)
            usual = HTTPS_PORT if spoken.tls else HTTP_PORT
            if key not in best or spoken.port == usual:
                site = self._site("", spoken)
                own = authority(host.name, spoken.port, tls=spoken.tls)
                best[key] = replace(site, host=own, as_local=False)
        for name in dict.fromkeys(name for name, _ in best):
            label = self._label(name.replace(".", "-").replace("_", "-").strip("-"))
            for tls in (False, True):
                if (name, tls) in best:
                    self._add(replace(best[name, tls], label=label))

    def _reachable(self, hosts: Iterable[VirtualHost]) -> Iterator[tuple[VirtualHost, Candidate]]:
        """Those at ports that are sites; of what is for the machine's loopback alone, only what is
        asked for there."""
        for host in hosts:
            spoken = self._spoken.get(host.port)
            if spoken is None:
                continue
            address = parse_ip(host.address)
            private = address is not None and address.is_loopback
            named = self._at_loopback and spoken.origin is Origin.NAMED
            if not private or named or spoken.host == LOOPBACK:
                yield host, spoken

    def _label(self, text: str) -> str:
        """`text` as a label that no other site has, and that fits beside the share's name."""
        taken = {*self._others, *self._https_others, *map(str, self._spoken)}
        base, number = text or "site", 2
        label = shorten(base, self._room)
        while label in taken:
            label, number = shorten(f"{base}-{number}", self._room), number + 1
        return label

    def _add(self, site: Site) -> None:
        others = self._https_others if site.tls and site.is_virtual else self._others
        main = sum(each is not None for each in (self._http, self._https))
        if main + len(self._others) + len(self._https_others) < MAX_SITES:
            others[site.label] = site
        else:
            self.left += 1

    def sites(self) -> Sites:
        """What was gathered."""
        return Sites(self._http, self._https, self._others, self._https_others)


def shorten(label: str, room: int) -> str:
    """`label` in at most `room` characters; a digest tells shortened ones apart."""
    if len(label) <= room:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:DIGEST]
    return f"{label[: room - DIGEST - 1].rstrip('-')}-{digest}"


def _some(names: Collection[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1][:MAX_SHOWN] for name in list(names)[:MAX_TOLD])
    more = len(names) - MAX_TOLD
    return f"{shown} and {more} more" if more > 0 else shown
