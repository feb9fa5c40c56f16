"""Which site a visitor gets, and what the screen says of them."""

from __future__ import annotations

import pytest

from tunnel.errors import RefusedError
from tunnel.names import ShareName
from vshare.web.sites import Site, Sites, host_of, site_lines, site_urls, with_label

NAME = ShareName("calm-otter")
HTTP, HTTPS = Site("", 80, title="Welcome"), Site("", 443, tls=True)
APP, SECURE_APP = Site("app-test", 80, host="app.test"), Site("app-test", 443, True, "app.test")
ONLY_SECURE = Site("shop-test", 443, True, "shop.test", "Shop")
SITES = Sites(
    HTTP,
    HTTPS,
    {"8080": Site("8080", 8080), "app-test": APP, "90": Site("90", 90)},
    {"app-test": SECURE_APP, "shop-test": ONLY_SECURE},
)


@pytest.mark.parametrize(
    ("label", "port", "site"),
    [
        ("", 80, HTTP),
        ("", 443, HTTPS),
        ("app-test", 80, APP),
        ("app-test", 443, SECURE_APP),
        ("shop-test", 80, ONLY_SECURE),
        ("shop-test", 443, ONLY_SECURE),
    ],
)
def test_a_visitor_gets_the_site_of_the_own_scheme_else_the_other(
    label: str, port: int, site: Site
) -> None:
    assert SITES.find(label, port) is site


@pytest.mark.parametrize("label", ["80", "nothing", "8080.", "APP-TEST"])
def test_there_is_no_other_site(label: str) -> None:
    with pytest.raises(RefusedError):
        SITES.find(label, 80)


def test_without_a_main_site() -> None:
    sites = Sites(others={"8080": Site("8080", 8080)})
    assert sites.labels == ["8080"]
    with pytest.raises(RefusedError):
        sites.find("", 443)


def test_all_of_them_in_an_order_for_people() -> None:
    assert SITES.labels == ["", "90", "8080", "app-test", "shop-test"]
    assert list(SITES.all())[:2] == [HTTP, HTTPS]
    assert len(list(SITES.all())) == 7
    assert SITES.ports == {80, 443, 8080, 90}
    assert not list(Sites().all())


def test_hosts_with_and_without_ports() -> None:
    for text, host in (
        ("app.test", "app.test"),
        ("app.test:80", "app.test"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
    ):
        assert host_of(text) == host


def test_another_label_of_a_host() -> None:
    assert with_label("calm-otter.example:81", NAME, "a") == "calm-otter--a.example:81"
    assert with_label("calm-otter--a.example", NAME, "") == "calm-otter.example"
    for other in ("calm-otter", "calm-otters.example", "calm.example", "", "calm-otter-.x"):
        assert with_label(other, NAME, "a") is None


def test_what_the_screen_says() -> None:
    assert site_lines(SITES, NAME, "http://calm-otter.localhost:81/", "") == [
        "http://calm-otter.localhost:81/             port 80    Welcome",
        "http://calm-otter--90.localhost:81/         port 90",
        "http://calm-otter--8080.localhost:81/       port 8080",
        "http://calm-otter--app-test.localhost:81/   app.test",
        "http://calm-otter--shop-test.localhost:81/  shop.test  Shop",
    ]
    local = "http://calm-otter.localhost:81/", "https://calm-otter.localhost:81/"
    assert site_lines(SITES, NAME, *local)[0].startswith("http://")
    secure = site_lines(SITES, NAME, "http://calm-otter.example/", "https://calm-otter.example/")
    assert secure[0] == "https://calm-otter.example/             port 443"
    assert secure[3].startswith("https://calm-otter--app-test.example/ ")


def test_the_main_site_alone_is_told_by_its_url() -> None:
    assert site_lines(Sites(HTTP), NAME, "http://calm-otter.example/", "") == []
    assert site_lines(SITES, NAME, "", "") == []
    # A relay's one share has no room for others.
    assert site_lines(SITES, NAME, "https://relay.example/", "") == []


def test_where_each_site_is() -> None:
    secure = "http://calm-otter.example/", "https://calm-otter.example:7443/"
    found = [(url, site.label, site.port) for url, site in site_urls(SITES, NAME, *secure)]
    assert found[:2] == [
        ("https://calm-otter.example:7443/", "", 443),
        ("https://calm-otter--90.example:7443/", "90", 90),
    ]
    assert [label for _, label, _ in found] == SITES.labels
    only = list(site_urls(SITES, NAME, "http://192.0.2.1:7443/", ""))
    assert only == [("http://192.0.2.1:7443/", HTTP)]
    assert not list(site_urls(SITES, NAME, "", ""))
