from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.loops import run
from tests.vshare.peers import free_port, openssh, tcp_server
from tests.vshare.weaknesses.servers import redis_server
from vshare import exposure
from vshare.exposure import MAX_LINES, Report, describe, examine, fences, rows, to_json
from vshare.listening import Listener, Listening, find_listeners
from vshare.machine import Machine, Source, SshAccess
from vshare.policy import Policy
from vshare.reach_machine import MachineReach
from vshare.weaknesses import redis
from vshare.weaknesses.asking import ASK_TIMEOUT_SECONDS
from vshare.weaknesses.danger import Danger

pytestmark = pytest.mark.programs

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="no Redis is installed"
)
POLICY = Policy(frozenset({"web"}))


def machine(address: str | None, ssh: SshAccess | None = None) -> Machine:
    ssh = ssh or SshAccess("127.0.0.1", free_port(), "vagrant")  # where there is none
    return Machine("web", "test", "running", address, Source.TARGET, ssh)


def heard(*ports: int, process: str = "redis-server", address: str = "0.0.0.0") -> Listening:
    return Listening(tuple(Listener("tcp", port, address, process) for port in ports))


def fake_redis(says: bytes) -> Callable[..., object]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.write(says)
        await reader.read()

    return serve


async def look(listening: Listening, **options: object) -> Report:
    here = machine("127.0.0.1")
    async with MachineReach(here) as reach:
        return await examine(here, listening, reach, **options)  # type: ignore[arg-type]


@needs_redis
def test_the_machine_is_asked_and_an_open_redis_is_found(tmp_path: Path) -> None:
    """From what listens there, over SSH, to the report."""

    async def main() -> None:
        with redis_server() as weak, redis_server("--requirepass", "sesame") as sound:
            here = machine(None, sshd.access)
            async with MachineReach(here) as reach:
                listening = await find_listeners(reach.link, as_root=False)
                found = tuple(each for each in listening.listeners if each.port in (weak, sound))
                assert {each.process for each in found} == {"redis-server"}
                report = await examine(here, Listening(found), reach)
        assert report.dangers == (redis.WEAKNESS.at(weak),)
        assert report.vagrant_key is False
        assert report.notes == ()
        assert fences(report, POLICY) == {weak: "Redis without a password"}
        # As `vshare up` has it where the machine's loopback is all that is reached.
        hidden = replace(POLICY, hidden_ports=frozenset({weak, sound}))
        assert fences(report, hidden) == {}
        assert [row.says for row in rows(report, hidden)] == ["loopback only"] * 2

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_a_usual_port_is_asked_whatever_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with tcp_server(fake_redis(b"+PONG\r\n")) as port:
            assert (await look(heard(port, process="docker-proxy"))).dangers == ()
            kinds = tuple(replace(kind, port=port) for kind in exposure._KINDS[:1])
            monkeypatch.setattr(exposure, "_KINDS", kinds)
            wanted = (redis.WEAKNESS.at(port),)
            assert (await look(heard(port, process="docker-proxy"))).dangers == wanted
            assert (await look(Listening(unknown="no SSH"))).dangers == wanted
        nothing = await look(Listening(unknown="no SSH"))  # listens there any more
        assert not nothing.dangers
        assert not [note for note in nothing.notes if "Redis" in note]

    run(main)


def test_the_loopback_is_left_alone_unless_it_is_shared(tmp_path: Path) -> None:
    calls = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        calls.append(1)
        await fake_redis(b"+PONG\r\n")(reader, writer)  # type: ignore[misc]

    async def main() -> None:
        async with tcp_server(serve) as port:
            listening = heard(port, address="127.0.0.1")
            # Documentation's address (RFC 5737): the machine's own, which is not dialled.
            here = machine("192.0.2.1", sshd.access)
            async with MachineReach(here) as reach:
                report = await examine(here, listening, reach)
                assert not report.dangers
                assert not report.at_loopback
                assert not calls
                shared = await examine(here, listening, reach, loopback={port})
                assert shared.dangers == (redis.WEAKNESS.at(port),)
                assert calls
            assert fences(shared, replace(POLICY, loopback_ports=frozenset({port})))
            assert (await look(listening)).at_loopback  # a target at this very host

    with openssh(tmp_path) as sshd:
        asyncio.run(main())


def test_it_ends_in_time_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "EXAMINE_SECONDS", 0.2)

    async def main() -> None:
        async with (
            tcp_server(fake_redis(b"")) as mute,
            tcp_server(fake_redis(b"+PONG\r\n")) as weak,
        ):
            begun = time.monotonic()
            report = await look(heard(mute, weak))
            assert time.monotonic() - begun < ASK_TIMEOUT_SECONDS
            assert [danger.port for danger in report.dangers] == [weak]
            assert any(f"port {mute} (Redis) could not be asked" in each for each in report.notes)

    run(main)


def test_so_many_at_once_and_so_many_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "MAX_ASKED", 12)
    active, most = 0, 0
    full = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        if active == exposure.MAX_PARALLEL:
            full.set()
        await full.wait()
        for _ in range(100):  # turns of the loop, in which a ninth would come
            await asyncio.sleep(0)
        active -= 1
        writer.write(b"+PONG\r\n")
        await reader.read()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(tcp_server(serve)) for _ in range(14)]
            report = await look(heard(*ports))
        assert most == exposure.MAX_PARALLEL
        assert len(report.dangers) == 12
        assert len([each for each in report.notes if "could not be asked" in each]) == 2

    run(main)


def test_a_server_that_is_none_is_a_note() -> None:
    async def main() -> None:
        async with tcp_server(fake_redis(b"\x1b[2Jwhat?\r\n")) as odd:
            report = await look(heard(odd))
        assert report.dangers == ()
        assert any(f"port {odd} (Redis)" in note for note in report.notes)
        assert all(note.isprintable() for note in report.notes)

    run(main)


REPORT = Report(
    Listening(
        (
            Listener("tcp", 22, "0.0.0.0", "sshd"),
            Listener("tcp", 22, "::", "sshd"),
            Listener("tcp", 80, "0.0.0.0", "nginx"),
            Listener("tcp", 5432, "127.0.0.1", "postgres"),
            Listener("tcp", 6379, "192.168.1.5", "redis-server"),
            Listener("udp", 53, "0.0.0.0"),
        )
    ),
    (Danger("tcp", 6379, "Redis without a password", "why", "advice"),),
    True,
    ("a note",),
)


def test_the_report_in_words() -> None:
    policy = replace(POLICY, fenced=fences(REPORT, POLICY))
    assert list(describe(REPORT, policy)) == [
        "DANGER: port 6379 is Redis without a password, fenced off until you confirm",
        "  why; advice",
        "Vagrant's publicly known SSH key opens it; SSH is not shared",
        "53/udp    ?             every address  open to guests",
        "80/tcp    nginx         every address  open to guests",
        "22/tcp    sshd          every address  SSH: not shared",
        "5432/tcp  postgres      127.0.0.1      loopback only",
        "6379/tcp  redis-server  192.168.1.5    fenced off: Redis without a password",
        "Note: a note",
    ]


def test_what_is_closed_anyway_is_no_alarm() -> None:
    for fenced in ({}, {6379: "Redis without a password"}):
        policy = replace(POLICY, only_ports=frozenset({80}), fenced=fenced)
        first, *_ = describe(REPORT, policy)
        assert first == "Closed: port 6379 is Redis without a password, which guests do not reach"
        assert [row.says for row in rows(REPORT, policy) if row.port == 6379] == ["not shared"]
        assert fences(REPORT, policy) == {}
    opened, *_ = describe(REPORT, POLICY)
    assert opened == "DANGER: port 6379 is Redis without a password, open to guests"


@pytest.mark.parametrize(
    ("policy", "port", "says", "state"),
    [
        (POLICY, 6379, "open to guests: Redis without a password", "open"),
        (replace(POLICY, only_ports=frozenset({80})), 6379, "not shared", "closed"),
        (replace(POLICY, ssh_shared=True), 22, "SSH: open with the key", "open"),
        (replace(POLICY, loopback_ports=frozenset({5432})), 5432, "open to guests", "open"),
    ],
)
def test_the_report_is_under_a_policy(policy: Policy, port: int, says: str, state: str) -> None:
    assert [row.says for row in rows(REPORT, policy) if row.port == port] == [says]
    event = to_json(REPORT, policy)
    assert event["dangers"][0]["state"] == state  # type: ignore[index]
    assert event["vagrant_key"] is True


def test_a_long_report_is_cut_and_the_rest_is_counted() -> None:
    """Dangers stay; and what is open is shown before what is not."""
    open_ports = [Listener("tcp", port, "0.0.0.0", "x") for port in range(1000, 1100)]
    closed = [Listener("tcp", port, "127.0.0.1", "x") for port in range(1, 101)]
    dangers = tuple(Danger("tcp", port, "Open", "why", "advice") for port in range(1000, 1020))
    notes = tuple(f"note {number}" for number in range(50))
    listening = Listening(tuple(closed + open_ports))
    lines = list(describe(Report(listening, dangers, False, notes), POLICY))
    assert len(lines) == MAX_LINES
    assert any(line.startswith("1000/tcp") for line in lines)
    shown = sum("/tcp" in line for line in lines)
    assert f"and {200 - shown} more, {100 - shown} of them open to guests" in lines
    assert "and 12 more ports like these" in lines
    assert lines[-1] == "Note: and 44 more"


def test_names_from_the_machine_cannot_draw_on_the_screen() -> None:
    evil = Listening((Listener("tcp", 80, "0.0.0.0", "\x1b[2J\u202e"),), unknown="\x1b[2J" * 100)
    for line in describe(Report(evil, notes=()), POLICY):
        assert line.isprintable()
        assert len(line) < 300
