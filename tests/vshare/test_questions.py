"""What `vshare up` asks on its terminal, and what no answer means."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connect_vm.join_share import join_share
from tests.terminal import Terminal
from tests.vshare.weaknesses.servers import redis_server
from tunnel.address import parse_connect_line
from tunnel.errors import RefusedError
from tunnel.names import parse_code
from tunnel.relay_tls import dial_relay

pytestmark = pytest.mark.programs

WITHIN = 30.0  # seconds
START = """
import sys
{before}
from vshare.cli import main
sys.argv = ["vshare", "up", "--target", "127.0.0.1", "--disable-http", *sys.argv[1:]]
main()
"""
IMPATIENT = """
from vshare import approval_prompt, fences
approval_prompt.APPROVE_WITHIN = fences.ANSWER_WITHIN = {seconds}
"""


class Share:
    """`vshare up` on a terminal, and what another terminal asks of it."""

    def __init__(self, folder: Path, before: str, *options: str) -> None:
        run = folder / "run"
        run.mkdir(mode=0o700)
        kept = {name: text for name, text in os.environ.items() if name != "VSHARE_RELAY"}
        self.environment = kept | {"XDG_RUNTIME_DIR": str(run), "TERM": "dumb"}
        command = [sys.executable, "-c", START.format(before=before), *options]
        self.screen = Terminal(command, self.environment)

    def ask(self, command: str) -> dict[str, Any]:
        words = [sys.executable, "-m", "vshare.cli", command, "--json"]
        done = subprocess.run(words, env=self.environment, capture_output=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def join(self) -> str:
        """Join as bob: "in", or why not."""

        async def main() -> str:
            shown = await asyncio.to_thread(self.ask, "code")
            line = parse_connect_line(shown["connect"])
            relay = line.relay
            assert relay is not None

            async def dial() -> socket.socket:
                return await dial_relay(relay)

            try:
                await join_share(dial, line.name, parse_code(shown["code"]), "bob")
            except RefusedError as error:
                return error.text
            return "in"

        return asyncio.run(main())


@contextlib.contextmanager
def sharing(folder: Path, before: str, *options: str) -> Iterator[Share]:
    share = Share(folder, before, *options)
    try:
        yield share
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(share.screen.pid, signal.SIGTERM)
        share.screen.end()


@pytest.mark.parametrize(("typed", "expected"), [("y\n", "in"), ("n\n", "the sharer did not let")])
def test_a_newcomer_is_asked_about(tmp_path: Path, typed: str, expected: str) -> None:
    with sharing(tmp_path, "", "--approve") as share:
        share.screen.wait_for("Press Ctrl-C", WITHIN)
        with asyncio.Runner() as runner:
            joining = runner.get_loop().run_in_executor(None, share.join)
            runner.run(asyncio.to_thread(share.screen.wait_for, "Let bob (from 127.0.0.1) in?"))
            share.screen.type(typed)

            async def answer() -> str:
                return await joining

            assert runner.run(answer()).startswith(expected)


def test_no_answer_is_a_no_and_the_share_goes_on(tmp_path: Path) -> None:
    with sharing(tmp_path, IMPATIENT.format(seconds=0.2), "--approve") as share:
        share.screen.wait_for("Press Ctrl-C", WITHIN)
        for _ in range(2):
            assert share.join() == "the sharer did not let you in"
        assert share.ask("guests")["waiting"] == []


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
@pytest.mark.parametrize(
    ("typed", "shared"), [("y\n", "every port except SSH"), ("\n", "Redis"), ("", "Redis")]
)
def test_what_is_dangerous_is_shared_when_it_is_wanted(
    tmp_path: Path, typed: str, shared: str
) -> None:
    """Nothing typed is a no; the share starts all the same."""
    with redis_server() as port:
        before = f"from vshare.weaknesses import redis\nredis.PORT = {port}\n"
        before += IMPATIENT.format(seconds=WITHIN if typed else 0.2)
        with sharing(tmp_path, before) as share:
            share.screen.wait_for(f"Share port {port} all the same? [y/N]", WITHIN)
            share.screen.type(typed)
            share.screen.wait_for("Press Ctrl-C", WITHIN)
            assert shared in share.ask("status")["shared"]


@pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")
def test_yes_asks_nothing_and_keeps_the_fence(tmp_path: Path) -> None:
    with redis_server() as port:
        before = f"from vshare.weaknesses import redis\nredis.PORT = {port}\n"
        with sharing(tmp_path, before, "--yes") as share:
            share.screen.wait_for("Press Ctrl-C", WITHIN)
            assert "all the same?" not in share.screen.seen
            assert f"{port} (Redis without a password)" in share.ask("status")["shared"]
