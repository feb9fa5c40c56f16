"""What `--https-passthrough` sets up, and what the sharer is told."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.loops import run
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.guests import Guest
from vshare.web.browser_end import BrowserEnd
from vshare.web.https_setup import HttpsOptions, https_door, told_of, warnings_of
from vshare.web.site_certificate import make_certificate
from vshare.web.sites import Site, Sites

NAME = ShareName("frosty-weasel-0857")
SITES = Sites(Site("", 80), None, {"8080": Site("8080", 8080)})
HOSTS = [f"{NAME}.relay.example", f"{NAME}--8080.relay.example"]
NOW = datetime.datetime.now(datetime.UTC)
SOON = NOW + datetime.timedelta(hours=8)


class Nobody:
    async def serve_browser(self, guest: Guest, label: str, end: BrowserEnd) -> None:
        raise NotImplementedError


def test_without_files_it_makes_its_own() -> None:
    async def main() -> None:
        assert HttpsOptions().read() is None
        door = https_door(None, SITES, NAME, "relay.example", Nobody())
        assert list(door.hosts) == HOSTS
        assert not door.certificate.lacks(HOSTS)
        said = "\n".join(told_of(door))
        assert door.certificate.fingerprint.upper()[:4] == said.partition("SHA-256 ")[2][
            :5
        ].replace(":", "")
        assert "Browsers warn" in said
        assert not warnings_of(door, SOON)

    run(main)


def test_the_sharers_own(tmp_path: Path) -> None:
    async def main() -> None:
        made = make_certificate([HOSTS[0]], NOW - datetime.timedelta(days=89, hours=20))
        chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
        chain.write_bytes(made.chain)
        key.write_bytes(made.key)
        door = https_door(HttpsOptions(chain, key).read(), SITES, NAME, "relay.example", Nobody())
        said = "\n".join(told_of(door))
        assert "yours" in said
        assert "warn" not in said
        lacking, ending = warnings_of(door, SOON)
        assert HOSTS[1] in lacking
        assert HOSTS[0] not in lacking
        assert "ends at" in ending

    run(main)


def test_without_a_site_there_is_nothing_to_pass_through() -> None:
    async def main() -> None:
        with pytest.raises(VshareError, match="no site"):
            https_door(None, Sites(), NAME, "relay.example", Nobody())

    run(main)
