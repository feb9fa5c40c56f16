"""What is another's is as good as not there, whoever knows what it is called."""

from __future__ import annotations

import time
from pathlib import Path

from starlette.routing import Route

from relay.ends import Owned
from tests.relay.website.rows import add_request, add_session, history
from tests.relay.website.scene import Scene, act
from tunnel.names import ShareName

MINE, THEIRS = "frosty-weasel-0857", "sunny-otter-1234"


def test_each_thing_is_its_owners_alone(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        ada, bob = scene.token("ada"), scene.token("bob")
        line = scene.share(bob, THEIRS)
        scene.share(ada, MINE)
        with history(tmp_path) as database:
            add_session(database, 1, MINE, ada.id)
            add_session(database, 2, THEIRS, bob.id)
            add_request(database, 1, 1, "/mine")
            add_request(database, 2, 2, "/theirs")
        browser, owner = await scene.signed_in(ada), await scene.signed_in(bob)
        for target, no_such in (
            (f"/shares/{THEIRS}", "/shares/quiet-lemur-9999"),
            ("/history/2", "/history/77"),
        ):
            answer, nothing = await browser.get(target), await browser.get(no_such)
            assert answer.status == nothing.status == 404
            assert answer.text == nothing.text
            assert (await owner.get(target)).status == 200
        for target, no_such in (
            (f"/shares/{THEIRS}/end", "/shares/quiet-lemur-9999/end"),
            (f"/tokens/{bob.id}/revoke", "/tokens/aaaaaaaa/revoke"),
        ):
            answer, nothing = await browser.post(target), await browser.post(no_such)
            assert answer.status == nothing.status == 404
            assert answer.text == nothing.text
        scene.look()
        assert not line.ended()
        assert bob.id in scene.permits.tokens_of(2)
        for target in ("/shares", "/history", "/log", "/log?of=connections", "/tokens",
                       f"/history?q={THEIRS}", f"/log?q={THEIRS}", "/log?q=theirs"):  # fmt: skip
            text = (await browser.get(target)).text
            assert f">{THEIRS}<" not in text
            assert "/theirs<" not in text
            assert bob.id not in text

    act(tmp_path, main)


def test_every_route_with_an_object_is_in_the_test_above(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        routes = scene.app._app.routes  # type: ignore[attr-defined]  # behind its headers
        named = {each.path for each in routes if isinstance(each, Route) and "{" in each.path}
        assert named == {
            "/shares/{name}",
            "/shares/{name}/end",
            "/history/{id}",
            "/tokens/{id}/revoke",
            "/static/{file}",  # which is everybody's
        }

    act(tmp_path, main)


def test_shares_at_other_relays_of_a_cluster_are_their_owners_too(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        ada, bob, root = (scene.token("ada"), scene.token("bob"), scene.token("root", "admin"))
        name = ShareName(THEIRS)
        scene.others.known[name] = Owned(name, bob.id, time.time() + 600, place="relay-2.example")
        browser, owner = await scene.signed_in(ada), await scene.signed_in(bob)
        assert THEIRS not in (await browser.get("/shares")).text
        nothing = await browser.get("/shares/quiet-lemur-9999")
        answer = await browser.get(f"/shares/{THEIRS}")
        assert answer.status == 404
        assert answer.text == nothing.text
        assert (await browser.post(f"/shares/{THEIRS}/end")).status == 404
        assert not scene.others.ended
        assert "at relay-2.example" in (await owner.get("/shares")).text
        assert "another relay of this cluster" in (await owner.get(f"/shares/{THEIRS}")).text
        assert (await owner.post(f"/shares/{THEIRS}/end")).status == 303
        operator = await scene.signed_in(root)
        assert (await operator.post(f"/shares/{THEIRS}/end")).status == 303
        assert scene.others.ended == [(THEIRS, False), (THEIRS, True)]

    act(tmp_path, main)


def test_an_administrator_sees_and_ends_everybodys(tmp_path: Path) -> None:
    async def main(scene: Scene) -> None:
        root, bob = scene.token("root", "admin"), scene.token("bob")
        line = scene.share(bob, THEIRS)
        with history(tmp_path) as database:
            add_session(database, 2, THEIRS, bob.id)
            add_request(database, 2, 2, "/theirs")
        browser = await scene.signed_in(root)
        for target in ("/shares", f"/shares/{THEIRS}", "/history", "/history/2", "/log?q=theirs"):
            answer = await browser.get(target)
            assert answer.status == 200
            assert THEIRS in answer.text
        assert bob.id in (await browser.get("/tokens")).text
        assert (await browser.post(f"/shares/{THEIRS}/end")).status == 303
        assert line.ended() == "operator"
        assert (await browser.post(f"/tokens/{bob.id}/revoke")).status == 303
        scene.look()
        assert not scene.permits.tokens_of(2)

    act(tmp_path, main)


def test_somebodys_other_tokens_are_his_too(tmp_path: Path) -> None:
    """A revoked one's history stays his."""

    async def main(scene: Scene) -> None:
        old, shares, pages = scene.token(), scene.token(scope="share"), scene.token()
        scene.revoke(old)
        line = scene.share(shares, MINE)
        with history(tmp_path) as database:
            add_session(database, 1, "gone-marmot-0001", old.id)
        browser = await scene.signed_in(pages)
        assert MINE in (await browser.get("/shares")).text
        assert "gone-marmot-0001" in (await browser.get("/history")).text
        assert (await browser.get("/history/1")).status == 200
        assert (await browser.post(f"/tokens/{shares.id}/revoke")).status == 303
        scene.look()
        assert line.ended() == "token"
        assert MINE not in (await browser.get("/shares")).text

    act(tmp_path, main)
