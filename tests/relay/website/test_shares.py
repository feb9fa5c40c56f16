from __future__ import annotations

import time
from pathlib import Path

from relay.accounting import How, Kind
from tests.relay.website.rows import add_session, history
from tests.relay.website.scene import Scene, act
from tunnel.control import OwnDomainState
from tunnel.names import ShareName
from tunnel.own_domains import OwnDomain, challenge_value

NAME = "frosty-weasel-0857"


def test_who_is_connected_is_on_the_shares_page(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        line = scene.share(token, NAME)
        browser = await scene.signed_in(token)
        accounting = scene.registry.accounting
        with accounting.visit(line.share, Kind.CONNECT, "192.0.2.7") as visit:
            visit.count(1_500, 20)
            page = (await browser.get(f"/shares/{NAME}")).text
            for text in ("192.0.2.7", "1.5 kB", "20 B", "1 connection now", "no history of it"):
                assert text in page
            assert f"https://{NAME}.shares.example:7443/" in page
            assert '<td class="number">1</td>' in (await browser.get("/shares")).text
        assert "192.0.2.7" not in (await browser.get(f"/shares/{NAME}")).text
        with history(tmp_path) as database:
            add_session(database, 1, NAME, token.id, began=time.time() - 3_600, lasts=True)
        page = (await browser.get(f"/shares/{NAME}")).text
        assert "<svg" in page
        assert "somebody joined from 192.0.2.7" in page

    act(tmp_path, main)


def test_who_ended_it_is_told(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        ada, root = scene.token("ada"), scene.token("root", "admin")
        for token, how, code in ((ada, How.PAGE, "page"), (root, How.KICKED, "operator")):
            line = scene.share(ada, NAME)
            browser = await scene.signed_in(token)
            await browser.post(f"/shares/{NAME}/end")
            assert line.ended() == code
            assert line.share.how is how
            assert "was ended" in (await browser.get("/shares", **{"x-vrelay-live": "1"})).text or (
                "was ended" in (await browser.get("/shares")).text
            )
            assert "was ended" not in (await browser.get("/shares")).text  # said once

    act(tmp_path, main)


def test_own_domains_and_what_proves_them(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        line = scene.share(token, NAME)
        browser = await scene.signed_in(token)
        assert "Own domains" not in (await browser.get(f"/shares/{NAME}")).text
        scene.domains[ShareName(NAME)] = [
            OwnDomainState("app.example.org", "good", "authority"),
            OwnDomainState("b.example.org", "unproven"),
            OwnDomainState("c.example.org", "refused", text="<b>no</b>"),
        ]
        page = (await browser.get(f"/shares/{NAME}")).text
        assert 'href="https://app.example.org/"' in page
        assert 'href="https://b.example.org/"' not in page
        assert "_vshare-challenge.b.example.org" in page
        assert challenge_value(line.share.key_hash, OwnDomain("b.example.org")) in page
        assert "&lt;b&gt;no" in page

    act(tmp_path, main)


def test_many_shares_are_pages(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        token = scene.token()
        for number in range(60):
            scene.share(token, f"frosty-weasel-{number:04}")
        browser = await scene.signed_in(token)
        first, second = await browser.get("/shares"), await browser.get("/shares?page=2")
        assert "60 shares now" in first.text
        assert "weasel-0049" in first.text
        assert "weasel-0050" not in first.text
        assert "weasel-0050" in second.text

    act(tmp_path, main)
