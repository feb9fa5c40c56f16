"""Which name is held, with links that are none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.loops import run, until
from tunnel.control import Ended
from tunnel.errors import VshareError
from tunnel.names import ShareName
from vshare.registration import Registration
from vshare.relay_link import RelayLink

OLD, NEW = ShareName("my-share"), ShareName("quiet-lynx-0002")
ENDED = Ended("closed", "no more")


@dataclass
class Link:
    """Registers when `may_enter` is set."""

    name: ShareName | None
    may_enter: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[Ended] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    is_left: bool = False

    async def __aenter__(self) -> Link:
        await self.may_enter.wait()
        if self.name is not None and self.name.startswith("taken"):
            raise VshareError("it is somebody else's")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_left = True


class Links(list[Link]):
    """Those that were made; the first may enter, and while `lets_in` all."""

    lets_in = False

    def make(self, key: Ed25519PrivateKey, name: ShareName | None) -> RelayLink:
        self.append(Link(name))
        if len(self) == 1 or self.lets_in:
            self[-1].may_enter.set()
        return cast(RelayLink, self[-1])


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_the_name_before_is_held_until_the_new_one_is() -> None:
    async def main() -> None:
        links = Links()
        async with Registration(links.make, OLD) as registration, asyncio.TaskGroup() as group:
            first: object = registration.link
            task = group.create_task(registration.rename(NEW))
            await until(lambda: len(links) == 2)
            assert registration.link is first
            assert not links[0].is_left
            links[1].may_enter.set()
            await task
            await registration.settled()
            assert (links[0].is_left, links[1].is_left) == (True, False)
            now: object = registration.link
            assert now is links[1]
        assert links[1].is_left

    run(main)


def test_refused_or_given_up_nothing_has_changed() -> None:
    async def main() -> None:
        links = Links()
        async with Registration(links.make, OLD) as registration, asyncio.TaskGroup() as group:
            first: object = registration.link
            links.lets_in = True
            with pytest.raises(VshareError, match="somebody else's"):
                await registration.rename(ShareName("taken-name"))
            links.lets_in = False
            given_up = group.create_task(registration.rename(NEW))
            await until(lambda: len(links) == 3)
            given_up.cancel()
            await asyncio.wait([given_up])
            links[2].may_enter.set()
            await registration.settled()
            assert registration.link is first
            assert not links[0].is_left

    run(main)


def test_the_end_that_counts_is_of_the_present_name() -> None:
    async def main() -> None:
        links = Links()
        async with Registration(links.make, OLD) as registration, asyncio.TaskGroup() as group:
            task = group.create_task(registration.rename(NEW))
            await until(lambda: len(links) == 2)
            links[1].may_enter.set()
            await task
            links[0].ended.set_result(ENDED)
            await asyncio.sleep(0)
            assert not registration.ended.done()
            links[1].ended.set_result(ENDED)
            assert await registration.ended == ENDED

    run(main)


def test_what_does_not_begin_is_left_behind_by_nobody() -> None:
    async def main() -> None:
        links = Links()
        with pytest.raises(VshareError, match="somebody else's"):
            async with Registration(links.make, ShareName("taken-name")):
                raise AssertionError

    run(main)
