"""What the URLs of shares are."""

import pytest

from relay.control import Urls


@pytest.mark.parametrize(
    ("urls", "http", "https"),
    [
        (Urls("r.example", 443), "http://abc.r.example:443/", "https://abc.r.example/"),
        (Urls("r.example", 443, "", 80), "http://abc.r.example/", "https://abc.r.example/"),
        (Urls("r.example", 80), "http://abc.r.example/", "https://abc.r.example:80/"),
        (Urls("r.example", 7443), "http://abc.r.example:7443/", "https://abc.r.example:7443/"),
        (Urls("r.example", 7443, "192.0.2.1"), "http://192.0.2.1:7443/", ""),
    ],
)
def test_ports_that_browsers_know_are_left_out(urls: Urls, http: str, https: str) -> None:
    assert (urls.http("abc"), urls.https("abc")) == (http, https)
