"""The control socket and its terminals, over real sockets."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from tests.loops import Factory, both_loops, run, until
from tunnel import control_socket, running
from tunnel.control_socket import MAX_CONNECTIONS, ControlSocket, Handler, on
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName
from tunnel.run_directory import short_path
from tunnel.running import Running
from vshare import requests
from vshare.news import Newsroom
from vshare.requests import (
    Expiry,
    Extend,
    GuestList,
    GuestRow,
    Guests,
    Kick,
    OneGuest,
    Request,
    Stop,
    Stopped,
)
from vshare.running import MAX_QUEUED, SHARES, choose_share, running_shares, share_socket

NAME = ShareName("frosty-weasel-0857")
OTHER = ShareName("quiet-lynx-0002")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


async def extend(request: Extend) -> object:
    return Expiry(1000 + request.seconds)


async def kick(request: Kick) -> object:
    raise UsageError(f"no guest {request.guest!r} is here", "these are: ann")


HANDLERS = dict([on(Extend, extend), on(Kick, kick)])


def control(
    handlers: Mapping[type[Request], Handler] = HANDLERS,
    *,
    name: ShareName = NAME,
    newsroom: Newsroom | None = None,
) -> ControlSocket:
    return share_socket(name, handlers, newsroom or Newsroom())


def asked(path: Path, data: bytes, *, end: bool = False) -> dict[str, object]:
    """The one line that comes for `data`, and nothing behind it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        with short_path(path) as short:
            sock.connect(short)
        try:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
        except OSError:  # it has hung up already
            pass
        with sock.makefile("rb") as file:
            line = file.readline()
            try:
                assert file.read() == b""
            except ConnectionResetError:
                pass
    answer: dict[str, object] = json.loads(line)
    return answer


async def connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    with short_path(path) as short:
        return await asyncio.open_unix_connection(short)


async def ask(path: Path, data: bytes, *, end: bool = False) -> dict[str, object]:
    return await asyncio.to_thread(asked, path, data, end=end)


@both_loops
def test_a_terminal_asks(factory: Factory) -> None:
    async def main() -> None:
        async with control() as ours:
            assert ours.path.stat().st_mode & 0o777 == 0o600
            assert ours.path.parent.stat().st_mode & 0o777 == 0o700
            share = await asyncio.to_thread(choose_share, None)
            assert share == Running(SHARES, NAME, ours.path)
            assert await asyncio.to_thread(share.ask, Extend(60), Expiry) == Expiry(1060)
            with pytest.raises(VshareError, match="no guest 'bob' is here") as caught:
                await asyncio.to_thread(share.ask, Kick("bob"), OneGuest)
            assert (caught.value.hint, caught.value.exit_code) == ("these are: ann", 2)
            with pytest.raises(VshareError, match="this share cannot do that"):
                await asyncio.to_thread(share.ask, Stop(), Stopped)
        assert not list(ours.path.parent.iterdir())
        with pytest.raises(VshareError, match="has ended"):
            await asyncio.to_thread(share.ask, Extend(60), Expiry)

    run(main, factory)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\n", "does not parse"),
        (b"{}\n", "does not parse"),
        (b'{"command":"explode"}\n', "does not parse"),
        (b'{"command":"kick"}\n', "missing required field `guest`"),
        (b'{"command":"kick","guest":""}\n', "length >= 1"),
        (b'{"command":"kick","guest":"' + b"x" * 65 + b'"}\n', "length <= 64"),
        (b'{"command":"extend","seconds":1}\n', ">= 10"),
        (b'{"command":"extend","seconds":1e300}\n', "<= 31536000"),
        (b'{"command":"extend","seconds":"60"}\n', "Expected `float`"),
        (b'{"command":"unfence","port":65536}\n', "<= 65535"),
        (b'{"command":"invite","ports":[0]}\n', ">= 1"),
        (b'{"command":"invite","expires_in":-1}\n', ">= 10"),
        (b"[" * 8_000 + b"\n", "does not parse"),
        (b"\xff\xfe\n", "does not parse"),
        (b"x" * 20_000 + b"\n", "more than 16384 bytes"),
        (b"x" * 20_000, "more than 16384 bytes"),
    ],
)
def test_what_cannot_be_meant(data: bytes, text: str) -> None:
    async def main() -> None:
        async with control() as ours:
            answer = await ask(ours.path, data)
            assert answer["ok"] is False
            assert text in str(answer["error"])
            assert (await ask(ours.path, b'{"command":"extend","seconds":60}\n'))["ok"] is True

    run(main)


def test_half_a_request() -> None:
    async def main() -> None:
        async with control() as ours:
            answer = await ask(ours.path, b'{"command":"extend"', end=True)
            assert "without an end of line" in str(answer["error"])

    run(main)


def test_one_who_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "SENDING_LASTS", 0.05)

    async def main() -> None:
        async with control() as ours:
            reader, writer = await connected(ours.path)
            assert await reader.read() == b""
            writer.close()

    run(main)


def test_one_who_does_not_read_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "SENDING_LASTS", 0.2)
    many = GuestList([GuestRow("x" * 40, 0, "192.0.2.1") for _ in range(8_000)])

    async def guests(request: Guests) -> object:
        return many

    async def main() -> None:
        async with control(dict([on(Guests, guests)])) as ours:
            with socket.socket(socket.AF_UNIX) as sock:
                with short_path(ours.path) as short:
                    sock.connect(short)
                sock.sendall(requests.serialize(Guests()))
                await until(lambda: ours._connections)
                await until(lambda: not ours._connections)

    run(main)


def test_a_long_answer() -> None:
    """As long as the longest list of guests."""
    rows = [GuestRow("x" * 64, 1e9, "2001:db8::1" * 3, 1, 1, 2**50, 2**50) for _ in range(2_048)]

    async def guests(request: Guests) -> object:
        return GuestList(rows)

    async def main() -> None:
        async with control(dict([on(Guests, guests)])):
            share = await asyncio.to_thread(choose_share, None)
            assert (await asyncio.to_thread(share.ask, Guests(), GuestList)).guests == rows

    run(main)


def test_an_answer_of_another_version() -> None:
    async def other(request: Extend) -> object:
        return {"expires_at": "tomorrow"}

    async def main() -> None:
        async with control(dict([on(Extend, other)])):
            share = await asyncio.to_thread(choose_share, None)
            with pytest.raises(VshareError, match="an answer that does not parse"):
                await asyncio.to_thread(share.ask, Extend(60), Expiry)

    run(main)


def test_a_fault_of_ours_does_not_end_the_share(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Extend) -> object:
        raise ZeroDivisionError

    async def main() -> None:
        async with control(dict([on(Extend, broken)])) as ours:
            for _ in range(2):
                answer = await ask(ours.path, requests.serialize(Extend(60)))
                assert "inside the share: ZeroDivisionError" in str(answer["error"])

    run(main)
    assert "ZeroDivisionError" in caplog.text


def test_a_handler_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "HANDLING_LASTS", 0.05)

    async def hang(request: Extend) -> object:
        await asyncio.Event().wait()
        return None

    async def main() -> None:
        async with control(dict([on(Extend, hang)])) as ours:
            answer = await ask(ours.path, requests.serialize(Extend(60)))
            assert "TimeoutError" in str(answer["error"])

    run(main)


def test_a_share_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    monkeypatch.setattr(running, "ANSWER_WITHIN", 0.1)
    path = runtime / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        with short_path(path) as short:
            silent.bind(short)
        silent.listen(1)
        with pytest.raises(VshareError, match="does not answer"):
            Running(SHARES, NAME, path).ask(Stop(), Stopped)


@pytest.mark.parametrize("answer", [b"", b'{"ok":tr', b"no\n", b'{"ok":1}\n', b"x" * 3_000_000])
def test_a_share_that_answers_badly(runtime: Path, answer: bytes) -> None:
    path = runtime / "bad.sock"
    with socket.socket(socket.AF_UNIX) as server:
        with short_path(path) as short:
            server.bind(short)
        server.listen(1)

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                try:
                    sock.sendall(answer)
                except OSError:  # it had enough
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(VshareError, match=r"has ended|does not parse|an answer of more than"):
            Running(SHARES, NAME, path).ask(Stop(), Stopped)
        thread.join()


def test_the_seventeenth_is_told_so() -> None:
    async def main() -> None:
        async with control() as ours:
            held = [await connected(ours.path) for _ in range(MAX_CONNECTIONS)]
            await until(lambda: len(ours._connections) == MAX_CONNECTIONS)
            answer = await ask(ours.path, requests.serialize(Extend(60)))
            assert "talk to the share already" in str(answer["error"])
            for _, writer in held:
                writer.close()
            await until(lambda: not ours._connections)
            assert (await ask(ours.path, requests.serialize(Extend(60))))["ok"] is True

    run(main)


@both_loops
def test_followers(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "LAST_WORDS", 3_600)  # none is waited for in vain
    newsroom = Newsroom()

    async def main() -> None:
        async with control(newsroom=newsroom) as ours:
            reader, writer = await connected(ours.path)
            writer.write(b'{"command":"follow"}\n')
            assert json.loads(await reader.readline()) == {"ok": True, "result": {}}
            newsroom.tell("joined", "ann joined", guest="ann", address="192.0.2.1")
            assert json.loads(await reader.readline()) == {
                "event": "joined",
                "text": "ann joined",
                "warning": False,
                "guest": "ann",
                "address": "192.0.2.1",
            }
            newsroom.tell("ended", reason="stopped")
        assert json.loads(await reader.readline())["reason"] == "stopped"  # said before the end
        assert await reader.read() == b""
        writer.close()
        newsroom.tell("notice", "nobody listens")

    run(main, factory)


@both_loops
def test_a_follower_hangs_up(factory: Factory) -> None:
    newsroom = Newsroom()

    async def main() -> None:
        async with control(newsroom=newsroom) as ours:
            reader, writer = await connected(ours.path)
            writer.write(b'{"command":"follow"}\n')
            await reader.readline()
            newsroom.tell("notice", "unread")
            writer.transport.abort()
            await until(lambda: not ours._connections)
            assert newsroom._listeners == []

    run(main, factory)


@both_loops
def test_a_slow_follower_is_cut_off(factory: Factory) -> None:
    newsroom = Newsroom()

    async def main() -> None:
        async with control(newsroom=newsroom) as ours:
            with socket.socket(socket.AF_UNIX) as sock:
                with short_path(ours.path) as short:
                    sock.connect(short)
                sock.sendall(b'{"command":"follow"}\n')
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                assert await loop.sock_recv(sock, 100) == b'{"ok":true,"result":{}}\n'
                told = 0
                while ours._connections:
                    newsroom.tell("notice", "x" * 4_096)
                    told += 1
                    await asyncio.sleep(0)
                assert told > MAX_QUEUED
            assert newsroom._listeners == []

    run(main, factory)


def test_a_burst_is_no_slowness() -> None:
    newsroom = Newsroom()

    async def main() -> None:
        async with control(newsroom=newsroom) as ours:
            reader, writer = await connected(ours.path)
            writer.write(b'{"command":"follow"}\n')
            await reader.readline()
            for _ in range(MAX_QUEUED):
                newsroom.tell("notice", "x" * 1_000)
            for _ in range(MAX_QUEUED):
                assert json.loads(await reader.readline())["event"] == "notice"
            writer.close()

    run(main)


def test_one_share_of_a_name() -> None:
    async def main() -> None:
        async with control() as ours:
            with pytest.raises(VshareError, match="runs already"):
                async with control():
                    raise AssertionError
            async with control(name=OTHER):
                shares = await asyncio.to_thread(running_shares)
                assert [share.name for share in shares] == [NAME, OTHER]
                with pytest.raises(UsageError, match=f"2 shares run: {NAME}, {OTHER}"):
                    await asyncio.to_thread(choose_share, None)
                chosen = await asyncio.to_thread(choose_share, OTHER)
                assert chosen.name == OTHER
                with pytest.raises(VshareError, match="no share 'not-there' runs here"):
                    await asyncio.to_thread(choose_share, "not-there")
            assert (await ask(ours.path, requests.serialize(Extend(60))))["ok"] is True

    run(main)


def test_another_name() -> None:
    """Who talks to it already goes on."""

    async def main() -> None:
        newsroom, third = Newsroom(), "third-one-0003"
        async with control(newsroom=newsroom) as ours, control(name=OTHER):
            reader, writer = await connected(ours.path)
            writer.write(requests.serialize(requests.Follow()))
            await reader.readline()
            with pytest.raises(VshareError, match="runs already"):
                await ours.rename(OTHER)
            assert (await asyncio.to_thread(choose_share, NAME)).path == ours.path
            await ours.rename(third)
            assert [each.name for each in await asyncio.to_thread(running_shares)] == [OTHER, third]
            assert (await ask(ours.path, requests.serialize(Extend(60))))["ok"] is True
            newsroom.tell("notice", "still there")
            assert json.loads(await reader.readline())["text"] == "still there"
            writer.close()
        assert not ours.path.exists()

    run(main)


def test_none_runs() -> None:
    with pytest.raises(VshareError, match="no share runs here") as caught:
        choose_share(None)
    assert "vshare up" in caught.value.hint


def test_a_killed_ones_socket_is_replaced(runtime: Path) -> None:
    async def main() -> None:
        (runtime / "vshare").mkdir(mode=0o700)
        stale = runtime / "vshare" / f"{NAME}.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            with short_path(stale) as short:
                dead.bind(short)
            dead.listen()
        assert stale.is_socket()
        assert await asyncio.to_thread(running_shares) == []
        async with control() as ours:
            assert ours.path == stale
            assert len(await asyncio.to_thread(running_shares)) == 1
        assert not stale.exists()

    run(main)


def test_many_start_at_once() -> None:
    """Of one name one gets it."""

    async def main() -> None:
        over = asyncio.Event()
        outcomes: list[str] = []

        async def one() -> None:
            try:
                async with control():
                    outcomes.append("runs")
                    await over.wait()
            except VshareError as error:
                outcomes.append(error.text)

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(one())
            await until(lambda: len(outcomes) == 8)
            over.set()
        assert sorted(outcomes) == ["a share of that name runs already"] * 7 + ["runs"]

    run(main)


def test_another_share_is_finding_its_place(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    monkeypatch.setattr(control_socket, "LOCKING_LASTS", 0.1)
    folder = runtime / "vshare"
    folder.mkdir(mode=0o700)

    async def main() -> None:
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(VshareError, match="another program keeps it locked"):
            await control().__aenter__()
        assert list(folder.iterdir()) == []
        os.close(held)
        async with control() as ours:
            assert ours.path.is_socket()

    run(main)


def test_another_shares_socket_is_left_alone() -> None:
    async def main() -> None:
        async with control() as ours:
            ours.path.unlink()
            ours.path.write_text("somebody else's")
        assert ours.path.read_text() == "somebody else's"

    run(main)


def test_another_user_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's word is replaced: tests have one user."""
    monkeypatch.setattr(control_socket, "peer_uid", lambda sock: os.getuid() + 1)

    async def main() -> None:
        async with control() as ours:
            reader, writer = await connected(ours.path)
            writer.write(requests.serialize(Extend(60)))
            try:
                assert await reader.read() == b""
            except ConnectionResetError:  # what it wrote was not even read
                pass
            writer.close()

    run(main)


def test_another_users_socket_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        async with control() as ours:
            monkeypatch.setattr(running, "peer_uid", lambda sock: os.getuid() + 1)
            assert await asyncio.to_thread(running_shares) == []
            with pytest.raises(VshareError, match="another user's process"):
                await asyncio.to_thread(Running(SHARES, NAME, ours.path).ask, Stop(), Stopped)

    run(main)


def check_path(is_expected: Callable[[Path], bool]) -> None:
    async def main() -> None:
        async with control() as ours:
            assert is_expected(ours.path), ours.path
            assert len(await asyncio.to_thread(running_shares)) == 1

    run(main)


def test_a_runtime_directory_that_others_can_use_is_not_used(runtime: Path, tmp_path: Path) -> None:
    runtime.chmod(0o755)
    check_path(lambda path: path == tmp_path / "state" / "vshare" / "run" / f"{NAME}.sock")


def test_a_runtime_directory_that_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", Path("relative")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
        check_path(lambda path: path.is_relative_to(tmp_path / "state"))


def test_a_directory_of_ours_that_others_can_use(runtime: Path) -> None:
    (runtime / "vshare").mkdir()
    (runtime / "vshare").chmod(0o770)

    async def main() -> None:
        with pytest.raises(VshareError, match="is open to other users"):
            await control().__aenter__()

    run(main)


def test_a_link_in_its_place(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (runtime / "vshare").symlink_to(tmp_path / "elsewhere")

    async def main() -> None:
        with pytest.raises(VshareError, match="is not a directory"):
            await control().__aenter__()

    run(main)


def test_a_directory_of_another_user(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    """Made by somebody who was there first: it is his, whatever its mode."""
    (runtime / "vshare").mkdir(mode=0o700)
    uid = os.getuid()
    monkeypatch.setattr("os.getuid", lambda: uid + 1)

    async def main() -> None:
        with pytest.raises(VshareError, match="belongs to another user"):
            await control().__aenter__()
        assert list((runtime / "vshare").iterdir()) == []

    run(main)


def test_long_paths(monkeypatch: pytest.MonkeyPatch, runtime: Path) -> None:
    """Longer than a socket's address may be."""
    long = runtime / ("x" * 200)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    check_path(lambda path: path == long / "vshare" / f"{NAME}.sock" and path.is_socket())


def test_handlers_are_typed() -> None:
    kind, handler = on(Extend, extend)
    calls: Callable[[Request], Awaitable[object]] = handler
    assert kind is Extend
    assert asyncio.run(_await(calls(Extend(60)))) == Expiry(1060)


async def _await(what: Awaitable[object]) -> object:
    return await what
