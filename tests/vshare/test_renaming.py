"""`vshare rename` of a share that runs, in this process."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from dataclasses import replace

import pytest

from relay.config import RelayConfig
from relay.server import Relay
from tests.loops import until
from tests.share_pair import socket_to, tcp_service
from tests.vshare.test_share import Web, get, own_directories, run, sharing
from tests.vshare.test_share_commands import OPTIONS, ask, guest_of
from tunnel.address import RelayAddress
from tunnel.codes import Code
from tunnel.console import Console
from tunnel.errors import RefusedError, UsageError, VshareError
from tunnel.frames import Notice
from tunnel.identity import fingerprint
from tunnel.names import ShareName
from vshare import attach, relay_places, renaming, requests
from vshare.audit import log_files
from vshare.news import News
from vshare.options import Options, PassthroughOptions
from vshare.running import choose_share, running_shares
from vshare.web.access_setup import AccessOptions

__all__ = ["own_directories"]
NEW = ShareName("quiet-lynx-0002")
OLD = ShareName("my-share")
FAR = 1e12  # seconds since the epoch


async def rename(name: str) -> requests.Renamed:
    return await ask(requests.Rename(name), requests.Renamed)


def test_guests_stay_and_newcomers_say_the_new_name() -> None:
    async def main() -> None:
        loop, notices = asyncio.get_running_loop(), list[Notice]()
        async with sharing(OPTIONS) as share, tcp_service() as port:
            guest = await guest_of(share)
            async with guest.client(await guest.join(), notices.append) as client:
                sock, task = await socket_to(client, port)
                done = await rename(NEW)
                assert (done.before, done.name) == (guest.name, NEW)
                assert done.connect.startswith(f"{NEW}@")
                await loop.sock_sendall(sock, b"four")
                assert await loop.sock_recv(sock, 9) == b"four"
                await until(lambda: notices)
                assert [(each.kind, each.text) for each in notices] == [("renamed", NEW)]
                info = json.loads(await client.call("share-info"))
                assert info["name"] == NEW
                client.renew()  # new connections find the share, too
                again, other_task = await socket_to(client, port)
                (await client.open(NEW, port)).reset(Code.CLOSED)  # by its name, too
                for each in (sock, again):
                    each.close()
                await asyncio.wait([task, other_task])
                with pytest.raises(RefusedError):  # the relay's decoy: nobody is there
                    await guest.join("late")
                guest.name = NEW
                await guest.join("newcomer")
            rows = (await ask(requests.Guests(), requests.GuestList)).guests
            assert [row.name for row in rows] == ["bob", "newcomer"]

    run(main)


def test_all_that_has_the_name_in_it() -> None:
    async def main() -> None:
        async with sharing(OPTIONS) as share:
            before = (await guest_of(share)).name
            await rename(NEW)
            assert [each.name for each in await asyncio.to_thread(running_shares)] == [NEW]
            assert (await ask(requests.Status(), requests.ShareState)).name == NEW
            (log,) = log_files()
            assert log.name.startswith(f"{NEW}-20")
            told = next(each for each in share.screen.events if each["event"] == "renamed")
            assert (told["name"], told["before"], told["log"]) == (NEW, before, str(log))
        ended = share.screen.events[-1]
        assert ended["log"] == str(log)
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        assert [each["event"] for each in entries] == ["started", "renamed", "ended"]
        assert (entries[1]["name"], entries[1]["before"]) == (NEW, before)

    run(main)


def test_the_url_moves_and_the_first_page_says_so() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tcp_service(Web) as port:
            options = Options(
                target="127.0.0.1", http_port=port, relay=str(relay.address), name=OLD, ask=False
            )
            async with sharing(options):
                assert await get(relay.address, OLD) == b"HTTP/1.1 200 OK"
                await ask(requests.Extend(7200), requests.Expiry)
                done = await rename(NEW)
                renamed = relay.registry.get(NEW)
                assert renamed is not None
                assert renamed.ends_at == pytest.approx(time.time() + 7200, abs=60)
                assert done.url.startswith(f"http://{NEW}.")
                assert await get(relay.address, NEW) == b"HTTP/1.1 200 OK"
                await until(lambda: relay.registry.get(OLD) is None)
                assert await get(relay.address, OLD) == b"HTTP/1.1 410 Gone"

    run(main)


def test_who_looks_at_it_goes_on() -> None:
    """The line at the bottom is asked for under the new name."""

    async def main() -> None:
        async with sharing(OPTIONS), asyncio.TaskGroup() as group:
            line, news = attach._Line(choose_share(None)), asyncio.StreamReader()
            await rename(NEW)
            told = News("renamed", "", {"name": NEW})
            news.feed_data(requests.serialize_news(told))
            news.feed_eof()
            await attach._tell(news, Console("test"), line)
            keeping = group.create_task(line.keep(wanted=True))
            await until(lambda: line.text.startswith(f"{NEW}: 0 guests"))
            keeping.cancel()

    run(main)


async def page(relay: RelayAddress, name: str) -> bytes:
    """What a browser is shown first."""
    reader, writer = await asyncio.open_connection(relay.host, relay.port)
    writer.write(
        f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\nAccept: text/html\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    try:
        return await reader.read()
    finally:
        writer.close()


def test_the_first_page_that_browsers_see_says_the_new_name() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tcp_service(Web) as port:
            options = Options(
                target="127.0.0.1",
                http_port=port,
                relay=str(relay.address),
                name=OLD,
                ask=False,
                access=AccessOptions(sharer="Ann"),
            )
            async with sharing(options):
                assert f"as {OLD}.".encode() in await page(relay.address, OLD)
                await rename(NEW)
                assert f"as {NEW}.".encode() in await page(relay.address, NEW)

    run(main)


async def certificate(relay: RelayAddress, host: str) -> str:
    """The fingerprint of what browsers are shown for `host`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    _, writer = await asyncio.open_connection(
        relay.host, relay.port, ssl=context, server_hostname=host
    )
    try:
        return fingerprint(writer.get_extra_info("ssl_object").getpeercert(True))
    finally:
        writer.transport.abort()


def test_where_browsers_tls_ends_here_they_are_shown_a_certificate_for_the_new_name() -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tcp_service(Web) as port:
            options = Options(
                target="127.0.0.1",
                http_port=port,
                relay=str(relay.address),
                name=OLD,
                ask=False,
                passthrough=PassthroughOptions(),
            )
            async with sharing(options) as share:
                shown = (await share.screen.started)["certificate"]
                assert await certificate(relay.address, f"{OLD}.localhost") == shown
                await rename(NEW)
                told = next(each for each in share.screen.events if each["event"] == "renamed")
                assert told["certificate"] != shown
                seen = await certificate(relay.address, f"{NEW}.localhost")
                assert seen == told["certificate"]

    run(main)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("taken-name", VshareError, "belongs to somebody else"),
        ("no name", UsageError, "not a share's name"),
        ("my-share", UsageError, "is called 'my-share' already"),
    ],
)
def test_what_is_refused_changes_nothing(name: str, error: type[VshareError], text: str) -> None:
    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            relay.registry._names.claim(ShareName("taken-name"), b"another key", 0, FAR)
            options = Options(
                target="127.0.0.1", http=False, relay=str(relay.address), name=OLD, ask=False
            )
            async with sharing(options) as share, tcp_service() as port:
                guest = await guest_of(share)
                async with guest.client(await guest.join(), lambda notice: None) as client:
                    with pytest.raises(VshareError, match=text) as caught:
                        await rename(name)
                    assert caught.value.exit_code == error.exit_code
                    client.renew()
                    sock, task = await socket_to(client, port)
                    sock.close()
                    await task
                (state,) = await asyncio.to_thread(running_shares)
                assert state.name == OLD
                assert "renamed" not in [each["event"] for each in share.screen.events]

    run(main)


def test_a_relay_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be a while until it does; who types is told before."""

    async def main() -> None:
        async with Relay(RelayConfig()) as relay, tcp_service() as port:
            options = Options(
                target="127.0.0.1", http=False, relay=str(relay.address), name=OLD, ask=False
            )
            async with sharing(options) as share:
                guest = await guest_of(share)
                with monkeypatch.context() as patched:
                    patched.setattr(renaming, "REGISTER_WITHIN", 0.1)
                    patched.setattr(relay_places, "dial_relay", silent)
                    with pytest.raises(VshareError, match="does not answer; the share is called"):
                        await rename(NEW)
                assert [each.name for each in await asyncio.to_thread(running_shares)] == [OLD]
                async with guest.client(await guest.join(), lambda notice: None) as client:
                    sock, task = await socket_to(client, port)
                    sock.close()
                    await task
                await rename(NEW)

    run(main)


async def silent(address: RelayAddress) -> socket.socket:
    """A way on which nothing comes back."""
    await asyncio.Event().wait()
    raise AssertionError


def test_a_name_of_ones_own_with_another_key() -> None:
    """Of an earlier share: the relay would refuse it to this one's key, for days."""

    async def main() -> None:
        async with Relay(RelayConfig()) as relay:
            options = Options(
                target="127.0.0.1", http=False, relay=str(relay.address), name=NEW, ask=False
            )
            async with sharing(options):
                pass
            async with sharing(replace(options, name=OLD)):
                with pytest.raises(VshareError, match="with a key of its own"):
                    await rename(NEW)
                await rename("third-name")
                await rename(OLD)  # and back: both have one key

    run(main)
