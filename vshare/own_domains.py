"""`--own-domain`, `vshare domain`: what the sharer is told of domains of his own, and what
the relay is asked.

The relay looks at the DNS and decides (docs/protocol.md 4.2). Here is said which records it wants,
and how it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tunnel import control
from tunnel.control import OwnDomainState, OwnDomainStates, Registered
from tunnel.errors import UsageError
from tunnel.own_domains import OwnDomain, challenge_name, challenge_value
from vshare.news import Newsroom, Value

HTTPS_PORT = 443
NOT_OFFERED = "this relay has no own domains for shares: it is older, or has no name in the DNS"


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One of them. `state` and `certificate` are the relay's words (docs/protocol.md 4.2), empty
    before it said any, `reason` its text. `txt_name`, `txt_value`, `cname`: the records."""

    domain: str
    state: str
    certificate: str
    url: str
    txt_name: str
    txt_value: str
    cname: str
    reason: str

    @property
    def sentence(self) -> str:
        """How it is, for people."""
        match self.state:
            case "good" if self.certificate == "self-made":
                return f"{self.url} leads here; browsers warn of its certificate: {self.reason}"
            case "good":
                return f"{self.url} leads here"
            case "unproven":
                return f"{self.domain} leads here as soon as its DNS has these two records:"
            case "unanswered":
                return f"the DNS does not answer for {self.domain}; it is asked again and again"
            case "taken":
                return f"{self.domain} is another share's, whose record {self.txt_name} stands, too"
            case "refused":
                return f"{self.domain} does not lead here: {self.reason}"
            case _:
                return f"{self.domain} is not known yet"

    @property
    def is_good(self) -> bool:
        """Whether it leads here, and browsers do not warn."""
        return self.state == "good" and self.certificate != "self-made"

    @property
    def records(self) -> list[str]:
        """What is missing in the DNS, as in a zone's file."""
        return records_of(asdict(self))

    @property
    def wanted_records(self) -> list[str]:
        """What it needs, missing or not."""
        return _all_records(asdict(self))


def records_of(row: Mapping[str, Value]) -> list[str]:
    """What is missing of a row's fields; nothing, where nothing is missing."""
    return _all_records(row) if row["state"] == "unproven" else []


def _all_records(row: Mapping[str, Value]) -> list[str]:
    return [
        f'{row["txt_name"]}. TXT "{row["txt_value"]}"',
        f"{row['domain']}. CNAME {row['cname']}. (or the relay's A and AAAA, where none can be)",
    ]


class OwnDomains:
    """Those of one share. Nobody is told anything before `begin`."""

    def __init__(self, hosts: Sequence[OwnDomain]) -> None:
        self.hosts = tuple(hosts)
        self._key_hash = b""
        self._registered: Registered | None = None
        self._states: dict[str, OwnDomainState] = {}
        self._told: dict[str, DomainRow] = {}
        self._newsroom: Newsroom | None = None

    def wanted(self, key: Ed25519PrivateKey, registered: Registered) -> control.OwnDomains | None:
        """What to ask of the relay that has registered `key`; None: nothing."""
        self._key_hash = hashlib.sha256(key.public_key().public_bytes_raw()).digest()
        self._registered = registered
        if not self.hosts:
            return None
        if registered.own_domains:
            return control.OwnDomains(list(self.hosts))
        refused = [OwnDomainState(host, "refused", text=NOT_OFFERED) for host in self.hosts]
        self.heard(OwnDomainStates(refused))
        return None

    def changed(self) -> control.OwnDomains | None:
        """What to ask of that relay now that there are others than before; None: nothing."""
        if self._registered is None or not self._registered.own_domains:
            return None
        return control.OwnDomains(list(self.hosts))

    def add(self, host: OwnDomain) -> None:
        """One more, which the relay is not asked for yet. Raises UsageError."""
        if host in self.hosts:
            raise UsageError(f"{host} is the share's already", "`vshare domain list` shows it")
        if len(self.hosts) >= control.MAX_OWN_DOMAINS:
            raise UsageError(
                f"the share has {control.MAX_OWN_DOMAINS} own domains, and no more are possible",
                "take one back first: vshare domain remove HOST",
            )
        self.hosts = (*self.hosts, host)

    def remove(self, host: OwnDomain) -> DomainRow:
        """No more that one, as it was. Raises UsageError."""
        if host not in self.hosts:
            raise UsageError(
                f"{host} is no own domain of the share", "`vshare domain list` shows which are"
            )
        before = self.row(host)
        self.hosts = tuple(each for each in self.hosts if each != host)
        self._states.pop(host, None)
        self._told.pop(host, None)
        return before

    def heard(self, states: OwnDomainStates) -> None:
        """The relay says how it is."""
        self._states = {each.host: each for each in states.domains if each.host in self.hosts}
        self._tell()

    def begin(self, newsroom: Newsroom) -> None:
        """From now on there is somebody to tell."""
        self._newsroom = newsroom
        self._tell()

    @property
    def rows(self) -> list[DomainRow]:
        """All of them, as they were asked for."""
        return [self.row(host) for host in self.hosts]

    def row(self, host: OwnDomain) -> DomainRow:
        """How it is with `host`."""
        state = self._states.get(host, OwnDomainState(host, ""))
        name, domain, https_url = "", "", ""
        if self._registered is not None:
            registered = self._registered
            name, domain, https_url = registered.name, registered.domain, registered.https_url
        port = _port_of(https_url)
        return DomainRow(
            domain=host,
            state=state.state,
            certificate=state.certificate,
            url=f"https://{host}{'' if port == HTTPS_PORT else f':{port}'}/",
            txt_name=challenge_name(host),
            txt_value=challenge_value(self._key_hash, host),
            cname=f"{name}.{domain}",
            reason=state.text,
        )

    def _tell(self) -> None:
        if self._newsroom is None:
            return
        for row in self.rows:
            if row.state and self._told.get(row.domain) != row:
                self._told[row.domain] = row
                warning = not row.is_good and row.state != "unproven"
                self._newsroom.tell("own-domain", row.sentence, warning=warning, **asdict(row))


def _port_of(url: str) -> int:
    """Of the relay's word for where its sites are."""
    try:
        return urlsplit(url).port or HTTPS_PORT
    except ValueError:
        return HTTPS_PORT
