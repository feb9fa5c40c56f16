"""The sites of a share, made of what was found."""

from __future__ import annotations

import pytest

from vshare.exposure import Report
from vshare.http_probe import Attempt, Candidate, Origin, ProbeResult
from vshare.listening import Listening
from vshare.machine import LOOPBACK
from vshare.options import Options
from vshare.weaknesses.danger import Danger
from vshare.web.find_sites import FoundSites, find_sites, shorten
from vshare.web.sites import MAX_SITES, Site, Sites
from vshare.web.vhosts import Vhosts
from vshare.web.virtual_host import VirtualHost

REPORT = Report(Listening())


def spoken(*ports: int, tls: tuple[int, ...] = (443,), **kinds: Origin) -> ProbeResult:
    attempts = [
        Attempt(Candidate(port, port in tls, kinds.get(f"p{port}", Origin.LISTENING)), 200, "")
        for port in ports
    ]
    return ProbeResult((*attempts, Attempt(Candidate(7777, False, Origin.LISTENING), None, "")))


def find(
    options: Options,
    result: ProbeResult,
    *hosts: VirtualHost,
    left_out: tuple[str, ...] = (),
    report: Report = REPORT,
) -> FoundSites:
    return find_sites(options, report, result, Vhosts(hosts, left_out))


def test_ports_and_virtual_hosts() -> None:
    found = find(
        Options(),
        spoken(80, 443, 8080, 8443, tls=(443, 8443)),
        VirtualHost("app.test", 80),
        VirtualHost("app.test", 443, ssl=True),
        VirtualHost("app.test", 8080),
        VirtualHost("my_shop.test", 8080),
        VirtualHost("six.test", 8443),
        VirtualHost("gone.test", 7777),
        VirtualHost("gone.test", 9999),
    )
    assert found == FoundSites(
        Sites(
            Site("", 80),
            Site("", 443, tls=True),
            {
                "app-test": Site("app-test", 80, host="app.test"),
                "my-shop-test": Site("my-shop-test", 8080, host="my_shop.test:8080"),
                "8080": Site("8080", 8080),
                "8443": Site("8443", 8443, tls=True),
            },
            {
                "app-test": Site("app-test", 443, tls=True, host="app.test"),
                "six-test": Site("six-test", 8443, tls=True, host="six.test:8443"),
            },
        )
    )


def test_the_usual_port_is_preferred_in_either_order() -> None:
    for ports in ((8080, 80), (80, 8080)):
        hosts = [VirtualHost("app.test", port) for port in ports]
        site = find(Options(), spoken(80, 8080), *hosts).sites.find("app-test", 80)
        assert site.port == 80


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (Options(), {80, 8080, 8081}),
        (Options(ports=(8081, 5432)), {80, 8081}),
        (Options(ports=(8081, 80)), {80, 8081}),
        (Options(http_port=80), {80}),
        (Options(http_port=80, ports=(8081,)), {80, 8081}),
        (Options(http_port=80, loopback=(8081,)), {80, 8081}),
    ],
)
def test_which_ports_are_allowed(options: Options, expected: set[int]) -> None:
    hosts = [VirtualHost(f"p{port}.test", port) for port in (80, 8080, 8081)]
    sites = find(options, spoken(80, 8080, 8081), *hosts).sites
    assert sites.ports == expected
    assert {each for each in sites.labels if each.startswith("p")} == {
        f"p{port}-test" for port in expected
    }


def test_what_lets_everybody_in_is_no_site() -> None:
    danger = Danger("tcp", 80, "an open thing", "everybody", "close it")
    report = Report(Listening(), (danger,))
    sites = find(
        Options(unfence=(80,)), spoken(80, 8080), VirtualHost("app.test", 80), report=report
    ).sites
    assert list(sites.all()) == [Site("", 8080)]


def test_nothing_unasked_where_it_is_not_known_what_is_private() -> None:
    report = Report(Listening(unknown="no ss"), at_loopback=True)
    result = spoken(80, 8080, 8081)
    assert find(Options(), result, report=report).sites.ports == {80}
    assert find(Options(ports=(8081,)), result, report=report).sites.ports == {80, 8081}


def test_what_is_for_the_loopback_alone() -> None:
    private = VirtualHost("admin.test", 80, "127.0.0.1")
    six = VirtualHost("six.test", 80, "::1")
    both = VirtualHost("app.test", 80, "192.0.2.1")
    sites = find(Options(), spoken(80), private, six, both).sites
    assert sites.labels == ["", "app-test"]
    at_loopback = Report(Listening(), at_loopback=True)
    assert find(Options(), spoken(80), private, report=at_loopback).sites.labels == [""]
    named = spoken(80, p80=Origin.NAMED)
    sites = find(Options(http_port=80), named, private, report=at_loopback).sites
    assert sites.labels == ["", "admin-test"]
    result = ProbeResult((Attempt(Candidate(80, False, Origin.EXPLICIT, LOOPBACK), 200, ""),))
    sites = find(Options(loopback=(80,)), result, private).sites
    assert sites.labels == ["", "admin-test"]
    assert all(site.loopback for site in sites.all())


@pytest.mark.parametrize(
    ("host_header", "hosts"),
    [
        ("keep", ["", "", "", "app.test"]),
        ("rewrite", ["localhost", "localhost", "localhost:8080", "app.test"]),
        ("my.test:81", ["my.test:81", "my.test:81", "my.test:81", "app.test"]),
    ],
)
def test_host_header(host_header: str, hosts: list[str]) -> None:
    options = Options(host_header=host_header)
    sites = find(options, spoken(80, 443, 8080), VirtualHost("app.test", 80)).sites
    assert [site.host for site in sites.all()] == hosts
    as_local = [site.as_local for site in sites.all()]
    assert as_local == [host_header == "rewrite"] * 3 + [False]


def test_labels_are_different_from_each_other() -> None:
    names = ["a.b", "a-b", "a_b", "8080.", "_.a.b", "--", "_"]
    hosts = [VirtualHost(name, 80) for name in names]
    sites = find(Options(), spoken(80, 8080), *hosts).sites
    labels = {label: sites.find(label, 80).host for label in sites.labels if label}
    assert labels == {
        "a-b": "a.b",
        "a-b-2": "a-b",
        "a-b-3": "a_b",
        "a-b-4": "_.a.b",
        "8080-2": "8080.",
        "8080": "",
        "site": "--",
        "site-2": "_",
    }


def test_labels_fit_beside_the_name() -> None:
    hosts = [VirtualHost(f"{'long-' * 9}{at}.test", 80) for at in (1, 2)]
    for name in (None, "n" * 40):
        sites = find(Options(name=name), spoken(80), *hosts).sites
        assert len(sites.labels) == 3
        for label in sites.labels[1:]:
            assert len(name or "frosty-cheetah-00000") + 2 + len(label) <= 63
            assert label.strip("-") == label
    assert shorten("abc", 3) == "abc"
    assert len(shorten("abcdefghij", 9)) == 9


def test_there_is_a_limit_and_it_is_told() -> None:
    hosts = [VirtualHost(f"h{at}.test", 80) for at in range(80)]
    found = find(Options(), spoken(80, 8080), *hosts)
    assert len(list(found.sites.all())) == MAX_SITES
    assert found.notes[0].startswith("18 more sites have no URL")


def test_patterns_are_told() -> None:
    patterns = ("*.app.test", "~^\x1b[2J", "a" * 500, "b*", "c*", "d*", "e*")
    (note,) = find(Options(), spoken(80), left_out=patterns).notes
    assert "*.app.test" in note
    assert "and 2 more" in note
    assert note.isprintable()
    assert len(note) < 400


def test_without_any_http() -> None:
    assert find(Options(), spoken(), VirtualHost("app.test", 80)).sites == Sites(None, None, {}, {})
