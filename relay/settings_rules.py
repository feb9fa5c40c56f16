"""What of a relay's settings cannot be meant together, and the configuration that they make."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relay.accounts.limit_options import changed
from relay.accounts.limits import FIELDS, UNLIMITED
from relay.cluster.config import ClusterConfig
from relay.config import DEFAULT_PORT, LETS_ENCRYPT, AcmeConfig, HistoryConfig, RelayConfig
from relay.settings import SETTINGS
from relay.settings_file import Problem
from tunnel.address import parse_host_port
from tunnel.errors import UsageError

METRICS_PORT = 9743  # of --metrics, where it names none
NODE_PORT = 7444  # of --node-address, the same
UNSPECIFIED = ("0.0.0.0", "[::]")
DNS_PORT = 53  # of --resolver, the same
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")  # RFC 1123 2.1

Values = Mapping[str, Any]  # by the settings' keys


def config_of(values: Values, state_dir: Path) -> RelayConfig:
    """The relay that `values` say. Raises UsageError for the first thing that cannot be meant."""
    for problem in problems_of(values):
        raise UsageError(problem.text, problem.hint)
    (host, port), *more = (parse_listen(each) for each in values["listen"])
    email, hook, server = values["acme"], values["acme_dns_hook"], values["acme_server"]
    as_they_are = {each.field: values[each.key] for each in SETTINGS if each.field}
    derived: dict[str, Any] = {
        "host": host,
        "port": port,
        "more_places": tuple(more),
        "domain": _host(values["domain"]),
        "pages_host": _host(values["pages_host"]),
        "state_dir": state_dir,
        "acme": AcmeConfig(email, server or LETS_ENCRYPT, hook) if email else None,
        "accounts": not is_open(values),
        "limits": changed(UNLIMITED, {name: values[name] for name in FIELDS}),
        "history": HistoryConfig(values["history_days"], values["history_sources"])
        if values["history"]
        else None,
        "hide_sources": not values["history_sources"],
        "resolvers": tuple(parse_host_port(each, DNS_PORT) for each in values["resolver"]),
        "metrics": parse_listen(values["metrics"], METRICS_PORT) if values["metrics"] else None,
        "cluster": _cluster_of(values),
    }
    return RelayConfig(**as_they_are | derived)


def problems_of(values: Values) -> Iterator[Problem]:
    """All that cannot be meant, as far as it shows without looking at files and the network."""
    for each in values["listen"]:
        try:
            parse_listen(each)
        except UsageError as error:
            yield Problem(error.text, error.hint, "listen")
    for each in values["resolver"]:
        yield from _resolver(each)
    if values["metrics"]:
        try:
            parse_listen(values["metrics"])
        except UsageError as error:
            yield Problem(error.text, error.hint, "metrics")
    domain, pages_host = _host(values["domain"]), _host(values["pages_host"])
    if pages_host:
        yield from _pages_host(pages_host, domain)
    if values["key"] is not None and values["cert"] is None:
        yield Problem("--key was given without --cert", "give both, or neither", "key")
    yield from _acme(values, domain)
    yield from _cluster(values)


def _cluster_of(values: Values) -> ClusterConfig | None:
    if values["cluster"] is None:
        return None
    host, port = parse_listen(values["node_address"], NODE_PORT)
    return ClusterConfig(
        values["cluster"],
        values["cluster_key"],
        host,
        port,
        values["cluster_login"],
        values["cluster_ca"],
        values["own_address"] or "",
    )


def _cluster(values: Values) -> Iterator[Problem]:
    if values["cluster"] is None:
        for name in ("cluster-key", "cluster-login", "cluster-ca", "node-address"):
            if values[name.replace("-", "_")] is not None:
                yield Problem(f"there is no --cluster for --{name}", "add it", name)
        return
    for name, what in (("node-address", "HOST:PORT"), ("cluster-key", "a file")):
        if values[name.replace("-", "_")] is None:
            yield Problem(f"--cluster needs --{name}", f"give {what}", name)
    for name in ("node-address", "own-address"):
        text = values[name.replace("-", "_")]
        try:
            if text:
                parse_listen(text, NODE_PORT)
        except UsageError as error:
            yield Problem(error.text, error.hint, name)
    if (values["node_address"] or "").startswith(UNSPECIFIED):
        text = f"other relays cannot dial {values['node_address']}"
        yield Problem(text, "--node-address takes an address that they reach", "node-address")


def _resolver(text: str) -> Iterator[Problem]:
    """It is asked for names, and so it cannot have one."""
    try:
        ipaddress.ip_address(parse_host_port(text, DNS_PORT)[0])
    except (UsageError, ValueError):
        yield Problem(f"not an address: {text[:60]!r}", "--resolver takes IP[:PORT]", "resolver")


def _host(text: str | None) -> str:
    return (text or "").rstrip(".").lower()


def is_open(values: Values) -> bool:
    """Whether everybody may share."""
    said: bool | None = values["open"]
    return _only_here(values) if said is None else said


def _only_here(values: Values) -> bool:
    """Whether nobody but this host's programs reaches the relay."""
    return all(_is_loopback(parse_listen(each)[0]) for each in values["listen"])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _acme(values: Values, domain: str) -> Iterator[Problem]:
    email, server = values["acme"], values["acme_server"]
    if email is None and (values["acme_dns_hook"] or server):
        name = "acme-dns-hook" if values["acme_dns_hook"] else "acme-server"
        yield Problem("there is no --acme for --acme-dns-hook or --acme-server", "add it", name)
    if server is not None and not server.startswith("https://"):
        text, hint = f"not a URL of https: {server!r}", "--acme-server takes one"
        yield Problem(text, hint, "acme-server")
    if email is None:
        return
    if values["cert"] is not None:
        yield Problem("--acme and --cert were both given", "choose one of them", "acme")
    if "@" not in email.strip("@"):
        text, hint = f"not an address: {email!r}", "--acme takes the address of a mailbox"
        yield Problem(text, hint, "acme")
    if "." not in domain or domain.rpartition(".")[2].isdigit():
        text = f"no authority gives a certificate for {domain!r}"
        yield Problem(text, "--domain names the domain that leads here", "domain")


def _pages_host(host: str, domain: str) -> Iterator[Problem]:
    """A site of a share's may be neither at `host` nor below it."""
    if not _HOST.fullmatch(host) or host.rpartition(".")[2].isdigit():
        text, hint = f"not a host for --pages-host: {host[:60]!r}", "give a name, without port"
    elif host == domain or host.endswith(f".{domain}"):
        text = f"--pages-host {host} is in the domain of the shares, {domain}"
        hint = "give a name outside of it: what is in it is for shares"
    elif domain.endswith(f".{host}"):
        text = f"--pages-host {host} is above the domain of the shares, {domain}"
        hint = "give another name: shares' sites can set cookies for all that is above theirs"
    else:
        return
    yield Problem(text, hint, "pages-host")


def shared_domain(host: str, domain: str) -> str:
    """The domain that both are in; empty where that is at most a top-level one."""
    pairs = zip(reversed(host.split(".")), reversed(domain.split(".")), strict=False)
    common = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
    return ".".join(reversed(common)) if len(common) > 1 else ""


def parse_listen(text: str, port: int = DEFAULT_PORT) -> tuple[str, int]:
    """HOST:PORT, where port 0 means any. Raises UsageError."""
    if text.endswith(":0"):
        return parse_host_port(text[:-2], port)[0], 0
    return parse_host_port(text, port)
