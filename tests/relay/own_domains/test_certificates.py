"""Certificates of own domains: of those that are proven, not too many, and not too often."""

from __future__ import annotations

import asyncio
import datetime
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from relay.certificate import LASTS
from relay.own_domains import certificates
from relay.own_domains.certificates import NO_AUTHORITY, OwnCertificates
from tests.loops import run, until
from tests.relay.test_certificate_files import pair
from tunnel.errors import VshareError
from tunnel.own_domains import OwnDomain

HOST, OTHER = OwnDomain("app.example.com"), OwnDomain("other.example.com")
NOW = datetime.datetime.now(datetime.UTC)


class Server:
    """An authority without a network; `fault` in place of a certificate."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fault = ""
        self.content: bytes | None = None

    async def certify(self, names: list[str]) -> bytes:
        self.asked += names
        if self.fault:
            raise VshareError(self.fault)
        return pair(domain=names[0]) if self.content is None else self.content


def with_certificates(
    test: Callable[[OwnCertificates, Server], Awaitable[None]], folder: Path | None = None
) -> None:
    async def main() -> None:
        server = Server()
        shown = OwnCertificates(folder, server.certify)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(shown.run())
            await test(shown, server)
            running.cancel()

    run(main)


def test_one_for_each_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    changed: list[str] = []

    async def first(shown: OwnCertificates, server: Server) -> None:
        shown.on_change = changed.append
        for host in (HOST, OTHER, HOST):
            shown.want(host, "")
        await until(lambda: shown.identity(HOST) and shown.identity(OTHER))
        assert sorted(server.asked) == sorted(changed) == [HOST, OTHER]
        assert shown.fault(HOST) == ""
        shown.drop(OTHER)
        assert shown.identity(OTHER) is None

    async def second(shown: OwnCertificates, server: Server) -> None:
        shown.want(HOST, "")
        assert shown.identity(HOST) is not None
        await asyncio.sleep(0.01)
        assert not server.asked

    with_certificates(first, tmp_path / "own")
    assert stat.S_IMODE((tmp_path / "own" / f"{HOST}.pem").stat().st_mode) == 0o600
    with_certificates(second, tmp_path / "own")


def test_who_came_first_is_first_whatever_it_is_called() -> None:
    """Else one who has a hundred names that sort before others' keeps those from theirs."""
    late = [OwnDomain(f"0{number}.example.com") for number in range(3)]

    async def test(shown: OwnCertificates, server: Server) -> None:
        for host in (OTHER, HOST, *late):
            shown.want(host, "")
        await until(lambda: len(server.asked) == 5)
        assert server.asked == [OTHER, HOST, *late]

    with_certificates(test)


def test_a_file_of_no_use_is_asked_for_again(tmp_path: Path) -> None:
    async def test(shown: OwnCertificates, server: Server) -> None:
        for content in (b"spoilt", pair(domain="another.example")):
            (tmp_path / f"{HOST}.pem").write_bytes(content)
            server.asked.clear()
            shown.want(HOST, "")
            await until(lambda: shown.identity(HOST))
            assert server.asked == [HOST]
            shown.drop(HOST)

    with_certificates(test, tmp_path)


def test_it_is_renewed_when_a_third_is_left(tmp_path: Path) -> None:
    old = pair(NOW - LASTS * 0.7, HOST)
    (tmp_path / f"{HOST}.pem").write_bytes(old)

    async def test(shown: OwnCertificates, server: Server) -> None:
        shown.want(HOST, "")
        before = shown.identity(HOST)
        assert before is not None  # until there is another
        await until(lambda: shown.identity(HOST) is not before)

    with_certificates(test, tmp_path)


def test_failures_are_told_and_tried_again_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(shown: OwnCertificates, server: Server) -> None:
        server.fault = "it looks at another server"
        shown.want(HOST, "")
        await until(lambda: shown.fault(HOST) == server.fault)
        shown.drop(HOST)
        shown.want(HOST, "")  # going and coming back begins nothing anew
        await asyncio.sleep(0.01)
        assert server.asked == [HOST]
        assert shown._wanted[HOST].pause == certificates.FIRST_PAUSE * certificates.GROWS
        shown._wanted[HOST].not_before = 0.0
        shown._wake.set()
        await until(lambda: len(server.asked) == 2)
        server.fault = ""
        shown._wanted[HOST].not_before = 0.0
        shown._wake.set()
        await until(lambda: shown.identity(HOST))

    with_certificates(test)


def test_what_is_no_use_is_not_shown() -> None:
    async def test(shown: OwnCertificates, server: Server) -> None:
        for host, content in ((HOST, b"no certificate"), (OTHER, pair(domain=HOST))):
            server.content = content
            shown.want(host, "")
            wanted = shown._wanted[host]
            await until(lambda wanted=wanted: wanted.not_before)  # type: ignore[misc]
            assert shown.identity(host) is None

    with_certificates(test)


def test_all_of_them_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(shown: OwnCertificates, server: Server) -> None:
        for number in range(certificates.MAX_ORDERS + 5):
            shown.want(OwnDomain(f"a{number}.example.com"), "")
        await until(lambda: len(server.asked) == certificates.MAX_ORDERS)
        await asyncio.sleep(0.02)
        assert len(server.asked) == certificates.MAX_ORDERS

    server_pair = pair()
    monkeypatch.setattr(Server, "certify", _quick(server_pair))
    with_certificates(test)


def test_one_account_leaves_the_others_their_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MAX_OF_ONE", 3)
    monkeypatch.setattr(Server, "certify", _quick(pair()))
    greedy = [OwnDomain(f"a{number}.example.com") for number in range(5)]

    async def test(shown: OwnCertificates, server: Server) -> None:
        changed: list[str] = []
        shown.on_change = changed.append
        for host in greedy:
            shown.want(host, "user:1")
        for host, payer in ((HOST, "user:2"), (OTHER, "")):
            shown.want(host, payer)
        await until(lambda: len(server.asked) == 5)
        assert server.asked == [*greedy[:3], HOST, OTHER]
        for host in greedy[3:]:
            assert shown.fault(host).startswith(
                "3 certificates were asked for in a day for its user"
            )
            assert changed.count(host) == 1  # it is told once
        shown._of_one["user:1"].clear()  # a day later
        shown._wake.set()
        await until(lambda: len(server.asked) == 7)
        assert sorted(server.asked[5:]) == greedy[3:]

    with_certificates(test)


def test_files_of_domains_that_nobody_has_for_long_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{HOST}.pem", f"{OTHER}.pem", "gone.example.com.pem", "gone.example.com.pem.77"]
    for name in (*names, "account.key"):
        (tmp_path / name).write_bytes(pair(domain=name.removesuffix(".pem")))
        os.utime(tmp_path / name, (1.0, 1.0))
    os.utime(tmp_path / f"{OTHER}.pem")  # it was there until lately

    async def test(shown: OwnCertificates, server: Server) -> None:
        shown.want(HOST, "")
        left = sorted([f"{HOST}.pem", "account.key", f"{OTHER}.pem"])
        await until(lambda: sorted(os.listdir(tmp_path)) == left)
        assert (tmp_path / f"{HOST}.pem").stat().st_mtime > 1.0  # the next relay knows, too

    monkeypatch.setattr(certificates, "HOUSE_EVERY", 0.02)
    with_certificates(test, tmp_path)


def _quick(content: bytes) -> Callable[[Server, list[str]], Awaitable[bytes]]:
    async def certify(self: Server, names: list[str]) -> bytes:
        self.asked += names
        return content  # for another name: no use, and no key to be made

    return certify


def test_without_an_authority_and_where_there_is_no_need() -> None:
    shown = OwnCertificates(None, None)
    shown.want(HOST, "")
    assert (shown.identity(HOST), shown.fault(HOST)) == (None, NO_AUTHORITY)

    async def test(shown: OwnCertificates, server: Server) -> None:
        shown.is_covered = lambda host: True
        shown.want(HOST, "")
        await asyncio.sleep(0.01)
        assert not server.asked

    with_certificates(test)
