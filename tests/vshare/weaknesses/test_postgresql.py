from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vshare.peers import free_port
from tests.vshare.weaknesses.servers import (
    ask_port,
    directory_of_its_own,
    hear,
    started,
    unprivileged,
)
from vshare.weaknesses import postgresql
from vshare.weaknesses.danger import SOUND, WEAK, Verdict

pytestmark = pytest.mark.programs

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), Path()).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    if not (PROGRAMS / "initdb").exists():
        pytest.skip("no PostgreSQL is installed")
    uid, gid = unprivileged()
    switch = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
    with directory_of_its_own() as directory:
        command = [PROGRAMS / "initdb", "-D", directory / "data", "-U", "postgres", "-A", "trust"]
        command += ["--no-sync", "--no-locale", "--no-instructions"]
        subprocess.run(  # type: ignore[call-overload]
            command,
            check=True,
            capture_output=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **switch,
        )
        yield directory


@contextmanager
def postgres(cluster: Path, who_may_come: str) -> Iterator[int]:
    """The server with one line in its pg_hba.conf; its port."""
    port = free_port()
    (cluster / "hba").write_text(who_may_come + "\n")
    (cluster / "hba").chmod(0o644)
    command = [str(PROGRAMS / "postgres"), "-D", str(cluster / "data"), "-p", str(port)]
    command += ["-h", "127.0.0.1", "-k", str(cluster), "-F", "-c", f"hba_file={cluster / 'hba'}"]
    with started(command, b"ready to accept connections"):
        yield port


def test_trust_is_weak(cluster: Path) -> None:
    with postgres(cluster, "host all all all trust") as port:
        assert asyncio.run(ask_port(port, postgresql.converse)) == WEAK


def test_a_password_is_sound(cluster: Path) -> None:
    with postgres(cluster, "host all all all scram-sha-256") as port:
        assert asyncio.run(ask_port(port, postgresql.converse)) == SOUND


def test_what_it_wants_tls_for_is_not_tried(cluster: Path) -> None:
    with postgres(cluster, "hostssl all all all trust") as port:
        verdict = asyncio.run(ask_port(port, postgresql.converse))
    assert not verdict.weak
    assert "TLS" in verdict.note


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", 4 + len(body)) + body


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (message(b"R", struct.pack(">I", 0)), WEAK),
        (message(b"R", struct.pack(">I", 3)), SOUND),  # cleartext password
        (message(b"R", struct.pack(">I", 10) + b"SCRAM-SHA-256\0\0"), SOUND),
        (message(b"E", b"SFATAL\0C53300\0Mtoo many clients\0\0"), SOUND),
        (message(b"E", b"\0"), SOUND),
        (message(b"E", b"SFATAL\0C28000\0Mno entry"), None),
        (message(b"R", b"\0"), None),
        (message(b"N", b"\0"), None),
        (b"R\xff\xff\xff\xff\0\0\0\0", None),
        (b"R\0\0\0\4\0\0\0\0", None),
    ],
)
def test_answers(answer: bytes, verdict: Verdict | None) -> None:
    for size in (0, 1):
        heard = hear(postgresql.converse, answer, size)
        assert heard is not None
        if verdict is None:
            assert heard.note
            assert not heard.weak
        else:
            assert heard == verdict
